"""Whatever the frame, a picture is drawn, and its labels keep apart."""

import itertools
import struct
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from precisionlab.report import Figure
from precisionlab.report.iterates import sections
from precisionlab.report.plot import DOTS_PER_INCH, draw, spread
from precisionlab.report.scale import y_scale

from .curves import frame, rows, three

FRAME = pd.DataFrame({
    "layers": [1, 2, 4] * 2,
    "model": ["softmax"] * 3 + ["linear|attention"] * 3,
    "mse": [1e-2, 0.1 + 0.2, 3e-3, 1 / 3, 0.0, np.nan],
    "worst": [1e-1, 0.5, 3e-2, 1.0, 1e-300, np.inf],
    "reached": [False, False, False, False, True, True],
})
BASE: dict[str, Any] = {"name": "x", "frame": FRAME, "x": "layers", "y": "mse", "title": "A title."}
BASE |= {"low": "mse", "high": "worst", "series": "model", "lines": {"u² of float64": 2.0**-106}}
KINDS: dict[str, dict[str, Any]] = {
    "lines": {},
    "panels": {"panel": "reached"},
    "points": {"joined": False, "series": "", "low": "", "high": ""},
    "named places": {"x": "model"},
    "logarithmic": {"x_log": True},
    "linear": {"y_log": False},
    "ends": {"ends": True, "group": "reached"},
}
CURVES = {
    "diverging": frame(rows("lost", [1.0, np.nan, np.nan]), rows("over", [1.0, 1e150, np.inf]), rows("a", [1.0, 1e-9])),
    "one solver": frame(rows("a", [1.0, 1e-9])),
    "one direct": frame(rows("qr", 4e-32)),
    "only zero": frame(rows("reference", 0.0)),
    "reaches zero": frame(rows("a", [1.0, 1e-10, 0.0, 0.0])),
    "only nan": frame(rows("a", [np.nan, np.nan]), rows("b", [np.inf])),
    "nan on the way": frame(rows("a", [1.0, np.nan, 1e-20])),
    "forty": frame(*[rows(f"solver-{i}", [1.0, 0.5, 10.0**-i]) for i in range(40)]),
    "two dtypes": frame(three(1e-29, 0.0, 0.0), three(1e-13, 1e-14, 1e-14, dtype="float32")),
    "extremes": frame(rows("a", [1.7e308, 1e-300, 4.9e-324])),
    "hostile names": frame(*[rows(n, 1e-9) for n in ("$x_{", "a\nb\x07", "求解器", "x" * 500, "\\frac", "<b>&")]),
}


def size(png: bytes) -> tuple[int, ...]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_figure_is_drawn(case: str) -> None:
    width, height = size(draw(Figure(**BASE | KINDS[case])))
    assert width >= 5 * DOTS_PER_INCH
    assert height >= 4 * DOTS_PER_INCH


@pytest.mark.parametrize("case", CURVES)
def test_whatever_the_curves_a_picture_is_drawn_without_a_warning(case: str) -> None:
    figure = sections(CURVES[case], caption="A caption.")[0]
    assert size(draw(figure))[0] >= 6 * DOTS_PER_INCH
    assert draw(figure) == draw(figure)


def test_zero_has_a_line_of_its_own_below_all_else() -> None:
    axis = y_scale(Figure(**BASE))
    zero, least = axis.place([0.0, 1e-300])
    assert axis.low < zero == axis.zero < least
    assert y_scale(Figure(**BASE | {"frame": FRAME[:3]})).zero is None


def test_what_lies_beyond_the_ceiling_leaves_the_figure() -> None:
    plain = BASE | {"low": "", "high": "", "frame": FRAME[:4], "lines": {}}
    axis = y_scale(Figure(**plain | {"ceiling": 0.2}))
    inside, beyond = axis.place([1e-2, np.inf])
    assert axis.low < inside < axis.high < beyond
    assert axis.high < y_scale(Figure(**plain)).high - 0.5


@pytest.mark.parametrize("count", [0, 1, 2, 12, 40])
def test_labels_never_overlap_and_stay_within(count: int) -> None:
    wanted = np.random.default_rng(count).normal(0.5, 0.05, count).tolist()
    gap = min(0.05, 1 / max(count - 1, 1))
    placed = spread(wanted, gap=0.05, low=0.0, high=1.0)
    slack = 1e-12
    assert all(-slack <= p <= 1 + slack for p in placed)
    assert all(b - a >= gap - slack for a, b in itertools.pairwise(sorted(placed)))
    assert np.argsort(placed, kind="stable").tolist() == np.argsort(wanted, kind="stable").tolist()


def test_labels_that_have_room_are_not_moved_and_two_at_one_place_part_evenly() -> None:
    assert spread([0.9, 0.1, 0.5], gap=0.2, low=0.0, high=1.0) == pytest.approx([0.9, 0.1, 0.5])
    assert spread([0.5, 0.5], gap=0.2, low=0.0, high=1.0) == pytest.approx([0.4, 0.6])


def test_the_callers_settings_are_left_alone() -> None:
    names = [name for name in mpl.rcParams if name != "backend"]  # reading the backend would choose one
    before = {name: mpl.rcParams[name] for name in names}
    draw(Figure(**BASE))
    assert {name: mpl.rcParams[name] for name in names} == before


def test_pyplot_is_never_loaded() -> None:
    code = "import sys, precisionlab.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is a path": ({"name": "../x"}, "name: got"),
    "no rows": ({"frame": FRAME[:0]}, "no row"),
    "no such column": ({"y": "y"}, "no column 'y'"),
    "text for y": ({"y": "model"}, "must hold numbers"),
    "half a band": ({"high": ""}, "band together"),
    "negative": ({"frame": FRAME.assign(mse=-1.0)}, "logarithmic"),
    "log of zero": ({"x": "mse", "x_log": True}, "logarithmic"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_figure_is_refused(case: str) -> None:
    changes, message = MALFORMED[case]
    with pytest.raises(ValueError, match=message):
        Figure(**BASE | changes)
