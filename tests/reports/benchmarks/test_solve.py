"""The benchmark of solvers at tiny sizes: it keeps what it measures, and reports nothing when an answer is wrong."""

import json
from dataclasses import replace

import pytest
import torch

import solvers

from ..load import load

solve = load("benchmarks", "solve.py")


def test_what_is_measured_is_kept_and_tabulated(tmp_path):
    path = tmp_path / "new" / "solve.json"
    frame = solve.run(path, repetitions=1, scale=1e-4)
    assert frame.equals(solve.table(json.loads(path.read_text())))
    assert set(solvers.names()) - {"reference"} <= set(frame[frame["ours"]]["path"])
    assert {"gels", "gelsy", "gelsd", "gelss"} <= set(frame[~frame["ours"]]["path"])
    assert {"scipy lsqr", "scipy lsmr", "scipy cg, normal equations"} <= set(frame[~frame["ours"]]["path"])
    assert (frame["microseconds"] > 0).all()
    assert frame["error_of_allowed"].between(0, 1).all()
    for _, rows in frame[~frame["ours"]].groupby(["contest", "size"]):
        assert rows["times_fastest_rival"].min() == 1


def test_every_contest_is_won_or_lost_by_the_figures():
    rows = [
        {"contest": "c", "size": "s", "path": name, "ours": ours, "seconds": seconds, "error_of_allowed": 0.0}
        for name, ours, seconds in (("qr", True, 3e-6), ("gels", False, 2e-6), ("gelsy", False, 4e-6))
    ]
    frame = solve.table({"rows": rows})
    assert frame["times_fastest_rival"].tolist() == pytest.approx([1.5, 1.0, 2.0])


@pytest.mark.parametrize("factor", [1 + 1e-6, float("nan")])
def test_nothing_is_reported_when_an_answer_is_wrong(factor, tmp_path, monkeypatch):
    good = solve.direct(4, 6, 3)[0]
    qr = good.contestants["qr"]
    wrong = replace(good, contestants={**good.contestants, "qr": replace(qr, solve=lambda: qr.solve() * factor)})
    monkeypatch.setattr(solve, "all_contests", lambda scale: [wrong])
    with pytest.raises(solve.Inaccurate, match="qr is off by"):
        solve.run(tmp_path / "solve.json", repetitions=1)
    assert list(tmp_path.iterdir()) == []


def test_times_are_medians_of_interleaved_runs_a_problem():
    order = []

    def contestant(name, problems):
        return solve.Contestant(solve=lambda: order.append(name), problems=problems)

    contest = solve.direct(2, 3, 2)[0]
    seconds = solve.measure(replace(contest, contestants={"a": contestant("a", 1), "b": contestant("b", 2)}), 3)
    assert order == list("ababab")
    assert set(seconds) == {"a", "b"}


def test_the_machine_is_kept_too(tmp_path, monkeypatch):
    tiny = solve.direct(2, 3, 2)[2:]
    monkeypatch.setattr(solve, "all_contests", lambda scale: tiny)
    table = solve.run(tmp_path / "solve.json", repetitions=1)
    assert "cholesky" in set(table["path"])
    assert torch.get_num_threads() == json.loads((tmp_path / "solve.json").read_text())["machine"]["threads"]
