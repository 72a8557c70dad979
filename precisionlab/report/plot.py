"""The picture of a figure: panels side by side, each curve labelled at its end, bands, and marked levels.

It is drawn on figure objects alone: there is no current figure, and no window system is needed. The colours are Okabe
and Ito's, safe for the common colour-blindnesses, with yellow and sky blue darkened enough to be read on white. Seven
colours, four dashes and five markers have no common divisor: the first 140 curves differ, and the first 20 do in grey.

Reference: Okabe & Ito, Color Universal Design, 2008.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.patheffects import withStroke

from precisionlab.report.scale import Scale, x_scale, y_scale
from precisionlab.report.sections import Figure
from precisionlab.report.words import format_mse

DOTS_PER_INCH = 160
# In inches.
LEFT, BOTTOM, LINE = 0.95, 0.95, 0.24
PANEL_WIDTH, PANEL_HEIGHT = 5.2, 3.7
WIDEST = 16.0
INK, FAINT, GRID = "#1d2430", "#646c7a", "#e4e7ec"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#B0568D", "#A87900", "#2E8BC0", "#555B66")
DASHES = ((), (6.0, 2.0), (1.5, 1.8), (7.0, 2.0, 1.5, 2.0))
MARKERS = ("o", "s", "^", "D", "v")
LABEL_SIZE = 9.0
LABEL_CHARACTERS = 44
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
    text: str
    x: float
    y: float
    colour: str


def draw(figure: Figure) -> bytes:
    """Draw a figure.

    Args:
        figure: The figure.

    Returns:
        A PNG.
    """
    with rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font does not hold is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        canvas = _canvas(figure)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": "precisionlab"})
    return buffer.getvalue()


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move labels apart along one axis, as little as possible in the least-squares sense.

    Subtracting the gaps from the sorted wishes makes it isotonic regression, which pooling adjacent violators solves.

    Args:
        wanted: Where each label would like to be.
        gap: Least distance of two labels; it shrinks where ``low`` to ``high`` cannot hold them all.
        low: Least position.
        high: Greatest position.

    Returns:
        Positions, in the order of ``wanted``.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wanted[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            earlier, count = blocks.pop()
            mean = (earlier * count + mean * size) / (count + size)
            size += count
        blocks.append((mean, size))
    pooled = [mean for mean, size in blocks for _ in range(size)]
    top = high - (len(wanted) - 1) * gap
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[index] = min(max(pooled[rank], low), top) + rank * gap
    return placed


def _canvas(figure: Figure) -> Canvas:
    ends = 8 if figure.ends else 0
    labels = 0.3 if figure.curves == [""] else 0.65 + 0.075 * max(8, *(len(_short(n)) + ends for n in figure.curves))
    count = len(figure.panels)
    panel_width = min(PANEL_WIDTH, max((WIDEST - LEFT) / count - labels, 2.6))
    width = round(LEFT + count * (panel_width + labels), 1)
    heading, note = _wrapped(figure.title.removesuffix("."), width * 9.4), _wrapped(figure.caption, width * 15.0)
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
    panel.set_xticks([at for at, _ in x.ticks], [_short(text) for _, text in x.ticks])
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
    ends, looks = [], figure.looks()
    for place, series in enumerate(figure.curves):
        rows = figure.rows(series, name)
        if rows.empty:
            continue
        hue, stroke = looks[series]
        colour, dash = COLOURS[hue % len(COLOURS)], DASHES[stroke % len(DASHES)]
        across, up = x.place(rows[figure.x]), y.place(rows[figure.y])
        if figure.low:
            below, above = y.place(rows[figure.low]), y.place(rows[figure.high])
            if figure.joined and len(across) > 1:
                panel.fill_between(across, below, above, color=colour, alpha=0.16, linewidth=0)
            else:
                panel.vlines(across, below, above, color=colour, linewidth=1.4, alpha=0.6)
        panel.plot(
            across,
            up,
            color=colour,
            linewidth=2.0 if figure.joined else 0.0,
            linestyle=(0, dash) if dash else "-",
            marker=MARKERS[place % len(MARKERS)],
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            # Elsewhere on each curve, so that curves that coincide still show theirs.
            markevery=(place % 4 * len(rows) // 32, max(len(rows) // 8, 1)),
            clip_on=bool((up > y.high).any()),
            zorder=4,
        )
        drawn = np.flatnonzero(np.isfinite(up))
        if series and drawn.size:
            last = float(rows[figure.y].iloc[-1])
            text = f"{_short(series)}  {format_mse(last)}" if figure.ends else _short(series)
            ends.append(_End(text, float(across[drawn[-1]]), min(float(up[drawn[-1]]), y.high), colour))
    _label_ends(panel, ends, x, y)


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
            dotted = (0, (1, 2)) if away and y0 == y1 else "-"
            panel.plot([x0, x1], [y0, y1], color=end.colour, linewidth=0.8, linestyle=dotted, clip_on=False)
        panel.text(corners[1] + 0.01 * width, place, end.text, va="center", size=size, color=end.colour)


def _wrapped(text: str, width: float) -> str:
    """A text in at most two lines of about the same length; what they cannot hold is cut."""
    text = _one_line(text)
    if len(text) > width:
        width = max(len(text) / 2 * 1.12, 20) if len(text) < 1.7 * width else width
    return "\n".join(textwrap.wrap(text, width=int(width), max_lines=2, placeholder=" …"))


def _short(name: str) -> str:
    """A name in what a label can hold, its middle left out."""
    name, half = _one_line(name), LABEL_CHARACTERS // 2
    return name if len(name) <= LABEL_CHARACTERS else f"{name[: half - 1]}…{name[-half:]}"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
