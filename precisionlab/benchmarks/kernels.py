"""The kernels against what they replace: measure → JSON → table and roofline plot.

Every path of an operation runs in turn, again and again, and the medians are compared: a machine that is busy for a
while slows all of them. Nothing is reported where the paths' results differ by more than rounding explains.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from precisionlab.benchmarks.cases import Case, all_cases
from solvers import fused

INK, ROOF, OURS, OTHERS = "#1d2430", "#646c7a", "#0b6e4f", "#c26a00"


class Disagreement(RuntimeError):
    """Two paths of one operation gave different results, so that their times mean nothing."""


def check(case: Case) -> None:
    """Compare the results of a case's paths.

    Args:
        case: the case.

    Raises:
        Disagreement: if one differs from the first by more than rounding explains.
    """
    results = {name: path() for name, path in case.paths.items()}
    first, *others = results
    for name in others:
        for ours, theirs in zip(results[first], results[name], strict=True):
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            if not difference <= case.agreement:
                raise Disagreement(
                    f"{case.operation}, {case.size}: {first} and {name} differ by {difference:.2g} of the largest "
                    f"entry, rounding explains {case.agreement:.2g}; no times are reported"
                )


def measure(case: Case, repetitions: int) -> dict[str, float]:
    """Time the paths of a case, in turn.

    Args:
        case: the case.
        repetitions: runs of each path.

    Returns:
        name → median seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in case.paths}
    for _ in range(repetitions):
        for name, path in case.paths.items():
            start = time.perf_counter()
            path()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def roofs(repetitions: int = 5) -> dict[str, float]:
    """What the machine can do: the speed of a copy, and of a matrix product, in float64.

    Args:
        repetitions: runs of each; the fastest counts.

    Returns:
        Bytes and operations a second.
    """
    source = torch.zeros(1 << 24, dtype=torch.float64)
    target, square = torch.empty_like(source), torch.ones(1024, 1024, dtype=torch.float64)
    copies, products = [], []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        target.copy_(source)
        middle = time.perf_counter()
        square @ square
        copies.append(middle - start)
        products.append(time.perf_counter() - middle)
    return {"bytes_per_s": 16 * source.numel() / min(copies), "operations_per_s": 2 * 1024**3 / min(products)}


def records(repetitions: int, scale: float, *, compiled: bool) -> dict[str, Any]:
    """Everything that is measured.

    Args:
        repetitions: runs of each path.
        scale: by what to multiply the batch sizes.
        compiled: whether to measure torch.compile too.

    Returns:
        What goes into the JSON file.

    Raises:
        RuntimeError: if there are no kernels to measure.
    """
    missing = fused.obstacle()
    if missing is not None:
        raise RuntimeError(f"no kernels to measure: {missing}")
    rows = []
    for case in all_cases(scale, compiled=compiled):
        check(case)
        medians = measure(case, repetitions)
        rows += [
            {
                "operation": case.operation,
                "size": case.size,
                "path": name,
                "seconds": seconds,
                "bytes": case.bytes,
                "operations": case.operations,
            }
            for name, seconds in medians.items()
        ]
    machine = {"level": fused.module().levels()[-1], "threads": torch.get_num_threads(), "torch": torch.__version__}
    return {"machine": machine | roofs(), "repetitions": repetitions, "rows": rows}


def table(measured: dict[str, Any]) -> pd.DataFrame:
    """The table of what was measured.

    Args:
        measured: what `records` returned, or its JSON.

    Returns:
        One row a path: milliseconds, how many times longer than fused, the floor that the machine's speed of copying
        and multiplying implies, and how near to it the path is.
    """
    frame = pd.DataFrame(measured["rows"])
    machine = measured["machine"]
    by_case = frame.groupby(["operation", "size"])["seconds"]
    floor = pd.concat(
        [frame["bytes"] / machine["bytes_per_s"], frame["operations"] / machine["operations_per_s"]], axis=1
    ).max(axis=1)
    return frame[["operation", "size", "path"]].assign(
        milliseconds=frame["seconds"] * 1e3,
        times_fused=frame["seconds"] / by_case.transform("first"),
        floor_milliseconds=floor * 1e3,
        of_floor=floor / frame["seconds"],
    )


def roofline(measured: dict[str, Any]) -> Figure:
    """Operations a second against operations a byte, under the two roofs of the machine.

    Args:
        measured: what `records` returned, or its JSON.

    Returns:
        The picture.
    """
    machine = measured["machine"]
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = pd.DataFrame(measured["rows"])
    rows["intensity"] = rows["operations"] / rows["bytes"]
    rows["speed"] = rows["operations"] / rows["seconds"]
    ends = [rows["intensity"].min() / 2, max(rows["intensity"].max(), 8) * 2]
    knee = machine["operations_per_s"] / machine["bytes_per_s"]
    corners = sorted({*ends, min(max(knee, ends[0]), ends[1])})
    heights = [min(i * machine["bytes_per_s"], machine["operations_per_s"]) for i in corners]
    axes.loglog(corners, heights, color=ROOF, linewidth=2, label="what copying and multiplying allow")
    for ours, label, colour in [(True, "fused", OURS), (False, "other paths", OTHERS)]:
        some = rows[(rows["path"] == "fused") == ours]
        axes.loglog(some["intensity"], some["speed"], "o", color=colour, label=label)
    # Numbers at the points and a list beside them: names would lie on top of each other.
    names = []
    fused_rows = [row for row in measured["rows"] if row["path"] == "fused"]
    for number, row in enumerate(fused_rows, start=1):
        point = row["operations"] / row["bytes"], row["operations"] / row["seconds"]
        aside = (7, 0) if number % 2 else (-13, 0)
        axes.annotate(str(number), point, aside, textcoords="offset points", fontsize=8, va="center")
        names.append(f"{number}  {row['operation']}\n    {row['size']}")
    axes.text(1.02, 1, "\n".join(names), transform=axes.transAxes, fontsize=7.5, color=INK, va="top", linespacing=1.4)
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("operations a second")
    axes.grid(visible=True, which="major", color="#e4e7ec")
    axes.legend(frameon=False, fontsize=8)
    return figure


def run(
    json_path: str | Path | None = None, *, repetitions: int = 9, scale: float = 1.0, compiled: bool = True
) -> pd.DataFrame:
    """Measure the kernels against eager code, torch.compile, and every torch.linalg driver.

    Args:
        json_path: where to keep what was measured; the roofline plot goes beside it, as PNG. None keeps nothing.
        repetitions: runs of each path.
        scale: by what to multiply the batch sizes; below one for a quick look.
        compiled: whether to measure torch.compile too, which takes half a minute to compile.

    Returns:
        The table: operation, size, path, milliseconds, times_fused, floor_milliseconds, of_floor.

    Raises:
        Disagreement: if two paths gave different results; nothing is written then.
        RuntimeError: if there are no kernels to measure.
    """  # noqa: DOC502 - raised by what this calls
    measured = records(repetitions, scale, compiled=compiled)
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
        roofline(measured).savefig(path.with_suffix(".png"), dpi=160)
    return table(measured)
