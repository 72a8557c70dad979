"""What is said of error against iteration follows from the frame, and changes with it."""

import math

import numpy as np
import pytest

from precisionlab.report.iterates import conclusion, headline, sections, summary, wrapper

from .curves import LEARNED, frame, rows, three

DESCENT = "gradient-descent"


def test_the_floor_is_the_last_iterate_and_not_the_best_one() -> None:
    table = summary(frame(rows("rising", [1.0, 1e-30, 1e-12]), rows("falling", [1.0, 1e-12, 1e-30])))
    assert table["floor"].tolist() == [1e-12, 1e-30]
    assert table["lower quartile"].tolist() == [0.3 * 1e-12, 0.3 * 1e-30]
    assert table["worst"].tolist() == [800 * 1e-12, 800 * 1e-30]
    assert table["iteration"].tolist() == [2, 2]


def test_ratios_are_taken_within_a_dtype() -> None:
    table = summary(
        frame(
            rows("a", 6e-31),
            rows("a", 1e-13, dtype="float32"),
            rows(DESCENT, 2e-31),
            rows(DESCENT, 4e-13, dtype="float32"),
            three(1e-29, 3e-33, 2e-33),
        )
    ).set_index(["solver", "dtype"])
    assert table.loc[("a", "float64"), f"× {DESCENT}"] == 6e-31 / 2e-31
    assert table.loc[("a", "float32"), f"× {DESCENT}"] == 1e-13 / 4e-13
    assert table.loc[("a", "float64"), "× u²"] == 6e-31 / 2.0**-106
    assert table.loc[("a", "float32"), "× u²"] == 1e-13 / 2.0**-48
    assert math.isnan(table.loc[("a", "float64"), "× control"])
    for part, floor in {LEARNED: 3e-33, f"{LEARNED}, alone": 1e-29, f"{LEARNED}, control": 2e-33}.items():
        assert table.loc[(part, "float64"), "× control"] == floor / 2e-33


@pytest.mark.parametrize("floor", [0.0, np.nan, np.inf])
def test_there_is_no_ratio_to_a_floor_that_is_zero_or_not_finite(floor: float) -> None:
    assert summary(frame(rows("a", 1e-3), rows(DESCENT, floor)))[f"× {DESCENT}"].isna().all()


@pytest.mark.parametrize(("end", "state"), [(1e-30, "finite"), (0.0, "exact"), (np.nan, "diverged")])
def test_states(end: float, state: str) -> None:
    assert summary(frame(rows("a", end)))["state"].tolist() == [state]


def test_one_lost_problem_shows_in_the_state_and_the_conclusion() -> None:
    lost = frame(rows("a", 1e-3))
    lost.loc[0, ["mse_mean", "mse_max"]] = np.inf
    assert summary(lost)["state"].tolist() == ["some diverged"]
    assert "Diverged on some problems: a (float64)." in conclusion(lost)
    assert "Diverged" not in conclusion(frame(rows("a", 1e-3)))


@pytest.mark.parametrize(("mse", "digits"), [(1e-30, 15.0), (1e-4, 2.0), (1.0, 0.0), (1e6, 0.0), (0.0, math.inf)])
def test_digits_are_those_of_the_root(mse: float, digits: float) -> None:
    assert summary(frame(rows("a", mse)))["digits"].tolist() == [digits]


def test_the_headline_is_of_the_model_alone_and_not_of_its_wrapper() -> None:
    said = headline(frame(three(1e-29, 0.0, 0.0), rows(DESCENT, 5e-33)))
    assert said == (
        f"{LEARNED} alone ends at a median MSE of 1.0e-29 in float64 after 2 iterations, 2,000× gradient-descent."
    )


def test_the_headline_names_every_model_and_picks_none() -> None:
    other = [("b" + str(row[0]), *row[1:]) for row in three(1e-20, 0.0, 0.0)]
    said = headline(frame(three(1e-29, 0.0, 0.0), other, rows(DESCENT, 5e-33)))
    assert said == (
        f"Where models alone end, median MSE: {LEARNED} 1.0e-29, b{LEARNED} 1.0e-20 (gradient-descent 5.0e-33)."
    )


HEADLINES = {
    "diverged": (np.nan, "a diverged."),
    "exact": (0.0, "a agrees with the reference exactly in float64."),
    "direct": (1e-3, "a ends at a median MSE of 1.0e-3 in float64."),
}


@pytest.mark.parametrize("case", HEADLINES)
def test_headlines(case: str) -> None:
    end, said = HEADLINES[case]
    assert headline(frame(rows("a", end))) == said


def test_the_most_precise_dtype_is_told() -> None:
    both = frame(three(1e-13, 1e-14, 1e-14, dtype="float32"), three(1e-29, 1e-33, 1e-33))
    assert "1.0e-29 in float64" in headline(both)


WRAPPED = {
    # alone, as it is, control: what is said, and what must not be
    "the wrapper's": ((1e-29, 0.0, 0.0), "are the wrapper's and not the model's", "does not hide"),
    "worse than its control": ((1e-13, 1e-20, 1e-33), "above its control", "the wrapper's and"),
    "better than its control": ((1e-29, 1e-33, 1e-28), "below its control", "the wrapper's and"),
    "good alone": ((1.5e-33, 1e-33, 1e-33), "needs no refinement", "the wrapper's and"),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_whose_digits_they_are(case: str) -> None:
    ends, said, unsaid = WRAPPED[case]
    told = wrapper(frame(three(*ends)), LEARNED)
    assert said in told
    assert unsaid not in told
    assert told in conclusion(frame(three(*ends)))


def test_nothing_is_said_of_a_wrapper_that_was_not_measured_or_lost() -> None:
    assert wrapper(frame(rows(LEARNED, 1e-30)), LEARNED) == ""
    assert wrapper(frame(three(np.nan, 1.0, 1.0)), LEARNED) == ""


def test_a_solver_without_refinement_says_so() -> None:
    assert "has no refinement" in wrapper(frame(three(1e-29, 1e-29, 1e-33)), LEARNED)


def test_a_direct_solver_is_a_level_and_the_three_share_a_colour() -> None:
    figure = sections(frame(three(1e-29, 1e-33, 1e-33), rows("qr", 1e-31)), caption="c")[0]
    assert figure.rows("qr", "float64")["iteration"].tolist() == [0, 2]
    looks = figure.looks()
    hues = {name: hue for name, (hue, _) in looks.items()}
    assert hues[LEARNED] == hues[f"{LEARNED}, alone"] == hues[f"{LEARNED}, control"] != hues["qr"]
    assert len({dash for _, dash in looks.values()}) == 3


def test_a_solver_that_diverges_does_not_flatten_the_others() -> None:
    figure = sections(frame(rows("lost", [1.0, 1e150, 1e300]), rows("a", [1.0, 1e-9])), caption="c")[0]
    assert figure.ceiling <= 1e4
