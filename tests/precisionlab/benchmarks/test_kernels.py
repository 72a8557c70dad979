import json
from dataclasses import replace

import pytest
import torch

from precisionlab.benchmarks import cases, kernels
from solvers import fused

pytestmark = pytest.mark.skipif(fused.module() is None, reason="precisionlab_kernels was not built")


def test_what_is_measured_is_kept_and_tabulated(tmp_path):
    path = tmp_path / "new" / "bench.json"
    frame = kernels.run(path, repetitions=1, scale=0.005, compiled=False)
    assert frame.equals(kernels.table(json.loads(path.read_text())))
    assert path.with_suffix(".png").stat().st_size > 0
    ours = frame[frame["path"] == "fused"]
    assert len(ours) == len(cases.all_cases(0.001, compiled=False))
    assert (ours["times_fused"] == 1).all()
    assert (frame["milliseconds"] > 0).all()
    assert {"gels", "gelsy", "gelsd", "gelss", "qr + solve_triangular"} <= set(frame["path"])


def test_nothing_is_reported_when_results_disagree(tmp_path, monkeypatch):
    good = cases.direct(4, 6, 3)
    wrong = replace(good, paths=good.paths | {"wrong": lambda: (good.paths["gels"]()[0] * (1 + 1e-6),)})
    monkeypatch.setattr(kernels, "all_cases", lambda scale, compiled: [wrong])
    with pytest.raises(kernels.Disagreement, match="fused and wrong differ"):
        kernels.run(tmp_path / "bench.json", repetitions=1)
    assert list(tmp_path.iterdir()) == []


def test_a_nan_is_a_disagreement():
    good = cases.direct(4, 6, 3)
    broken = replace(good, paths=good.paths | {"broken": lambda: (torch.full((4, 3), float("nan")),)})
    with pytest.raises(kernels.Disagreement):
        kernels.check(broken)


def test_times_are_medians_of_interleaved_runs():
    order = []
    paths = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = kernels.measure(replace(cases.direct(1, 2, 1), paths=paths), 3)
    assert order == list("ababab")
    assert set(seconds) == {"a", "b"}
