"""A Gauss–Newton step against the number of parameters: measure → JSON → table and plot.

    python reports/benchmarks/training.py --largest 30000 --json build/training.json

Linear attention of growing width takes one step of the shipped recipe's second phase from random weights, each size in
a process of its own, so that its peak of resident memory is its own. Time is that of a whole step: batches, Jacobian,
system, and the judging of the step. The growth is fitted by least squares in log-log.
"""

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from precisionlab.experiments import Experiment, get
from precisionlab.overrides import override
from precisionlab.precision import DTYPES, math_flags
from precisionlab.training import GaussNewton, Objective
from precisionlab.training.phase import Place

EXPERIMENT = "linear-attention/explicit-gradient"
WIDTHS = (16, 30, 56, 78)
"""Of models of about 2,000, 8,000, 26,000 and 50,000 parameters."""
RESIDUALS = (0.25, 0.55)
"""Residuals in a step, as a multiple of the parameters."""
GIB = 2**30
LARGEST_SYSTEM = 4 * GIB
"""Bytes of the dual system, 8 R², above which a size is left out."""
QUICK = 10_000
"""Parameters below which the median of several steps is taken."""
KEYS = ["dtype", "residuals_per_parameter"]
COLOURS = {"float64": "#0b6e4f", "float32": "#c26a00"}
STYLES = ("o-", "s--", "^:")


def experiment(width: int, dtype: str) -> Experiment:
    """The experiment at another size.

    Args:
        width: Of the model; even.
        dtype: Of the model.

    Returns:
        It.
    """
    return override(get(EXPERIMENT), {"model.width": width, "dtype": dtype})


