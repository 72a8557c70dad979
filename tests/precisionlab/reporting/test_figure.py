import struct
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest

from precisionlab.reporting.figure import DOTS_PER_INCH, draw_png


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.fixture(name="draw")
def fixture_draw():
    return lambda curves, title="A title.", caption="A caption.": draw_png(curves, title=title, caption=caption)


CASES = {
    "typical": lambda made: made.typical(),
    "diverging": lambda made: made.diverging(),
    "one solver": lambda made: made.curves(made.iterated("a")),
    "one direct": lambda made: made.curves(made.direct("qr")),
    "only zero": lambda made: made.curves(made.direct("reference", floor=0.0)),
    "reaches zero": lambda made: made.curves(made.rows("a", [1.0, 1e-10, 0.0, 0.0])),
    "only nan": lambda made: made.curves(made.rows("a", [np.nan, np.nan]), made.rows("b", [np.inf])),
    "nan on the way": lambda made: made.curves(made.rows("a", [1.0, np.nan, 1e-20])),
    "twelve": lambda made: made.curves(*[made.iterated(f"solver-{i}", rate=0.3 + 0.04 * i) for i in range(12)]),
    "forty": lambda made: made.curves(*[made.iterated(f"solver-{i}", steps=5) for i in range(40)]),
    "four dtypes": lambda made: made.curves(*[
        made.iterated("a", dtype=d, steps=9) for d in ("float64", "float32", "float16", "bfloat16")
    ]),
    "extremes": lambda made: made.curves(made.rows("a", [1.7e308, 1e-300, 4.9e-324])),
    "hostile names": lambda made: made.curves(*[
        made.direct(n) for n in ("$x_{", "a\nb\x07", "求解器", "x" * 500, "\\frac", "<b>&")
    ]),
}


@pytest.mark.parametrize("case", CASES)
def test_whatever_the_curves_a_picture_is_drawn_without_a_warning(made, draw, case):
    width, height = size(draw(CASES[case](made)))
    assert width >= 8 * DOTS_PER_INCH
    assert height >= 5 * DOTS_PER_INCH


def test_the_picture_grows_by_a_panel_for_each_dtype(made, draw):
    one, two = (
        draw(made.curves(*[made.direct("qr", dtype=d) for d in ds])) for ds in (["float64"], ["float64", "float32"])
    )
    assert size(two)[0] > size(one)[0] + 4 * DOTS_PER_INCH


def test_the_same_results_give_the_same_picture(made, draw):
    assert draw(made.typical()) == draw(made.typical())


def test_a_long_title_is_kept_to_two_lines(made, draw):
    curves = made.curves(made.direct("qr"))
    assert size(draw(curves, title="word " * 400)) == size(draw(curves, title="word " * 25))


def test_the_callers_settings_are_left_alone(made, draw):
    names = [name for name in mpl.rcParams if name != "backend"]  # reading the backend would choose one
    before = {name: mpl.rcParams[name] for name in names}
    draw(made.curves(made.direct("qr")))
    assert {name: mpl.rcParams[name] for name in names} == before


def test_pyplot_is_never_loaded():
    code = "import sys, precisionlab.reporting; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
