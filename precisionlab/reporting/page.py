"""The page of a report: one HTML file that needs nothing else, neither a network nor scripts.

The templates are filled with escaping always on. What the browser draws comes from the same strokes and axis as the
picture; where scripts are off, the picture itself stands in its place.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from precisionlab.reporting.axis import error_axis
from precisionlab.reporting.files import template_text
from precisionlab.reporting.results import UNIT_ROUNDOFF, Curves, Meta
from precisionlab.reporting.strokes import strokes
from precisionlab.reporting.summary import SUMMARY_COLUMNS, format_digits, format_mse, format_ratio

POINTS_PER_CURVE = 400
DIGITS_OF_A_FULL_BAR = 17.0


def environment(*, escaped: bool = True) -> Environment:
    """Make the template environment: templates of this package, undefined names an error.

    Args:
        escaped: Whether every value is escaped for HTML; False is for Markdown.

    Returns:
        The environment.
    """
    templates = Environment(
        loader=FunctionLoader(template_text),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own style sheet and script go in as they stand; every other value is escaped.
    templates.globals["inline"] = lambda name: Markup(template_text(name))
    templates.filters["bar"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return templates


def render_page(curves: Curves, meta: Meta, *, table: pd.DataFrame, conclusion: str, png: bytes) -> str:
    """Fill the page.

    Args:
        curves: The results.
        meta: What is said about them.
        table: What ``summarise`` gave.
        conclusion: The sentences that the page opens with.
        png: The picture.

    Returns:
        HTML that loads nothing.
    """
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            meta=meta,
            conclusion=conclusion,
            **table_view(curves, meta.baseline, table),
            picture=data_uri(png),
            chart=chart_data(curves),
            environment=list(flatten(meta.environment)),
            solvers=curves.solvers,
            thinned=bool((curves.frame.groupby(["solver", "dtype"]).size() > POINTS_PER_CURVE).any()),
        )
    )


def render_fragment(curves: Curves, meta: Meta, *, table: pd.DataFrame, conclusion: str, png: bytes) -> str:
    """Fill the short form that a notebook shows: the conclusion, the table and the picture.

    Args:
        curves: The results.
        meta: What is said about them.
        table: What ``summarise`` gave.
        conclusion: The sentences that it opens with.
        png: The picture.

    Returns:
        An HTML fragment that loads nothing.
    """
    view = table_view(curves, meta.baseline, table)
    template = environment().get_template("fragment.html.j2")
    return template.render(meta=meta, conclusion=conclusion, **view, picture=data_uri(png))


def data_uri(png: bytes) -> str:
    """Put a picture into an address.

    Args:
        png: The picture.

    Returns:
        A ``data:`` address.
    """
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def table_view(curves: Curves, baseline: str, table: pd.DataFrame) -> dict[str, Any]:
    """Write the numbers of the table as people read them.

    Args:
        curves: The results.
        baseline: Solver that the ratios are taken to.
        table: What ``summarise`` gave.

    Returns:
        ``rows`` of texts, the names of the ``further`` columns, ``digits_given`` and the ``baseline`` if it has a row.
    """
    further = [name for name in table.columns if name not in SUMMARY_COLUMNS]
    looks = strokes(curves.solvers)
    sizes = curves.frame.groupby(["solver", "dtype"], sort=False).size()
    direct = set(sizes[sizes == 1].index)
    rows = []
    for row in table.to_dict("records"):
        digits = float(row["digits"])
        rows.append({
            "solver": row["solver"],
            "dtype": row["dtype"],
            "iteration": f"{row['iteration']:,}" if (row["solver"], row["dtype"]) not in direct else "direct",
            "problems": f"{row['problems']:,}",
            "floor": format_mse(row["floor"]),
            "quartiles": _range(row["floor_q25"], row["floor_q75"]),
            "max": format_mse(row["floor_max"]),
            "digits": format_digits(digits),
            "bar": 0.0 if math.isnan(digits) else round(100 * min(digits / DIGITS_OF_A_FULL_BAR, 1.0), 1),
            "ratio": format_ratio(row["ratio_to_baseline"]),
            "over_u2": format_ratio(row["floor_over_u2"]),
            "state": row["state"],
            "further": [(name, _cell(row[name])) for name in further],
            "look": looks[row["solver"]],
        })
    return {
        "rows": rows,
        "further": further,
        "digits_given": curves.summary is not None and "digits" in curves.summary.columns,
        "baseline": baseline if baseline in curves.solvers else None,
    }


def _range(low: float, high: float) -> str:
    ends = list(dict.fromkeys((format_mse(low), format_mse(high))))
    return " – ".join(ends)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return "–" if value is None or value is pd.NA else str(value)


def chart_data(curves: Curves) -> dict[str, Any]:
    """Collect what the script draws; strict JSON, with null for an error that is not finite.

    Args:
        curves: The results.

    Returns:
        The axis, the looks of the solvers, the dtypes and the curves, each of at most ``POINTS_PER_CURVE`` points, the
        first and the last iterate among them.
    """
    axis, looks = error_axis(curves), strokes(curves.solvers)
    series = [
        _series(curves.curve(name, dtype), index, dtype)
        for index, name in enumerate(curves.solvers)
        for dtype in curves.dtypes
    ]
    return {
        "axis": {"low": axis.low, "high": axis.high, "zero": axis.zero, "ticks": axis.ticks()},
        "last": max(int(curves.frame["iteration"].max()), 1),
        "dtypes": [{"name": name, "u2": UNIT_ROUNDOFF[name] ** 2} for name in curves.dtypes],
        "solvers": [{"name": name, "dash": looks[name].dash, "marker": looks[name].marker} for name in curves.solvers],
        "looks": [{"light": looks[name].light, "dark": looks[name].dark} for name in curves.solvers],
        "curves": [one for one in series if one["x"]],
    }


def _series(rows: pd.DataFrame, solver: int, dtype: str) -> dict[str, Any]:
    count = len(rows)
    kept = np.linspace(0, count - 1, min(count, POINTS_PER_CURVE)).round().astype(int)
    rows = rows.iloc[kept]
    return {
        "solver": solver,
        "dtype": dtype,
        "x": [int(step) for step in rows["iteration"]],
        "median": _numbers(rows["mse_median"]),
        "q25": _numbers(rows["mse_q25"]),
        "q75": _numbers(rows["mse_q75"]),
    }


def _numbers(column: pd.Series) -> list[float | None]:
    # Nine digits: the script rounds to two, and rounding twice from fewer would now and then differ from the table.
    return [float(f"{value:.9g}") if math.isfinite(value) else None for value in column]


def flatten(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List the leaves of a nested mapping.

    Args:
        mapping: The mapping.
        prefix: Put before each key.

    Yields:
        The path of each leaf, its parts joined by dots, and its value as text.
    """
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", str(value)
