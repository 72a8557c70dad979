"""The picture of a report: error against iteration on a logarithmic axis, one panel for each dtype.

It is drawn on figure objects alone, so that no backend, style or figure of the caller's is touched.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from precisionlab.reporting.axis import ErrorAxis, error_axis, spread
from precisionlab.reporting.results import UNIT_ROUNDOFF, Curves
from precisionlab.reporting.strokes import Stroke, strokes
from precisionlab.reporting.summary import format_mse

DOTS_PER_INCH = 160
HEIGHT = 5.6
PANEL_WIDTH = 5.6
LABEL_WIDTH = 2.6
INK, FAINT, GRID = "#1d2430", "#69717f", "#e4e7ec"
LABEL_SIZE = 9.0
LABEL_CHARACTERS = 30
_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


def draw_png(curves: Curves, *, title: str, caption: str) -> bytes:
    """Draw error against iteration: the median of each solver, its quartile band, and u² of each dtype.

    Args:
        curves: The results.
        title: The conclusion, one sentence.
        caption: What was measured, one sentence.

    Returns:
        A PNG.
    """
    with rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font does not hold is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        figure = _figure(curves, title, caption)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "precisionlab"})
    return buffer.getvalue()


def figure_pixels(curves: Curves) -> tuple[int, int]:
    """Size of the picture.

    Args:
        curves: The results.

    Returns:
        Width and height in pixels.
    """
    width, height = _inches(curves)
    return round(width * DOTS_PER_INCH), round(height * DOTS_PER_INCH)


def _inches(curves: Curves) -> tuple[float, float]:
    return 0.8 + len(curves.dtypes) * (PANEL_WIDTH + LABEL_WIDTH), HEIGHT


def _figure(curves: Curves, title: str, caption: str) -> Figure:
    width, height = _inches(curves)
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    axis, looks, last = error_axis(curves), strokes(curves.solvers), _last_iteration(curves)
    for place, dtype in enumerate(curves.dtypes):
        left = (0.8 + place * (PANEL_WIDTH + LABEL_WIDTH)) / width
        panel = figure.add_axes((left, 0.125, PANEL_WIDTH / width, 0.685))
        _prepare(panel, axis, last, dtype, first=place == 0)
        _mark_unit_roundoff(panel, dtype)
        _draw_curves(panel, curves, dtype, axis, looks, last)
    lines = textwrap.wrap(_one_line(title), width=int(width * 9.2))[:2]
    figure.text(0.2 / width, 0.965, "\n".join(lines), size=12.5, weight="bold", va="top", linespacing=1.25)
    figure.text(0.2 / width, 0.025, _one_line(caption), size=8.0, color=FAINT, va="bottom")
    return figure


def _last_iteration(curves: Curves) -> int:
    return max(int(curves.frame["iteration"].max()), 1)


def _prepare(panel: Axes, axis: ErrorAxis, last: int, dtype: str, *, first: bool) -> None:
    panel.set_xlim(0, last)
    panel.set_ylim(axis.low, axis.high)
    ticks: list[float] = [float(e) for e in axis.ticks()]
    names = [f"1e{e:d}" if e else "1" for e in axis.ticks()]
    if axis.zero is not None:
        ticks, names = [axis.zero, *ticks], ["0", *names]
        panel.axhline((axis.zero + axis.low + 2.0) / 2, color=FAINT, linewidth=0.6, linestyle=(0, (2, 3)))
    panel.set_yticks(ticks, names)
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel("iteration")
    if first:
        panel.set_ylabel("mean squared error against the reference")
    panel.text(0.0, 1.02, dtype, transform=panel.transAxes, size=10.5, weight="bold", color=FAINT)


def _mark_unit_roundoff(panel: Axes, dtype: str) -> None:
    square = UNIT_ROUNDOFF[dtype] ** 2
    level = np.log10(square)
    panel.axhline(level, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    label = panel.annotate(
        f"u² of {dtype} = {square:.1e}", (0, level), xytext=(5, 3), textcoords="offset points", size=8.0, zorder=6
    )
    label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _draw_curves(panel: Axes, curves: Curves, dtype: str, axis: ErrorAxis, looks: dict[str, Stroke], last: int) -> None:
    ends: list[tuple[str, float, float, Stroke]] = []
    for name in curves.solvers:
        rows, look = curves.curve(name, dtype), looks[name]
        if rows.empty:
            continue
        steps = rows["iteration"].to_numpy(dtype=np.float64)
        median, below, above = (axis.levels(rows[f"mse_{part}"].to_numpy()) for part in ("median", "q25", "q75"))
        if len(rows) == 1:
            steps, median, below, above = _level_line(last, median, below, above)
        panel.fill_between(steps, below, above, color=look.light, alpha=0.14, linewidth=0)
        direct = len(rows) == 1
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
            markevery=[len(steps) - 1] if direct else _marked(len(steps)),
            clip_on=bool(np.nanmax(median, initial=axis.low) > axis.high),
            zorder=3 if direct else 4,
        )
        ends.append((_label(name, rows["mse_median"].to_numpy()), *_end(steps, median, axis), look))
    _label_ends(panel, ends, axis, last)


def _level_line(last: int, *levels: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.array([0.0, float(last)]), *(np.repeat(level, 2) for level in levels)


def _marked(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, 7))})


def _label(name: str, median: np.ndarray) -> str:
    return f"{textwrap.shorten(_one_line(name), LABEL_CHARACTERS, placeholder='…')}\n{format_mse(float(median[-1]))}"


def _end(steps: np.ndarray, median: np.ndarray, axis: ErrorAxis) -> tuple[float, float]:
    # Where a curve was last seen: its last finite point, or the top where it left.
    seen = np.flatnonzero(np.isfinite(median))
    if seen.size == 0:
        return float(steps[-1]), axis.high
    left = np.flatnonzero(median > axis.high)
    at = int(left[0]) if left.size and not median[-1] <= axis.high else int(seen[-1])
    level = axis.high if not np.isfinite(median[-1]) else float(median[-1])
    return float(steps[at]), min(level, axis.high)


def _label_ends(panel: Axes, ends: list[tuple[str, float, float, Stroke]], axis: ErrorAxis, last: int) -> None:
    decades = axis.high - axis.low
    points = 0.685 * HEIGHT * 72
    lines = 2 if len(ends) * 2 * LABEL_SIZE * 1.25 < points else 1
    gap = (lines * LABEL_SIZE * 1.22 + 2.0) / points * decades
    places = spread([level for _, _, level, _ in ends], gap=gap, low=axis.low, high=axis.high)
    for (text, step, level, look), place in zip(ends, places, strict=True):
        panel.annotate(
            text if lines == 2 else text.replace("\n", "  "),
            xy=(step, level),
            xytext=(last * 1.045, place),
            annotation_clip=False,
            va="center",
            size=LABEL_SIZE if lines == 2 else LABEL_SIZE - 1.0,
            color=look.light,
            linespacing=1.15,
            arrowprops={"arrowstyle": "-", "color": look.light, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4},
        )


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
