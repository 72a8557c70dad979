"""The picture of a figure: panels side by side, each curve labelled at its end, bands, and marked levels."""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from precisionlab.reporting.axis import spread
from precisionlab.reporting.figure import DOTS_PER_INCH, FAINT, GRID, INK, LABEL_SIZE, STYLE, short, wrapped
from precisionlab.reporting.scale import Scale, x_scale, y_scale
from precisionlab.reporting.sections import Figure
from precisionlab.reporting.strokes import Stroke, strokes
from precisionlab.reporting.summary import format_mse

# In inches.
LEFT, BOTTOM, LINE = 0.95, 0.95, 0.24
PANEL_WIDTH, PANEL_HEIGHT = 5.2, 3.7
WIDEST = 16.0


class _End(NamedTuple):
    text: str
    x: float
    y: float
    look: Stroke


def draw(figure: Figure) -> bytes:
    """Draw a figure.

    Args:
        figure: The figure.

    Returns:
        A PNG.
    """
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        canvas = _canvas(figure)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "precisionlab"})
    return buffer.getvalue()


def _canvas(figure: Figure) -> Canvas:
    labels = 0.3 if figure.curves == [""] else 0.65 + 0.08 * max(8, *(len(short(n)) for n in figure.curves))
    count = len(figure.panels)
    panel_width = min(PANEL_WIDTH, max((WIDEST - LEFT) / count - labels, 2.6))
    width = round(LEFT + count * (panel_width + labels), 1)
    heading, note = wrapped(figure.title.removesuffix("."), width * 9.4), wrapped(figure.caption, width * 15.0)
    x, y = x_scale(figure), y_scale(figure)
    slanted = bool(x.names) and max(map(len, x.names)) * len(x.names) * 0.085 > panel_width
    bottom = BOTTOM + (0.062 * min(max(map(len, x.names)), 30) if slanted else 0.0)
    height = bottom + PANEL_HEIGHT + 0.7 + LINE * heading.count("\n")
    canvas = Canvas(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(canvas)
    for place, name in enumerate(figure.panels):
        left = LEFT + place * (panel_width + labels)
        panel = canvas.add_axes((left / width, bottom / height, panel_width / width, PANEL_HEIGHT / height))
        _prepare(panel, figure, x, y, name, first=place == 0, slanted=slanted)
        _mark_levels(panel, figure.levels(name), figure, x, y)
        _draw_curves(panel, figure, x, y, name)
    canvas.text(0.2 / width, 1 - 0.17 / height, heading, size=12.5, weight="bold", va="top", linespacing=1.3)
    canvas.text(0.2 / width, 0.12 / height, note, size=8.0, color=FAINT, va="bottom", linespacing=1.35)
    return canvas


def _prepare(panel: Axes, figure: Figure, x: Scale, y: Scale, name: str, *, first: bool, slanted: bool) -> None:
    panel.set_xlim(x.low, x.high)
    panel.set_ylim(y.low, y.high)
    panel.set_xticks([at for at, _ in x.ticks], [short(text) for _, text in x.ticks])
    panel.set_yticks([at for at, _ in y.ticks], [text for _, text in y.ticks])
    if slanted:
        panel.tick_params(axis="x", rotation=30)
        for label in panel.get_xticklabels():
            label.set_horizontalalignment("right")
    panel.grid(axis="y", color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_xlabel(figure.x_label or figure.x)
    if first:
        panel.set_ylabel(figure.y_label or figure.y)
    panel.text(0.0, 1.025, name, transform=panel.transAxes, size=10.5, weight="bold", color=FAINT)


def _mark_levels(panel: Axes, levels: dict[str, float], figure: Figure, x: Scale, y: Scale) -> None:
    for (label, value), level in zip(levels.items(), y.place(levels.values()), strict=True):
        panel.axhline(float(level), color=INK, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2.5)
        note = panel.annotate(
            f"{label} = {format_mse(value)}" if figure.y_log else label,
            (x.low, float(level)),
            xytext=(5, -3),
            textcoords="offset points",
            va="top",
            size=8.0,
            zorder=6,
        )
        note.set_path_effects([withStroke(linewidth=2.5, foreground="white")])


def _draw_curves(panel: Axes, figure: Figure, x: Scale, y: Scale, name: str) -> None:
    looks, ends = strokes(figure.curves), []
    for series in figure.curves:
        rows, look = figure.rows(series, name), looks[series]
        if rows.empty:
            continue
        across, up = x.place(rows[figure.x]), y.place(rows[figure.y])
        if figure.low:
            _draw_band(panel, figure, across, (y.place(rows[figure.low]), y.place(rows[figure.high])), look)
        panel.plot(
            across,
            up,
            color=look.light,
            linewidth=2.0 if figure.joined else 0.0,
            linestyle=(0, look.dash) if look.dash else "-",
            marker=look.marker,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            markevery=max(len(rows) // 8, 1),
            clip_on=False,
            zorder=4,
        )
        drawn = np.flatnonzero(np.isfinite(up))
        if series and drawn.size:
            ends.append(_End(short(series), float(across[drawn[-1]]), float(up[drawn[-1]]), look))
    _label_ends(panel, ends, x, y)


def _draw_band(
    panel: Axes,
    figure: Figure,
    across: NDArray[np.float64],
    edges: tuple[NDArray[np.float64], NDArray[np.float64]],
    look: Stroke,
) -> None:
    below, above = edges
    if figure.joined and len(across) > 1:
        panel.fill_between(across, below, above, color=look.light, alpha=0.16, linewidth=0)
    else:
        panel.vlines(across, below, above, color=look.light, linewidth=1.4, alpha=0.6)


def _label_ends(panel: Axes, ends: list[_End], x: Scale, y: Scale) -> None:
    if not ends:
        return
    size = min(LABEL_SIZE, PANEL_HEIGHT * 72 / len(ends) / 1.3)
    gap = 1.3 * size / (PANEL_HEIGHT * 72) * (y.high - y.low)
    places = spread([end.y for end in ends], gap=gap, low=y.low, high=y.high)
    width = x.high - x.low
    corners = (x.high + 0.005 * width, x.high + 0.04 * width)
    for end, place in zip(ends, places, strict=True):
        away = end.x < x.high - 0.06 * width
        points = [(end.x, end.y), (corners[0], end.y), (corners[1], place)]
        for (x0, y0), (x1, y1) in pairwise(points):
            panel.plot(
                [x0, x1],
                [y0, y1],
                color=end.look.light,
                linewidth=0.8,
                linestyle=(0, (1, 2)) if away and y0 == y1 else "-",
                clip_on=False,
            )
        panel.text(corners[1] + 0.01 * width, place, end.text, va="center", size=size, color=end.look.light)
