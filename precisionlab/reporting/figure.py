"""The picture of a report: error against iteration on a logarithmic axis, one panel for each dtype.

It is drawn on figure objects alone: there is no current figure, and no window system is needed.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from precisionlab.reporting.axis import ErrorAxis, error_axis, spread
from precisionlab.reporting.results import UNIT_ROUNDOFF, Curves
from precisionlab.reporting.strokes import Stroke, strokes
from precisionlab.reporting.summary import format_mse

DOTS_PER_INCH = 160
# In inches.
LEFT, BOTTOM, LINE, LEAST_WIDTH = 0.85, 0.95, 0.24, 8.2
PANEL_WIDTH, PANEL_HEIGHT = 5.6, 3.85
INK, FAINT, GRID = "#1d2430", "#646c7a", "#e4e7ec"
LABEL_SIZE = 9.0
LABEL_CHARACTERS = 36
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "white",
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
}


class _End(NamedTuple):
    name: str
    value: str
    step: float
    level: float
    look: Stroke


def draw_png(curves: Curves, *, title: str, caption: str) -> bytes:
    """Draw error against iteration: the median of each solver, its quartile band, and u² of each dtype.

    Args:
        curves: The results.
        title: The conclusion, one sentence.
        caption: What was measured, one sentence.

    Returns:
        A PNG.
    """
    with rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font does not hold is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        figure = _figure(curves, title, caption)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "precisionlab"})
    return buffer.getvalue()


def _label_width(curves: Curves) -> float:
    longest = max(len(short(name)) for name in curves.solvers)
    return 0.55 + 0.0755 * max(longest, 14)


def _figure(curves: Curves, title: str, caption: str) -> Figure:
    width = LEFT + len(curves.dtypes) * (PANEL_WIDTH + _label_width(curves))
    width = round(max(width, LEAST_WIDTH), 1)
    heading, note = wrapped(title.removesuffix("."), width * 9.4), wrapped(caption, width * 15.0)
    height = BOTTOM + PANEL_HEIGHT + 0.7 + LINE * heading.count("\n")
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axis, looks, last = error_axis(curves), strokes(curves.solvers), max(int(curves.frame["iteration"].max()), 1)
    for place, dtype in enumerate(curves.dtypes):
        left = LEFT + place * (PANEL_WIDTH + _label_width(curves))
        panel = figure.add_axes((left / width, BOTTOM / height, PANEL_WIDTH / width, PANEL_HEIGHT / height))
        _prepare(panel, axis, last, dtype, first=place == 0)
        _mark_unit_roundoff(panel, dtype)
        _draw_curves(panel, curves, dtype, axis, looks, last)
    figure.text(0.2 / width, 1 - 0.17 / height, heading, size=12.5, weight="bold", va="top", linespacing=1.3)
    figure.text(0.2 / width, 0.12 / height, note, size=8.0, color=FAINT, va="bottom", linespacing=1.35)
    return figure


def wrapped(text: str, width: float) -> str:
    """Break a text into at most two lines of about the same length.

    Args:
        text: The text.
        width: The most characters of a line.

    Returns:
        The text; what two lines cannot hold is cut, with an ellipsis.
    """
    text = _one_line(text)
    if len(text) > width:
        width = max(len(text) / 2 * 1.12, 20) if len(text) < 1.7 * width else width
    return "\n".join(textwrap.wrap(text, width=int(width), max_lines=2, placeholder=" …"))


def _prepare(panel: Axes, axis: ErrorAxis, last: int, dtype: str, *, first: bool) -> None:
    panel.set_xlim(0, last)
    panel.set_ylim(axis.low, axis.high)
    ticks: list[float] = [float(e) for e in axis.ticks()]
    names = [f"1e{e:d}" if e else "1" for e in axis.ticks()]
    if axis.zero is not None:
        ticks, names = [axis.zero, *ticks], ["0", *names]
        panel.axhline(axis.zero + 1.0, color=FAINT, linewidth=0.6, linestyle=(0, (2, 3)))
    panel.set_yticks(ticks, names)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel("iteration")
    if first:
        panel.set_ylabel("mean squared error against the reference")
    panel.text(0.0, 1.025, dtype, transform=panel.transAxes, size=10.5, weight="bold", color=FAINT)


def _mark_unit_roundoff(panel: Axes, dtype: str) -> None:
    square = UNIT_ROUNDOFF[dtype] ** 2
    level = math.log10(square)
    panel.axhline(level, color=INK, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2.5)
    label = panel.annotate(
        f"u² of {dtype} = {format_mse(square)}",
        (0, level),
        xytext=(5, -3),
        textcoords="offset points",
        va="top",
        size=8.0,
        zorder=6,
    )
    label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _draw_curves(panel: Axes, curves: Curves, dtype: str, axis: ErrorAxis, looks: dict[str, Stroke], last: int) -> None:
    ends: list[_End] = []
    for place, name in enumerate(curves.solvers):
        rows, look = curves.curve(name, dtype), looks[name]
        if rows.empty:
            continue
        steps = rows["iteration"].to_numpy(dtype=np.float64)
        levels = [axis.levels(rows[f"mse_{part}"].to_numpy()) for part in ("median", "q25", "q75")]
        direct = len(rows) == 1
        if direct:
            steps, levels = np.array([0.0, float(last)]), [np.repeat(level, 2) for level in levels]
        median, below, above = levels
        panel.fill_between(steps, below, above, color=look.light, alpha=0.14, linewidth=0)
        panel.plot(
            steps,
            median,
            color=look.light,
            linewidth=1.2 if direct else 2.0,
            linestyle=(0, look.dash) if look.dash else "-",
            marker=look.marker,
            markersize=5.0,
            markeredgecolor="white",
            markeredgewidth=0.7,
            markevery=[len(steps) - 1] if direct else _marked(len(steps), place),
            clip_on=bool(np.nanmax(median, initial=axis.low) > axis.high),
            zorder=3 if direct else 4,
        )
        value = format_mse(float(rows["mse_median"].iloc[-1]))
        ends.append(_End(short(name), value, *_last_seen(steps, median, axis), look))
    _label_ends(panel, ends, axis, last)


def _marked(count: int, place: int) -> list[int]:
    """Choose the points that bear a marker, elsewhere on each curve so that curves that coincide still show theirs.

    Returns:
        At most seven indices, the last point among them and the first not.
    """
    shift = (place % 4) / 4
    inner = {round((part + shift) / 6.5 * (count - 1)) for part in np.arange(0.5, 6.0)}
    return sorted({index for index in inner if 0 < index < count} | {count - 1})


def _last_seen(steps: NDArray[np.float64], median: NDArray[np.float64], axis: ErrorAxis) -> tuple[float, float]:
    """Find where a curve was last seen.

    Returns:
        Iteration and level of its last point; where it ends off the chart, of the point at which it left at the top.
    """
    if median[-1] <= axis.high:
        return float(steps[-1]), float(median[-1])
    gone = ~(median <= axis.high)
    stayed = np.flatnonzero(~gone)
    at = int(stayed[-1]) + 1 if stayed.size else 0
    return float(steps[at]), axis.high


def _label_ends(panel: Axes, ends: list[_End], axis: ErrorAxis, last: int) -> None:
    points, decades = PANEL_HEIGHT * 72, axis.high - axis.low
    stacked = len(ends) * (2 * LABEL_SIZE * 1.25 + 2.0) < 0.8 * points
    size = LABEL_SIZE if stacked else min(LABEL_SIZE - 1.0, points / len(ends) / 1.3)
    gap = (2.5 * size + 1.0 if stacked else 1.3 * size) / points * decades
    places = spread([end.level for end in ends], gap=gap, low=axis.low, high=axis.high)
    for end, place in zip(ends, places, strict=True):
        look = end.look
        away = end.step < last
        panel.plot(
            [end.step, last * 1.005, last * 1.05] if away else [last * 1.015, last * 1.05],
            [end.level, end.level, place] if away else [end.level, place],
            color=look.light,
            linewidth=0.8,
            linestyle=(0, (1, 2)) if away else "-",
            clip_on=False,
        )
        text = f"{end.name}\n{end.value}" if stacked else f"{end.name}  {end.value}"
        panel.text(last * 1.06, place, text, va="center", size=size, color=look.light, linespacing=1.15, clip_on=False)


def short(name: str) -> str:
    """Shorten a name to what a label can hold, leaving its middle out.

    Args:
        name: The name.

    Returns:
        One line of at most 36 characters.
    """
    name = _one_line(name)
    half = LABEL_CHARACTERS // 2
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
