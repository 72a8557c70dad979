import json
from dataclasses import replace

import pytest
import torch

from solvers import fused

from ..load import load

kernels, cases = load("benchmarks", "fused.py"), load("benchmarks", "cases.py")

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
    assert {"B=10 N=64 D=16 T=100", "B=82 N=20 D=5 T=100", "B=5 L=21 w=64"} <= set(frame["size"])
    assert {"gels", "gelsy", "gelsd", "gelss", "qr + solve_triangular"} <= set(frame["path"])


def test_nothing_is_reported_when_results_disagree(tmp_path, monkeypatch):
    good = cases.direct(4, 6, 3)
    wrong = replace(good, paths=good.paths | {"wrong": lambda: (good.paths["gels"]()[0] * (1 + 1e-6),)})
    monkeypatch.setattr(kernels, "all_cases", lambda scale, compiled, device: [("", lambda: wrong)])
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


def test_cases_are_listed_under_their_names():
    for operation, make in cases.all_cases(0.001, compiled=False):
        assert make().operation == operation


def test_one_operation_can_be_asked_for():
    frame = kernels.run(repetitions=1, scale=0.005, only="report")
    assert list(frame["path"]) == ["fused", "eager"]
    with pytest.raises(ValueError, match="there are: iterates, residual form"):
        kernels.run(repetitions=1, scale=0.001, compiled=False, only="nothing of the kind")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(RuntimeError, match="torch sees no GPU"):
        kernels.run(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_on_a_gpu_it_measures(tmp_path):
    frame = kernels.run(tmp_path / "cuda.json", repetitions=1, scale=0.001, compiled=False, device="cuda")
    assert (frame["milliseconds"] > 0).all()