def measure(width: int, residuals: float, dtype: str, *, solver: str = "auto") -> dict[str, Any]:
    """Time a step, in this process.

    Args:
        width: Of the model; even.
        residuals: As a multiple of the parameters.
        dtype: Of the model.
        solver: As `GaussNewton` takes it.

    Returns:
        A row: parameters, residuals, solver, seconds, and bytes: resident before the step and at most.
    """
    subject = experiment(width, dtype)
    objective = Objective(subject.model, subject.task, dtype=DTYPES[dtype], device="cpu", seed=0)
    theta, place = objective.initial(0), Place(attempt=0, phase=1)
    settings: dict[str, Any] = {"steps": 1000, "solver": solver}
    # What is loaded and compiled at the first use is no part of a step.
    GaussNewton(residuals=8 * objective.outputs / objective.parameters, **settings).start(
        objective, theta, place
    ).advance()
    before = peak_resident_bytes()
    run = GaussNewton(residuals=residuals, **settings).start(objective, theta, place)
    seconds = []
    for _ in range(3 if objective.parameters < QUICK else 1):
        start = time.perf_counter()
        run.advance()
        seconds.append(time.perf_counter() - start)
    return {
        "dtype": dtype,
        "residuals_per_parameter": residuals,
        "parameters": objective.parameters,
        "residuals": run.residuals,
        "solver": run.solver,
        "seconds": statistics.median(seconds),
        "bytes_before": before,
        "bytes_peak": peak_resident_bytes(),
    }


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident.

    Returns:
        Bytes.
    """
    status = Path("/proc/self/status")
    if status.exists():  # getrusage may answer for the parent of a process that was forked and has replaced itself
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))
        assert found is not None
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measured_apart(**case: Any) -> dict[str, Any]:
    """Do what `measure` does in a process of its own.

    Args:
        **case: Its arguments.

    Returns:
        What it returned.

    Raises:
        RuntimeError: If the process failed, such as for want of memory.
    """
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"a step with {case} failed with code {done.returncode}: {last[0]}")
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def records(largest: int | None) -> dict[str, Any]:
    """Everything that is measured.

    Args:
        largest: Parameters above which a size is left out; None leaves none out for this.

    Returns:
        What goes into the JSON file.

    Raises:
        ValueError: If no size is left.
    """
    rows = []
    for width in WIDTHS:
        parameters = experiment(width, "float64").parameters
        if largest is not None and parameters > largest:
            continue
        for residuals in RESIDUALS:
            if 8 * (residuals * parameters) ** 2 <= LARGEST_SYSTEM:
                rows += [measured_apart(width=width, residuals=residuals, dtype=dtype) for dtype in COLOURS]
    if not rows:
        raise ValueError(f"largest: got {largest}, and the smallest model has more parameters than that")
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    return {"experiment": EXPERIMENT, "machine": machine, "rows": rows}


def table(kept: dict[str, Any]) -> pd.DataFrame:
    """The table of what was measured.

    Args:
        kept: What `records` returned, or its JSON.

    Returns:
        One row a step: sizes, solver, seconds, GiB at most, GiB of it that the step needs, and how many times the
        seconds of float64 it takes.
    """
    frame = pd.DataFrame(kept["rows"])
    double = frame[frame["dtype"] == "float64"].set_index(["parameters", "residuals"])["seconds"]
    sizes = pd.MultiIndex.from_frame(frame[["parameters", "residuals"]])
    return frame[["parameters", "residuals", "dtype", "solver", "seconds"]].assign(
        peak_gib=frame["bytes_peak"] / GIB,
        step_gib=(frame["bytes_peak"] - frame["bytes_before"]) / GIB,
        times_float64=frame["seconds"].to_numpy() / double.reindex(sizes).to_numpy(),
    )


def growth(kept: dict[str, Any]) -> pd.DataFrame:
    """Exponents a of time and memory ~ Pᵃ, P the number of parameters, by least squares in log-log.

    Args:
        kept: What `records` returned, or its JSON.

    Returns:
        One row for each dtype and multiple of residuals that was measured at two sizes or more.
    """
    rows = []
    for key, some in pd.DataFrame(kept["rows"]).groupby(KEYS, sort=False):
        if len(some) < 2:
            continue
        logs = np.log(some["parameters"].to_numpy(dtype=float))
        needed = (some["bytes_peak"] - some["bytes_before"]).to_numpy(dtype=float)
        fits = {
            "time_exponent": np.polyfit(logs, np.log(some["seconds"].to_numpy(dtype=float)), 1)[0],
            # A step that fits into what was there already needs a page at least.
            "memory_exponent": np.polyfit(logs, np.log(np.maximum(needed, resource.getpagesize())), 1)[0],
        }
        rows.append({**dict(zip(KEYS, key, strict=True)), "sizes": len(some), **fits})
    return pd.DataFrame(rows)


def plot(kept: dict[str, Any]) -> Figure:
    """Time and memory against parameters.

    Args:
        kept: What `records` returned, or its JSON.

    Returns:
        The picture.
    """
    rows, fits = pd.DataFrame(kept["rows"]), growth(kept)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    times, memory = figure.subplots(1, 2)
    for key, some in rows.groupby(KEYS, sort=False):
        dtype, share = str(key[0]), float(str(key[1]))
        look = {"color": COLOURS[dtype], "label": f"{dtype}, {share:g} residuals a parameter"}
        style = STYLES[RESIDUALS.index(share) % len(STYLES)] if share in RESIDUALS else STYLES[-1]
        times.loglog(some["parameters"], some["seconds"], style, **look)
        memory.loglog(some["parameters"], some["bytes_peak"] / GIB, style, **look)
    memory.axhline(4, color="#646c7a", linewidth=1)
    memory.annotate("4 GiB", (rows["parameters"].min(), 4), (0, 3), textcoords="offset points", fontsize=8)
    if len(fits):
        low, high = fits["time_exponent"].min(), fits["time_exponent"].max()
        times.set_title(f"Time of a Gauss–Newton step grows as P^{low:.1f} to P^{high:.1f}", fontsize=10)
    largest = max(kept["rows"], key=lambda row: int(row["bytes_peak"]))
    told = f"At most {largest['bytes_peak'] / GIB:.1f} GiB, at {largest['parameters']:,} parameters"
    memory.set_title(told, fontsize=10)
    times.set_ylabel("seconds a step")
    memory.set_ylabel("peak resident memory, GiB")
    for axes in (times, memory):
        axes.set_xlabel("parameters")
        axes.grid(visible=True, which="major", color="#e4e7ec")
    times.legend(frameon=False, fontsize=8)
    return figure


def run(json_path: str | Path | None = None, *, largest: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure a Gauss–Newton step at every size.

    Args:
        json_path: Where to keep what was measured; the plot goes beside it, as PNG. None keeps nothing.
        largest: Parameters above which a size is left out.

    Returns:
        What `table` and `growth` return.
    """
    kept = records(largest)
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        plot(kept).savefig(path.with_suffix(".png"), dpi=160)
    return table(kept), growth(kept)


def main() -> None:
    """Measure, and print the tables; or, in a process of its own, one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to keep it; a plot beside it")
    parser.add_argument("--largest", type=int, help="leave out models of more parameters")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case is None:
        print(*(table.to_string(index=False) for table in run(given.json, largest=given.largest)), sep="\n")
        return
    with math_flags():
        sys.stdout.write(json.dumps(measure(**given.case)))


if __name__ == "__main__":
    main()
