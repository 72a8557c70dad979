import math

import numpy as np
import pandas as pd
import pytest

from precisionlab.reporting.summary import (
    conclusion,
    correct_digits,
    format_digits,
    format_mse,
    format_ratio,
    headline,
    summarise,
)


def test_the_floor_is_the_last_iterate_and_not_the_best_one(made):
    curves = made.curves(made.rows("rising", [1.0, 1e-30, 1e-12]), made.rows("falling", [1.0, 1e-12, 1e-30]))
    table = summarise(curves, "gradient-descent").set_index("solver")
    assert table.loc["rising", "floor"] == 1e-12
    assert table.loc["rising", "floor_q25"] == 0.3 * 1e-12
    assert table.loc["rising", "floor_q75"] == 4.0 * 1e-12
    assert table.loc["rising", "floor_max"] == 800.0 * 1e-12
    assert table.loc["falling", "floor"] == 1e-30


def test_the_last_iterate_is_found_in_rows_given_backwards(made):
    frame = made.frame(made.rows("rising", [1.0, 1e-30, 1e-12]))[::-1]
    curves = type(made.typical())(frame=frame)
    assert summarise(curves, "gradient-descent")["floor"].tolist() == [1e-12]


def test_ratios_are_taken_within_a_dtype(made):
    curves = made.curves(
        made.direct("a", floor=6e-31),
        made.direct("a", dtype="float32", floor=1e-13),
        made.direct("gradient-descent", floor=2e-31),
        made.direct("a", dtype="float16", floor=1e-6),
        made.direct("gradient-descent", dtype="float32", floor=4e-13),
    )
    table = summarise(curves, "gradient-descent").set_index(["solver", "dtype"])["ratio_to_baseline"]
    assert table["a", "float64"] == 6e-31 / 2e-31
    assert table["a", "float32"] == 1e-13 / 4e-13
    assert math.isnan(table["a", "float16"])
    assert table["gradient-descent", "float64"] == 1.0


@pytest.mark.parametrize("floor", [0.0, np.nan, np.inf])
def test_there_is_no_ratio_to_a_floor_that_is_zero_or_not_finite(made, floor):
    table = summarise(made.curves(made.direct("a"), made.direct("gradient-descent", floor=floor)), "gradient-descent")
    assert table["ratio_to_baseline"].isna().all()


def test_floors_are_compared_with_the_square_of_the_unit_roundoff(made):
    parts = [made.direct("a", dtype="float64", floor=2.0**-106), made.direct("a", dtype="float32", floor=2.0**-47)]
    assert summarise(made.curves(*parts), "b")["floor_over_u2"].tolist() == [1.0, 2.0]


STATES = {"finite": 1e-30, "exact": 0.0, "diverged": np.nan}


@pytest.mark.parametrize("state", STATES)
def test_states(made, state):
    assert summarise(made.curves(made.direct("a", floor=STATES[state])), "b")["state"].tolist() == [state]


def test_one_lost_problem_shows_in_the_state_and_the_conclusion(made):
    frame = made.frame(made.direct("a"))
    frame.loc[0, ["mse_mean", "mse_max"]] = np.inf
    curves = type(made.typical())(frame=frame)
    table = summarise(curves, "b")
    assert table["state"].tolist() == ["some diverged"]
    assert "Diverged on some problems: a (float64)." in conclusion(curves, made.meta(), table)


@pytest.mark.parametrize(("mse", "digits"), [(1e-30, 15.0), (1e-4, 2.0), (1.0, 0.0), (1e6, 0.0), (0.0, math.inf)])
def test_digits_are_those_of_the_root(mse, digits):
    assert correct_digits(mse) == digits


def test_digits_given_replace_those_derived_and_further_columns_follow(made):
    given = pd.DataFrame({"solver": ["qr"], "dtype": ["float64"], "digits": [13.5], "seconds": [0.25]})
    table = summarise(made.curves(made.direct("qr"), made.direct("svd"), summary=given), "b")
    assert table["digits"].tolist()[0] == 13.5
    assert table["digits"].isna().tolist() == [False, True]
    assert list(table.columns)[-1] == "seconds"


def test_the_conclusion_states_floor_ratio_and_digits(made):
    curves = made.curves(
        made.rows("learned", [1.0, 1e-5, 3e-31]), made.direct("gradient-descent", floor=2e-31), made.direct("qr")
    )
    table = summarise(curves, "gradient-descent")
    assert conclusion(curves, made.meta(), table) == (
        "learned ends at a median MSE of 3.0e-31 in float64 after 2 iterations, 1.5× the floor of gradient-descent. "
        "That is 24× u² of float64 (1.2e-32), about 15.3 digits of an unknown of size one."
    )


CONCLUSIONS = {
    "diverged subject": ([np.nan], (), "a diverged in float64."),
    "exact subject": ([0.0], (), "a agrees with the reference exactly in float64."),
    "one iteration": ([1.0, 1e-3], (), "a ends at a median MSE of 1.0e-3 in float64 after 1 iteration."),
    "several": ([1e-9], ("a", "b"), "Of 2 solvers, b ends at a median MSE of 4.0e-32 in float64, the lowest."),
}


@pytest.mark.parametrize("case", CONCLUSIONS)
def test_headlines(made, case):
    median, subjects, said = CONCLUSIONS[case]
    curves, meta = made.curves(made.rows("a", median), made.direct("b")), made.meta(subjects=subjects)
    assert headline(curves, meta, summarise(curves, meta.baseline)) == said


def test_who_diverged_is_never_left_out(made):
    curves, meta = made.diverging(), made.meta()
    said = conclusion(curves, meta, summarise(curves, meta.baseline))
    assert said.endswith("Diverged: overshooting (float64), lost (float64).")


def test_an_unknown_subject_is_an_error_that_lists_the_solvers(made):
    curves = made.curves(made.direct("qr"))
    with pytest.raises(ValueError, match=r"'gr' is not among .*'qr'"):
        conclusion(curves, made.meta(subjects=("gr",)), summarise(curves, "b"))


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (format_mse, 3.14e-31, "3.1e-31"),
        (format_mse, 9.99e-3, "1.0e-2"),
        (format_mse, 0.253, "0.25"),
        (format_mse, 9.8, "9.8"),
        (format_mse, 1e200, "1.0e200"),
        (format_mse, 0.0, "0"),
        (format_mse, math.inf, "diverged"),
        (format_mse, math.nan, "diverged"),
        (format_ratio, 1.34, "1.3×"),
        (format_ratio, 1234.5, "1,234×"),
        (format_ratio, 2.6e17, "2.6e17×"),
        (format_ratio, 0.0, "0×"),
        (format_ratio, math.nan, "–"),
        (format_digits, 15.27, "15.3"),
        (format_digits, math.inf, "all"),
        (format_digits, math.nan, "–"),
    ],
)
def test_numbers_are_written_for_people(write, value, text):
    assert write(value) == text
