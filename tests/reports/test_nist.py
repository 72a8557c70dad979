"""The committed table of NIST digits holds what its study measures."""

import pandas as pd

from .load import REPORTS, load

subject = load("nist")


def test_the_committed_table_is_complete_and_its_best_rows_are_reproduced() -> None:
    fresh = subject.measure()
    committed = pd.read_csv(REPORTS / "nist" / "results.csv", float_precision="round_trip")
    assert list(committed) == list(fresh)
    assert committed[["set", "solver"]].equals(fresh[["set", "solver"]])
    # Digits of the exact and the refined are the same on every machine; those of the others depend on its library, and
    # so does κ.
    same = fresh["solver"].isin(["reference", "qr+refinement"])
    columns = [name for name in fresh if not name.startswith("condition")]
    pd.testing.assert_frame_equal(fresh.loc[same, columns], committed.loc[same, columns], check_exact=True)
