"""The committed table of NIST digits holds what its study measures."""

import pandas as pd

from .load import REPORTS, load

subject = load("nist")


def test_the_committed_table_is_complete_and_its_best_rows_are_reproduced() -> None:
    fresh = subject.measure()
    committed = pd.read_csv(REPORTS / "nist" / "results.csv", dtype=str)
    assert list(committed) == list(fresh)
    assert committed[["set", "solver"]].equals(fresh[["set", "solver"]])
    # Digits of the exact and the refined are the same on every machine; those of the others depend on its library, and
    # so does κ.
    same = fresh["solver"].isin(["reference", "qr+refinement"])
    assert committed.loc[same, "status"].equals(fresh.loc[same, "status"])
    for name in ("digits_certified", "digits_exact", "forward_error_lower", "forward_error_upper", "backward_error"):
        assert committed.loc[same, name].map(float).tolist() == fresh.loc[same, name].tolist()
