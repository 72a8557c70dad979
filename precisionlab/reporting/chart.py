"""What the script of a page draws: each figure as places on its axes, between 0 and 1, and the texts beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from precisionlab.reporting.scale import Scale, x_scale, y_scale
from precisionlab.reporting.sections import Figure
from precisionlab.reporting.strokes import strokes
from precisionlab.reporting.summary import format_mse

POINTS_PER_CURVE = 400


def figure_data(figure: Figure) -> dict[str, Any]:
    """Collect what is drawn of a figure; strict JSON, with null for what is not finite.

    Args:
        figure: The figure.

    Returns:
        Axes, looks of the series, and for each panel its marked levels and its curves, each of at most
        ``POINTS_PER_CURVE`` points, the first and the last among them.
    """
    x, y, looks = x_scale(figure), y_scale(figure), strokes(figure.curves)
    panels = []
    for panel in figure.panels:
        levels = figure.levels(panel)
        curves = [_curve(figure, x, y, index, panel) for index in range(len(figure.curves))]
        panels.append({
            "name": panel,
            "lines": [
                [at, f"{label} = {_value(level)}"]
                for (label, level), at in zip(levels.items(), _parts(y, levels.values()), strict=True)
            ],
            "curves": [curve for curve in curves if curve["x"]],
        })
    return {
        "title": figure.title,
        "xLabel": figure.x_label or figure.x,
        "yLabel": figure.y_label or figure.y,
        "xTicks": _ticks(x),
        "yTicks": _ticks(y),
        "named": bool(x.names),
        "joined": figure.joined,
        "series": [
            {"name": name, "dash": look.dash, "marker": look.marker, "light": look.light, "dark": look.dark}
            for name, look in looks.items()
        ],
        "panels": panels,
    }


def _curve(figure: Figure, x: Scale, y: Scale, index: int, panel: str) -> dict[str, Any]:
    rows = figure.rows(figure.curves[index], panel)
    count = len(rows)
    rows = rows.iloc[np.linspace(0, count - 1, min(count, POINTS_PER_CURVE)).round().astype(int)]
    curve: dict[str, Any] = {
        "series": index,
        "x": _parts(x, rows[figure.x]),
        "y": _parts(y, rows[figure.y]),
        "xText": [value if isinstance(value, str) else f"{value:,.6g}" for value in rows[figure.x]],
        "yText": [_value(value) for value in rows[figure.y]],
        "low": None,
    }
    if figure.low:
        low, high = rows[figure.low], rows[figure.high]
        curve |= {
            "low": _parts(y, low),
            "high": _parts(y, high),
            "bandText": [f"{_value(a)} – {_value(b)}" for a, b in zip(low, high, strict=True)],
        }
    return curve


def _parts(scale: Scale, values: Iterable[object]) -> list[float | None]:
    placed = (scale.place(values) - scale.low) / (scale.high - scale.low)
    return [round(float(part), 5) if math.isfinite(part) else None for part in placed]


def _ticks(scale: Scale) -> list[list[object]]:
    width = scale.high - scale.low
    return [[round((at - scale.low) / width, 5), name] for at, name in scale.ticks]


def _value(value: float) -> str:
    if math.isnan(value):
        return "none"
    return format_mse(value) if math.isfinite(value) else "infinite"
