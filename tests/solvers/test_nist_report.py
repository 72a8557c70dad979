"""The committed report holds what its command measures."""

import csv
from pathlib import Path

from solvers import nist, nist_report

COMMITTED = Path(__file__).parents[2] / "reports" / "nist" / "results.csv"


def test_the_committed_table_is_complete_and_its_best_rows_are_reproduced():
    fresh = nist_report.rows()
    with COMMITTED.open(encoding="utf-8") as file:
        committed = list(csv.DictReader(file))
    assert list(committed[0]) == nist_report.COLUMNS
    key = [(row["set"], row["solver"]) for row in committed]
    assert key == [(row["set"], row["solver"]) for row in fresh]
    assert len(key) == len(nist.problems()) * len(nist_report.subjects())
    # Digits of the exact and the refined are the same on every machine; those of the others depend on its library.
    for new, old in zip(fresh, committed, strict=True):
        if new["solver"] in {"reference", "qr+refinement"}:
            assert new == old
