"""README.md's table is computed: every line from the study that it links, and the whole from what is saved."""

from collections.abc import Callable

import pandas as pd
import pytest

from .load import REPORTS, load

readme = load(".", "readme.py")
PAGES = ("floors", "recipes", "k-steps", "iterates", "newton-schulz", "ode", "softmax", "out-of-distribution")


def once(alone: float, qr: float) -> pd.DataFrame:
    return pd.DataFrame([
        {"problems": problems, "dtype": dtype, "solver": solver, "mse_mean": mse}
        for problems in ("A ~ N(0, I)", "κ = 5")
        for dtype in ("float32", "float64")
        for solver, mse in (("m, alone", alone), ("QR", qr))
    ])


def iterates(alone: float, control: float) -> pd.DataFrame:
    ends = {f"{readme.LINEAR}, alone": alone, f"{readme.LINEAR}, control": control, "gradient-descent": 5e-33}
    return pd.DataFrame([
        {"solver": solver, "dtype": dtype, "iteration": iteration, "mse_median": mse if iteration else 1.0}
        for solver, mse in ends.items()
        for dtype in ("float64", "float32")
        for iteration in (0, 200)
    ])


def shifts(worst: float) -> pd.DataFrame:
    rows = [("none", 1.0, 1e-16), ("scale of A", 100.0, worst), ("noise", 0.1, 2e-16)]
    return pd.DataFrame([
        {"model": readme.LINEAR, "shift": shift, "value": value, "emitted": error} for shift, value, error in rows
    ])


LINES: dict[str, tuple[Callable[..., object], pd.DataFrame, tuple[str, ...]]] = {
    "at once": (lambda frame: readme.at_once(frame)[2], once(1.5e-14, 4.5e-14), ("1.5e-14", "4.5e-14 (QR)", "7.5e-10")),
    "lead": (lambda frame: [readme.lead(frame)], once(4e-14, 1e-14), ("at most 2 times",)),
    "iterates": (lambda frame: readme.iterates(frame)[0], iterates(1.4e-29, 2e-33), ("1.4e-29", "2.0e-33 (refined)")),
    "shifted": (readme.shifted, shifts(1e-5), ("1.0e11× its error in distribution", "scale of A × 100")),
    "not shifted": (readme.shifted, shifts(1e-16), ("2× its error in distribution", "noise × 0.1")),
    "softmax": (
        readme.softmax,
        pd.DataFrame({"dtype": ["float64", "float64", "float32"], "test_mse": [0.2, 2e-3, 1e-9]}),
        ("2.0e-3 to 0.2", "2 recipes"),
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_is_computed_from_its_study(case: str) -> None:
    line, frame, said = LINES[case]
    text = " | ".join(line(frame))  # type: ignore[arg-type]
    assert [words for words in said if words not in text] == []


def test_float64_leads_and_only_float32_stands_beside_what_was_published() -> None:
    lines = readme.at_once(once(1e-14, 1e-14))
    assert [line[0].rpartition(" ")[2] for line in lines] == ["float64", "float64", "float32", "float32"]
    assert [line[4] for line in lines] == ["", "", "7.5e-10", ""]


def test_it_is_made_of_what_is_saved() -> None:
    text = readme.README.read_text("utf-8")
    before, _, rest = text.partition(readme.BEGIN)
    assert before
    assert readme.END in rest
    if all((REPORTS / page / "results.csv").exists() for page in PAGES):
        assert readme.written(text) == text, "make reports"
