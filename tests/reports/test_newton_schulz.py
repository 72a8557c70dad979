"""The committed tables hold what is claimed of them, and are what their commands write."""

import csv
from pathlib import Path

import pytest

from .load import REPORTS, load

study, momentum_rates, newton_schulz_curves = (
    load("newton-schulz"),
    load("momentum"),
    load("newton-schulz", "curves.py"),
)
Kind, kinds, measure = study.Kind, study.kinds, study.measure
nist_rows, page, read, write = study.nist_rows, study.page, study.read, study.write
TABLE = REPORTS / "newton-schulz/accuracy.csv"
NAME = "linear-attention/newton-schulz"


def rows(name: str) -> list[dict[str, str]]:
    with (REPORTS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_committed_table_is_complete() -> None:
    table = read(TABLE)
    assert list(table) == kinds()
    for measured in table.values():
        assert [row.refined for row in measured] == [False, True]
        assert {row.problems for row in measured} == {1000}


def test_no_worse_than_three_times_qr_within_the_applications_allowed() -> None:
    for row in (row for measured in read(TABLE).values() for row in measured if row.refined):
        assert row.median <= 3 * row.qr_median
        assert row.p95 <= 3 * row.qr_p95
        assert row.applications <= row.allowed
        assert row.converged == row.problems


def test_a_line_of_the_table_is_measured_again() -> None:
    kind = Kind(solver=NAME, m=20, n=5, condition=1e5, residual=1.0)
    for new, old in zip(measure(kind, problems=50), read(TABLE)[kind], strict=True):
        # 50 problems instead of 1,000: a median moves by some tens of per cent.
        assert 0.5 <= new.median / old.median <= 2
        assert new.applications <= old.applications


def test_a_table_that_was_left_half_way_is_read_again(tmp_path: Path) -> None:
    whole = read(TABLE)
    part = {kind: whole[kind] for kind in kinds()[:3]}
    write(tmp_path / "accuracy.csv", part)
    assert read(tmp_path / "accuracy.csv") == part
    assert read(tmp_path / "none.csv") == {}


def test_nist_within_a_digit_of_qr() -> None:
    assert nist_rows() == rows("newton-schulz/nist.csv")
    assert all(float(row["learned"]) >= float(row["qr"]) - 1 for row in nist_rows())


def test_the_page_is_made_of_the_table(tmp_path: Path) -> None:
    table = [row for measured in read(TABLE).values() for row in measured]
    page(table, rows("newton-schulz/nist.csv"), tmp_path)
    for name in ("cells.csv", "error.csv", "nist-digits.csv"):
        assert (tmp_path / name).read_text("utf-8") == (REPORTS / "newton-schulz" / name).read_text("utf-8")


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
