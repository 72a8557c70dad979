"""The committed tables hold what is claimed of them, and are what their commands write."""

import csv
from pathlib import Path

import pytest

from precisionlab.experiments import momentum_rates, newton_schulz_accuracy, newton_schulz_curves
from precisionlab.experiments.newton_schulz_accuracy import Row, measure, nist_rows, page

REPORTS = Path(__file__).parents[2] / "reports"


def rows(name: str) -> list[dict[str, str]]:
    with (REPORTS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_committed_table_is_complete() -> None:
    committed = [(r["solver"], int(r["m"]), int(r["n"]), float(r["condition"]), float(r["residual"])) for r in _table()]
    wanted = [
        (name, m, n, condition, residual)
        for name, n, heights in newton_schulz_accuracy.SUBJECTS
        for m in heights
        for condition in newton_schulz_accuracy.CONDITIONS
        for residual in newton_schulz_accuracy.RESIDUALS
    ]
    assert committed[::2] == committed[1::2] == wanted


def test_no_worse_than_three_times_qr_within_the_applications_allowed() -> None:
    for row in _table():
        assert float(row["median"]) <= 3 * float(row["qr_median"])
        assert float(row["p95"]) <= 3 * float(row["qr_p95"])
        assert int(row["applications"]) <= int(row["allowed"])
        assert row["converged"] == row["problems"]


def test_a_line_of_the_table_is_measured_again() -> None:
    fresh = measure("linear-attention/newton-schulz", 20, 5, 1e5, 1.0, problems=50)
    committed = [
        r for r in _table() if (r["m"], r["n"], r["condition"], r["residual"]) == ("20", "5", "100000.0", "1.0")
    ]
    for new, old in zip(fresh, committed, strict=True):
        # 50 problems instead of 1,000: a median moves by some tens of per cent.
        assert 0.5 <= new.median / float(old["median"]) <= 2
        assert new.applications <= int(old["applications"])


def test_nist_within_a_digit_of_qr() -> None:
    assert nist_rows() == rows("newton-schulz/nist.csv")
    assert all(float(row["learned"]) >= float(row["qr"]) - 1 for row in nist_rows())


def test_the_page_is_made_of_the_table() -> None:
    types = {"solver": str, "refined": lambda text: text == "True"}
    integers = {"m", "n", "problems", "converged", "applications", "allowed"}
    table = [
        Row(**{key: types.get(key, int if key in integers else float)(value) for key, value in row.items()})
        for row in _table()
    ]
    text = (REPORTS / "newton-schulz/README.md").read_text(encoding="utf-8")
    assert text == page(table, rows("newton-schulz/nist.csv"))


@pytest.mark.parametrize("condition", newton_schulz_curves.CONDITIONS)
def test_the_learned_curve_ends_where_the_true_one_does(condition: float) -> None:
    curves = rows(f"newton-schulz/kappa-{condition:.0e}/results.csv".replace("+", ""))
    last = {row["solver"]: float(row["mse_median"]) for row in curves}
    learned, true = last["linear-attention/newton-schulz"], last["true step, same solver"]
    assert 0.25 <= learned / true <= 4
    assert learned < last["qr"]
    assert last[f"{newton_schulz_curves.NAME}, X b"] <= 9 * last["qr"]


def test_learned_momentum_goes_at_the_rate_of_theory() -> None:
    table = [{key: float(value) for key, value in row.items()} for row in rows("momentum/rates.csv")]
    assert [row["condition"] for row in table] == list(momentum_rates.CONDITIONS)
    for row in table:
        assert row["steps"] == row["steps_true"]
        assert 0 <= row["rate"] - row["rate_theory"] <= 0.1 * (1 - row["rate_theory"])


def _table() -> list[dict[str, str]]:
    return rows("newton-schulz/accuracy.csv")
