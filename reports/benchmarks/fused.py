"""The kernels against what they replace: measure → JSON → table and roofline plot.

    python reports/benchmarks/fused.py --json build/fused.json

Every path of an operation runs in turn, again and again, and the medians are compared: a machine that is busy for a
while slows all of them. On a GPU the times are those between two events on its stream. Nothing is reported where the
paths' results differ by more than rounding explains.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from cases import Case, all_cases
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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


def seconds(path: Callable[[], object], device: str) -> float:
    """Time one run.

    Args:
        path: what to run.
        device: where it runs.

    Returns:
        Seconds: on the CPU by the clock, on a GPU between two events.
    """
    if device == "cpu":
        start = time.perf_counter()
        path()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    path()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def measure(case: Case, repetitions: int, device: str = "cpu") -> dict[str, float]:
    """Time the paths of a case, in turn; `check` has warmed them up.

    Args:
        case: the case.
        repetitions: runs of each path.
        device: where it runs.

    Returns:
        name → median seconds.
    """
    runs: dict[str, list[float]] = {name: [] for name in case.paths}
    for _ in range(repetitions):
        for name, path in case.paths.items():
            runs[name].append(seconds(path, device))
    return {name: statistics.median(values) for name, values in runs.items()}


TENSOR_CORES = 2
"""How much faster the tensor cores of sm_80 and sm_90 multiply matrices in float64 than their vector units, which do
the work here."""


def roofs(device: str = "cpu", repetitions: int = 5) -> dict[str, float]:
    """What the machine can do in float64: the speed of a copy, and of multiplying and adding.

    Args:
        device: where.
        repetitions: runs of each; the fastest counts.

    Returns:
        Bytes and operations a second.
    """
    large, side, share = (1 << 24, 1024, 1) if device == "cpu" else (1 << 28, 8192, TENSOR_CORES)
    source = torch.zeros(large, dtype=torch.float64, device=device)
    target, square = torch.empty_like(source), torch.ones(side, side, dtype=torch.float64, device=device)
    copy = min(seconds(lambda: target.copy_(source), device) for _ in range(repetitions + 1))
    product = min(seconds(lambda: square @ square, device) for _ in range(repetitions + 1))
    return {"bytes_per_s": 16 * large / copy, "operations_per_s": 2 * side**3 / product / share}


def records(repetitions: int, scale: float, *, compiled: bool, device: str, only: str) -> dict[str, Any]:
    """Everything that is measured.

    Args:
        repetitions: runs of each path.
        scale: by what to multiply the batch sizes.
        compiled: whether to measure torch.compile too.
        device: "cpu" or "cuda".
        only: measure the operations with this in their name.

    Returns:
        What goes into the JSON file.

    Raises:
        RuntimeError: if there are no kernels to measure.
        ValueError: if no operation has that name.
    """
    missing = missing_kernels(device)
    if missing is not None:
        raise RuntimeError(f"no kernels to measure: {missing}")
    cases, rows = all_cases(scale, compiled=compiled, device=device), []
    wanted = [make for operation, make in cases if only in operation]
    if not wanted:
        names = ", ".join(dict.fromkeys(operation for operation, _ in cases))
        raise ValueError(f"no operation with {only!r} in its name; there are: {names}")
    for make in wanted:
        case = make()
        check(case)
        rows += [
            {
                "operation": case.operation,
                "size": case.size,
                "path": name,
                "seconds": median,
                "bytes": case.bytes,
                "operations": case.operations,
            }
            for name, median in measure(case, repetitions, device).items()
        ]
    if device == "cpu":
        machine = {"device": "cpu", "level": fused.module().levels()[-1], "threads": torch.get_num_threads()}
    else:
        machine = {"device": torch.cuda.get_device_name(), "level": "cuda", "threads": 0}
    return {
        "machine": machine | {"torch": torch.__version__} | roofs(device),
        "repetitions": repetitions,
        "rows": rows,
    }


def missing_kernels(device: str) -> str | None:
    """Why there is nothing to measure.

    Args:
        device: "cpu" or "cuda".

    Returns:
        One line, or None.
    """
    if device == "cpu":
        return fused.obstacle()
    if not torch.cuda.is_available():
        return "torch sees no GPU"
    return fused.obstacle(torch.zeros(1, dtype=torch.float64, device=device), gpu=("solve_by_householder", 1, 1))


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
    json_path: str | Path | None = None,
    *,
    repetitions: int = 9,
    scale: float = 1.0,
    compiled: bool = True,
    device: str = "cpu",
    only: str = "",
) -> pd.DataFrame:
    """Measure the kernels against eager code, torch.compile, and every torch.linalg driver.

    Args:
        json_path: where to keep what was measured; the roofline plot goes beside it, as PNG. None keeps nothing.
        repetitions: runs of each path.
        scale: by what to multiply the batch sizes; below one for a quick look.
        compiled: whether to measure torch.compile too, which takes half a minute to compile.
        device: "cpu" or "cuda".
        only: measure the operations with this in their name; nothing means all.

    Returns:
        The table: operation, size, path, milliseconds, times_fused, floor_milliseconds, of_floor.

    Raises:
        Disagreement: if two paths gave different results; nothing is written then.
        RuntimeError: if there are no kernels to measure.
    """  # noqa: DOC502 - raised by what this calls
    measured = records(repetitions, scale, compiled=compiled, device=device, only=only)
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
        roofline(measured).savefig(path.with_suffix(".png"), dpi=160)
    return table(measured)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to keep it; a roofline plot beside it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--case", default="", help="only operations with this in their name")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the batch sizes")
    given = parser.parse_args()
    print(run(given.json, device=given.device, only=given.case, scale=given.scale).to_string(index=False))


if __name__ == "__main__":
    main()
