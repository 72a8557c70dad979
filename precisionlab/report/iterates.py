"""What is said of error against iteration: the last iterates side by side, in a table, in words and in a figure.

The last iterate is what counts: a floor is always the row of the last iteration, never the smallest on the way. Of a
learned solver three curves are shown: itself, the model alone, and its control, the same wrapper around the exact step.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from precisionlab.report.measure import UNIT_ROUNDOFF
from precisionlab.report.sections import Figure, Table
from precisionlab.report.words import format_mse, format_ratio

BASELINE = "gradient-descent"
ALONE, CONTROL = "alone", "control"
SAME = 2.0
"""Floors within this factor of one another are told as one."""
TABLE = {
    "mse_median": "floor",
    "mse_q25": "lower quartile",
    "mse_q75": "upper quartile",
    "mse_max": "worst",
}


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """The last iterates side by side.

    Args:
        frame: What `measure` returned.

    Returns:
        One row per solver and dtype: floor, quartiles and worst error, digits (−log10 √floor), the floor beside u² and
        beside those of gradient descent and of the solver's control in the same dtype, NaN where there is none; state
        is ``diverged`` (no finite median), ``some diverged`` (no finite maximum), ``exact`` (the median is 0) or
        ``finite``.
    """
    table = frame.groupby(["solver", "dtype"], sort=False).tail(1).reset_index(drop=True).rename(columns=TABLE)
    floors = {(row["solver"], row["dtype"]): float(row["floor"]) for row in table.to_dict("records")}
    controls = [f"{_learned(name)}, {CONTROL}" for name in table["solver"]]
    floor = table["floor"].to_numpy()
    with np.errstate(over="ignore"):
        beside = np.where(np.isfinite(floor), floor / table["dtype"].map(UNIT_ROUNDOFF).to_numpy() ** 2, np.nan)
    bases = {BASELINE: [BASELINE] * len(table), CONTROL: controls}
    further: dict[str, Any] = {"digits": [_digits(value) for value in floor], "× u²": beside}
    for what, names in bases.items():
        ratios = zip(floor, names, table["dtype"], strict=True)
        further[f"× {what}"] = [_ratio(value, floors.get((name, dtype))) for value, name, dtype in ratios]
    further["state"] = [_state(*pair) for pair in zip(floor, table["worst"], strict=True)]
    return table.assign(**further).drop(columns="mse_mean")


def headline(frame: pd.DataFrame) -> str:
    """The outcome in a sentence: where each model alone ends, in the most precise dtype it was run in.

    Args:
        frame: What `measure` returned.

    Returns:
        Of every learned model, or of every solver where none is learned.
    """
    rows = _most_precise(summary(frame))
    learned = _learned_solvers(frame)
    told = rows[rows["solver"].isin([f"{name}, {ALONE}" for name in learned])] if learned else rows
    if len(told) == 1:
        return f"{_outcome(told.to_dict('records')[0])}."
    ends = []
    for row in told.to_dict("records"):
        dtype = "" if row["dtype"] == "float64" else f" in {row['dtype']}"
        ends.append(f"{str(row['solver']).removesuffix(f', {ALONE}')} {format_mse(row['floor'])}{dtype}")
    base = rows.loc[rows["solver"] == BASELINE, "floor"]
    beside = f" ({BASELINE} {format_mse(float(base.iloc[0]))})" if learned and len(base) else ""
    return f"Where {'models alone' if learned else 'solvers'} end, median MSE: {', '.join(ends)}{beside}."


def conclusion(frame: pd.DataFrame) -> str:
    """The outcome, what the wrapper does of it, and who diverged.

    Args:
        frame: What `measure` returned.

    Returns:
        Some sentences.
    """
    table = summary(frame)
    sentences = [headline(frame), *(wrapper(frame, name) for name in _learned_solvers(frame))]
    for state, words in (("diverged", "Diverged"), ("some diverged", "Diverged on some problems")):
        names = [f"{row['solver']} ({row['dtype']})" for row in table[table["state"] == state].to_dict("records")]
        sentences += [f"{words}: {', '.join(names)}."] if names else []
    return " ".join(filter(None, sentences))


def wrapper(frame: pd.DataFrame, name: str) -> str:
    """How much of a learned solver's digits are its wrapper's.

    Args:
        frame: What `measure` returned.
        name: The learned solver.

    Returns:
        A sentence, empty where the three were not measured or one of them diverged.
    """
    rows = _most_precise(summary(frame)).set_index("solver")
    parts = [name, f"{name}, {ALONE}", f"{name}, {CONTROL}"]
    if not set(parts) <= set(rows.index) or (rows.loc[parts, "state"] == "diverged").any():
        return ""
    whole, alone, control = rows.loc[parts, "floor"].astype(float).tolist()
    curves = frame.set_index("solver")
    if curves.loc[[name], "mse_median"].tolist() == curves.loc[[parts[1]], "mse_median"].tolist():
        return f"{name} has no refinement; its control ends at {format_mse(control)}."
    ends = f"{name} with refinement ends at {format_mse(whole)}, its control at {format_mse(control)}"
    if not _same(whole, control):
        better = "above" if whole > control else "below"
        return f"{ends}: refinement does not hide the model, which is {better} its control."
    if _same(whole, alone):
        return f"{ends}, and the model alone needs no refinement to be there."
    return f"{ends}: those digits are the wrapper's and not the model's."


def sections(frame: pd.DataFrame, *, caption: str) -> list[Figure | Table]:
    """The curves and the table.

    Args:
        frame: What `measure` returned.
        caption: What was measured.

    Returns:
        A figure and a table.
    """
    last = max(int(frame["iteration"].max()), 1)
    sizes = frame.groupby(["solver", "dtype"], sort=False)["iteration"].transform("size")
    # One answer is a level: it is drawn from the first iteration to the last.
    shown = pd.concat([frame, frame[sizes == 1].assign(iteration=last)], ignore_index=True)
    shown["of"] = shown["solver"].map(_learned)
    starts = frame.groupby(["solver", "dtype"], sort=False)["mse_q75"].first()
    finite = starts[np.isfinite(starts) & (starts > 0)]
    return [
        Figure(
            name="mse_vs_iteration",
            frame=shown,
            x="iteration",
            y="mse_median",
            low="mse_q25",
            high="mse_q75",
            series="solver",
            group="of",
            panel="dtype",
            title=headline(frame),
            caption=caption,
            y_label="mean squared error against the reference",
            lines={f"u² of {dtype}": UNIT_ROUNDOFF[dtype] ** 2 for dtype in frame["dtype"].unique()},
            # One solver that diverges shall not flatten the others.
            ceiling=100 * max(float(finite.max()) if len(finite) else 1.0, 2.0**-48),
            ends=True,
        ),
        Table(
            frame=summary(frame),
            title="Where each solver ends",
            caption=f"At the last iteration. floor: median over the problems; digits: −log₁₀ √floor, of an unknown of "
            f"size one; × u²: beside the square of the dtype's unit roundoff; × {BASELINE} and × {CONTROL}: beside the "
            "floors of these in the same dtype.",
            formats=dict.fromkeys(TABLE.values(), ".1e")
            | {"digits": ".1f", "× u²": ".2g", f"× {BASELINE}": ".2g", f"× {CONTROL}": ".2g"},
        ),
    ]


def _learned_solvers(frame: pd.DataFrame) -> list[str]:
    """Names of the learned solvers, which stand beside their models alone."""
    names = list(dict.fromkeys(frame["solver"]))
    return [name for name in names if f"{name}, {ALONE}" in names]


def _learned(name: str) -> str:
    return name.removesuffix(f", {ALONE}").removesuffix(f", {CONTROL}")


def _most_precise(table: pd.DataFrame) -> pd.DataFrame:
    """Of each solver the row in the most precise dtype."""
    order = table.assign(u=table["dtype"].map(UNIT_ROUNDOFF)).sort_values("u", kind="stable")
    return order.groupby("solver", sort=False).head(1).sort_index()


def _outcome(row: Mapping[Any, Any]) -> str:
    steps = int(row["iteration"])
    after = "" if steps == 0 else f" after {steps:,} iteration{'s' if steps > 1 else ''}"
    name, _, part = str(row["solver"]).rpartition(", ")
    name = f"{name} alone" if part == ALONE else row["solver"]
    if row["state"] == "diverged":
        return f"{name} diverged"
    if row["state"] == "exact":
        return f"{name} agrees with the reference exactly in {row['dtype']}{after}"
    text = f"{name} ends at a median MSE of {format_mse(row['floor'])} in {row['dtype']}{after}"
    ratio = float(row[f"× {BASELINE}"])
    return text if row["solver"] == BASELINE or math.isnan(ratio) else f"{text}, {format_ratio(ratio)} {BASELINE}"


def _same(one: float, other: float) -> bool:
    return one == other or (min(one, other) > 0 and max(one, other) <= SAME * min(one, other))


def _ratio(value: float, base: float | None) -> float:
    exists = base is not None and base > 0 and math.isfinite(base) and math.isfinite(value)
    return value / base if exists and base else math.nan


def _digits(mse: float) -> float:
    if not math.isfinite(mse):
        return math.nan
    return math.inf if mse == 0 else max(0.0, -0.5 * math.log10(mse))


def _state(median: float, maximum: float) -> str:
    if not math.isfinite(median):
        return "diverged"
    if not math.isfinite(maximum):
        return "some diverged"
    return "exact" if median == 0 else "finite"
