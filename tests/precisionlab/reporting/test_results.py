import numpy as np
import pandas as pd
import pytest

from precisionlab.reporting import RESULT_COLUMNS, Curves, Meta, ProblemSet, read_results


def test_columns_are_those_of_the_contract():
    assert ",".join(RESULT_COLUMNS) == "solver,dtype,iteration,problems,mse_median,mse_q25,mse_q75,mse_mean,mse_max"


@pytest.mark.parametrize("name", ["plain", "null", "nan", "NA", "", 'a "quoted", name', "<b>", "line\nbreak", "1"])
def test_csv_gives_the_frame_back_bit_for_bit(made, name):
    values = [1 / 3, 4.9e-324, 1.7e308, 0.0, np.nan, np.inf]
    curves = made.curves(made.rows(name or "x", values))
    pd.testing.assert_frame_equal(read_results(curves.to_csv()), curves.frame, check_exact=True)


def test_csv_of_a_typical_report_starts_with_the_columns(made):
    first, second = made.typical().to_csv().split("\n")[:2]
    assert first == ",".join(RESULT_COLUMNS)
    assert second.startswith(f"{made.learned},float64,0,4096,")


def test_rows_are_sorted_within_curves_and_curves_keep_their_order(made):
    curves = made.typical()
    shuffled = pd.concat([curves.frame.iloc[:1], curves.frame.iloc[:0:-1]])
    again = Curves(frame=shuffled)
    assert again.solvers[0] == made.learned
    for solver in curves.solvers:
        assert again.curve(solver, "float64")["iteration"].is_monotonic_increasing


def test_the_callers_frame_is_left_alone(made):
    frame = made.frame(made.iterated("a"))[::-1]
    before = frame.copy()
    Curves(frame=frame)
    pd.testing.assert_frame_equal(frame, before)


def test_dtypes_are_listed_most_precise_first(made):
    parts = [made.direct("qr", dtype=dtype) for dtype in ("bfloat16", "float32", "float64")]
    assert made.curves(*parts).dtypes == ["float64", "float32", "bfloat16"]


def test_no_rows_is_an_error_that_says_so(made):
    with pytest.raises(ValueError, match="no row"):
        made.curves()


def change(frame, column, value):
    frame = frame.copy()
    frame[column] = frame[column].astype(object)
    frame.loc[0, column] = value
    return frame


BAD_FRAMES = {
    "missing column": (lambda f: f.drop(columns="mse_max"), "lack .*mse_max"),
    "unknown column": (lambda f: f.assign(best=0.0), "unknown .*best"),
    "column order": (lambda f: f[f.columns[::-1]], "out of order"),
    "misspelt dtype": (lambda f: change(f, "dtype", "float46"), "did you mean 'float64'"),
    "blank solver": (lambda f: change(f, "solver", "  "), "blank"),
    "negative error": (lambda f: change(f, "mse_mean", -1e-30), "mse_mean"),
    "fractional iteration": (lambda f: change(f, "iteration", 0.5), "iteration must hold integers"),
    "negative iteration": (lambda f: change(f, "iteration", -1), "iteration must hold integers"),
    "no problems": (lambda f: change(f, "problems", 0), "problems must hold integers"),
    "repeated row": (lambda f: pd.concat([f, f.iloc[:1]]), "more than once"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_frame_is_refused_with_its_fault(made, case):
    spoil, message = BAD_FRAMES[case]
    with pytest.raises(ValueError, match=message):
        Curves(frame=spoil(made.frame(made.iterated("a", steps=3))))


BAD_SUMMARIES = {
    "no key": ({"solver": ["qr"], "time": [1.0]}, "must begin with"),
    "unknown solver": ({"solver": ["qrr"], "dtype": ["float64"]}, "'qrr', 'float64'"),
    "repeated": ({"solver": ["qr", "qr"], "dtype": ["float64", "float64"]}, "more than once"),
}


@pytest.mark.parametrize("case", BAD_SUMMARIES)
def test_a_bad_summary_is_refused_with_its_fault(made, case):
    columns, message = BAD_SUMMARIES[case]
    with pytest.raises(ValueError, match=message):
        made.curves(made.direct("qr"), summary=pd.DataFrame(columns))


def test_meta_refuses_what_would_read_badly(made):
    with pytest.raises(ValueError, match="title"):
        made.meta(title=" ")
    with pytest.raises(ValueError, match="time zone"):
        made.meta(generated_at=pd.Timestamp("2026-05-04").to_pydatetime())
    with pytest.raises(TypeError, match="notes"):
        made.meta(notes="one string")
    with pytest.raises(ValueError, match="rows"):
        ProblemSet(n=5, rows=0, count=1)


def test_problems_are_described_in_one_phrase():
    some = ProblemSet(n=5, rows=20, count=4096, seed=0, distribution="A ~ N(0, I)")
    assert some.sentence() == "4,096 problems with 20 rows and 5 unknowns (A ~ N(0, I); seed 0)"
    assert ProblemSet(n=2, rows=3, count=1).sentence() == "1 problem with 3 rows and 2 unknowns"


def test_meta_dates_itself_with_a_zone():
    meta = Meta(title="t", command="c", problems=ProblemSet(n=1, rows=1, count=1), reference="r")
    assert meta.generated_at.tzinfo is not None


def test_a_notebook_shows_a_problem_set_as_its_sentence():
    problems = ProblemSet(n=5, rows=20, count=4096, seed=0, distribution="x < 1")
    assert problems._repr_html_() == "<p>4,096 problems with 20 rows and 5 unknowns (x &lt; 1; seed 0)</p>"
