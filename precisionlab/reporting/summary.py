"""The table and the conclusion of a report: the last iterate of every curve, put side by side and put in words."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from precisionlab.reporting.results import KEY_COLUMNS, UNIT_ROUNDOFF, Curves, Meta

SUMMARY_COLUMNS = (
    "solver",
    "dtype",
    "iteration",
    "problems",
    "floor",
    "floor_q25",
    "floor_q75",
    "floor_max",
    "digits",
    "ratio_to_baseline",
    "floor_over_u2",
    "state",
)
_RENAMED = {"mse_median": "floor", "mse_q25": "floor_q25", "mse_q75": "floor_q75", "mse_max": "floor_max"}


def summarise(curves: Curves, baseline: str) -> pd.DataFrame:
    """Put the last iterates side by side.

    Args:
        curves: The results.
        baseline: Solver whose floor, in the same dtype, the ratios are taken to.

    Returns:
        One row per (solver, dtype) with ``SUMMARY_COLUMNS``, then what ``curves.summary`` adds. ``floor`` is the median
        error at the last iteration; ``digits`` is −log10 √floor unless given; ``state`` is ``diverged`` (no finite
        median), ``some diverged`` (no finite maximum), ``exact`` (the median is 0) or ``finite``. A ratio that does not
        exist is NaN.
    """
    table = curves.last_iterates().rename(columns=_RENAMED)
    squares = np.array([UNIT_ROUNDOFF[name] ** 2 for name in table["dtype"]])
    floor = table["floor"].to_numpy()
    table["digits"] = [correct_digits(value) for value in floor]
    table["ratio_to_baseline"] = _ratios(table, baseline)
    table["floor_over_u2"] = np.where(np.isfinite(floor), floor / squares, np.nan)
    table["state"] = [_state(*pair) for pair in zip(floor, table["floor_max"], strict=True)]
    table = table[list(SUMMARY_COLUMNS)]
    if curves.summary is None:
        return table
    extra = curves.summary
    if "digits" in extra.columns:
        table = table.drop(columns="digits")
    joined = table.merge(extra, on=list(KEY_COLUMNS), how="left", validate="one_to_one", suffixes=("", "_given"))
    further = [name for name in joined.columns if name not in SUMMARY_COLUMNS]
    return joined[[*SUMMARY_COLUMNS, *further]]


def correct_digits(mse: float) -> float:
    """Count the decimal digits that an error leaves: −log10 √mse, of the size of the unknowns' unit.

    Args:
        mse: Mean squared error.

    Returns:
        The digits, at least 0; inf for an error of 0 and NaN for one that is not finite.

    >>> correct_digits(1e-30)
    15.0
    """
    if not math.isfinite(mse):
        return math.nan
    return math.inf if mse == 0 else max(0.0, -0.5 * math.log10(mse))


def _ratios(table: pd.DataFrame, baseline: str) -> list[float]:
    own = table[table["solver"] == baseline]
    floors = dict(zip(own["dtype"], own["floor"].to_numpy(dtype=np.float64), strict=True))
    ratios = []
    for dtype, floor in zip(table["dtype"], table["floor"], strict=True):
        base = floors.get(dtype, math.nan)
        exists = math.isfinite(floor) and math.isfinite(base) and base > 0
        ratios.append(floor / base if exists else math.nan)
    return ratios


def _state(median: float, maximum: float) -> str:
    if not math.isfinite(median):
        return "diverged"
    if not math.isfinite(maximum):
        return "some diverged"
    return "exact" if median == 0 else "finite"


def format_mse(value: float) -> str:
    """Write an error in two significant digits.

    Args:
        value: Mean squared error.

    Returns:
        Text such as ``3.1e-31``, ``0.25``, ``0`` or ``diverged``.

    >>> format_mse(3.14e-31), format_mse(0.25), format_mse(float("nan"))
    ('3.1e-31', '0.25', 'diverged')
    """
    if not math.isfinite(value):
        return "diverged"
    return f"{value:.2g}" if value == 0 or 0.1 <= value < 99.5 else _scientific(value)


def format_ratio(value: float) -> str:
    """Write a ratio at a precision that suits its size.

    Args:
        value: The ratio, or NaN where there is none.

    Returns:
        Text such as ``1.3×``, ``250×``, ``2.6e17×`` or a dash.

    >>> format_ratio(1.34), format_ratio(2.6e17), format_ratio(float("inf"))
    ('1.3×', '2.6e17×', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0×"
    if 0.01 <= value < 10_000:
        digits = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
        return f"{digits}×"
    return f"{_scientific(value)}×"


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def format_digits(value: float) -> str:
    """Write a number of correct digits.

    Args:
        value: Digits, inf where the answer is exact, NaN where there is none.

    Returns:
        Text such as ``15.3``, ``all`` or a dash.
    """
    if math.isnan(value):
        return "–"
    return "all" if math.isinf(value) else f"{value:.1f}"


def subjects_of(curves: Curves, meta: Meta) -> list[str]:
    """Find the solvers that the conclusion is about.

    Args:
        curves: The results.
        meta: May name them.

    Returns:
        The solvers named, or else the first one that is not the baseline.

    Raises:
        ValueError: If one is named that the results do not hold.
    """
    for name in meta.subjects:
        if name not in curves.solvers:
            raise ValueError(f"subject {name!r} is not among the solvers {curves.solvers}")
    others = [name for name in curves.solvers if name != meta.baseline]
    return list(meta.subjects) or (others or curves.solvers)[:1]


def headline(curves: Curves, meta: Meta, table: pd.DataFrame) -> str:
    """State the outcome of the report's subjects in one sentence, in the most precise dtype each was run in.

    Args:
        curves: The results.
        meta: Names the subjects and the baseline.
        table: What ``summarise`` gave.

    Returns:
        A sentence with the floor and, where there is one, its ratio to the baseline's.
    """
    rows = [_most_precise(table[table["solver"] == name]) for name in subjects_of(curves, meta)]
    if len(rows) == 1:
        return _outcome(rows[0], meta.baseline) + "."
    ended = [row for row in rows if row["state"] != "diverged"]
    if not ended:
        return f"All {len(rows)} solvers diverged."
    best = min(ended, key=lambda row: float(row["floor"]))
    return f"Of {len(rows)} solvers, {_outcome(best, meta.baseline)}, the lowest."


def conclusion(curves: Curves, meta: Meta, table: pd.DataFrame) -> str:
    """State the outcome, what it means beside the dtype's unit roundoff, and who diverged.

    Args:
        curves: The results.
        meta: Names the subjects and the baseline.
        table: What ``summarise`` gave.

    Returns:
        One to three sentences.
    """
    sentences = [headline(curves, meta, table)]
    row = _most_precise(table[table["solver"] == subjects_of(curves, meta)[0]])
    if len(meta.subjects) < 2 and row["state"] in {"finite", "some diverged"}:
        u2 = format_mse(UNIT_ROUNDOFF[row["dtype"]] ** 2)
        given = curves.summary is not None and "digits" in curves.summary.columns
        digits = "correct digits" if given else "digits of an unknown of size one"
        sentences.append(
            f"That is {format_ratio(float(row['floor_over_u2']))} u² of {row['dtype']} ({u2}), "
            f"about {format_digits(float(row['digits']))} {digits}."
        )
    sentences += _divergences(table)
    return " ".join(sentences)


def _most_precise(rows: pd.DataFrame) -> pd.Series:
    at = int(np.argmin([UNIT_ROUNDOFF[name] for name in rows["dtype"]]))
    return rows.iloc[at]


def _outcome(row: pd.Series, baseline: str) -> str:
    name, dtype, steps = row["solver"], row["dtype"], int(row["iteration"])
    after = "" if steps == 0 else f" after {steps:,} iteration{'s' if steps > 1 else ''}"
    if row["state"] == "diverged":
        return f"{name} diverged in {dtype}"
    if row["state"] == "exact":
        return f"{name} agrees with the reference exactly in {dtype}{after}"
    text = f"{name} ends at a median MSE of {format_mse(float(row['floor']))} in {dtype}{after}"
    ratio = float(row["ratio_to_baseline"])
    if name == baseline or not math.isfinite(ratio):
        return text
    return f"{text}, {format_ratio(ratio)} the floor of {baseline}"


def _divergences(table: pd.DataFrame) -> list[str]:
    sentences = []
    for state, words in (("diverged", "Diverged"), ("some diverged", "Diverged on some problems")):
        rows = table[table["state"] == state]
        names = [f"{row.solver} ({row.dtype})" for row in rows[list(KEY_COLUMNS)].itertuples(index=False)]
        if names:
            sentences.append(f"{words}: {', '.join(names)}.")
    return sentences
