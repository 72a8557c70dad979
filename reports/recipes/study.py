"""Figure: floors by architecture, recipe and dtype: our recipe and the paper's on the same work and machine.

    python reports/recipes/study.py --seconds 60 --seconds 300

Each experiment's own recipe (Adam, then Gauss–Newton) and the paper's (`paper_adam`) train the same model on the same
task from the same seeds, one run at a time. After every row of metrics the present weights are measured on
fresh problems; that measurement is not counted. What stands at a time is the last point measured by then, never the
best, and a run that has ended keeps the error of its last. Gated convolution departs from the paper's settings: its
first gradients here exceed the threshold of 1e3, which would reject every step, and without it the rate of 1e-2
diverges; so the threshold is off and the rate 1e-3.
"""

import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from precisionlab.config import kind_of
from precisionlab.experiments import get
from precisionlab.experiments.experiment import Experiment
from precisionlab.overrides import override
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.training import Objective, fit, paper_adam
from precisionlab.training.trainer import Progress

NAMES = ("linear-attention/explicit-gradient", "gated-conv/explicit-gradient", "softmax/explicit-gradient")
PAPER_CHANGES: dict[str, dict[str, Any]] = {
    "gated-conv": {"learning_rate": 1e-3, "skip": None},
    "linear-attention": {"learning_rate": 5e-4},
    "softmax": {"learning_rate": 5e-4},
}
"""What of `paper_adam` is another for each mixer."""
OURS, PAPER = "Adam, then Gauss–Newton", "the paper's"
PROBLEMS = 4096
COMMAND = "python reports/recipes/study.py"


def recipes(name: str, dtype: str = "float64") -> dict[str, Experiment]:
    """The two recipes of an experiment.

    Args:
        name: Of the experiment.
        dtype: Of the model and its data.

    Returns:
        The experiment under each recipe; a start of the paper's whose steps are all rejected is followed by another.
    """
    ours = override(get(name), {"dtype": dtype})
    paper = paper_adam(**PAPER_CHANGES[kind_of(ours.model.mixer)])
    return {OURS: ours, PAPER: replace(ours, phases=(paper,))}


def curve(experiment: Experiment, seed: int, seconds: float) -> list[dict[str, Any]]:
    """Train, and measure the present weights after every row of metrics.

    Args:
        experiment: What to train.
        seed: Of weights and data.
        seconds: Of training, measurements not counted.

    Returns:
        A row a point: seconds, phase, step, mse.
    """
    dtype = DTYPES[experiment.dtype]
    objective = Objective(experiment.model, experiment.task, dtype=dtype, device="cpu", seed=seed)
    progress, rows, measuring, start = Progress(), list[dict[str, Any]](), 0.0, time.perf_counter()

    def measured(now: Progress) -> None:
        nonlocal measuring
        reached = time.perf_counter()
        theta = (now.phase_state or {}).get("theta", now.theta)
        if isinstance(theta, torch.Tensor):  # there is none between a start that is given up and the next
            row = {"seconds": reached - start - measuring, "phase": now.rows[-1]["phase"], "step": now.rows[-1]["step"]}
            rows.append({**row, "mse": objective.test_mse(theta, PROBLEMS)})
        measuring += time.perf_counter() - reached

    while progress.ended is None and time.perf_counter() - start - measuring < seconds:
        # One row a call: the loop's own clock counts the measurements.
        fit(objective, experiment.phases, attempts=experiment.attempts, progress=progress, stop=lambda _: True)
        measured(progress)
    return rows


def standing(points: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """What each run had reached at a time.

    Args:
        points: Of all runs.
        seconds: The time.

    Returns:
        One row a run: the last point measured by then.
    """
    by_then = points[points["seconds"] <= seconds].sort_values("seconds", kind="stable")
    return by_then.groupby(["experiment", "dtype", "recipe", "seed"], sort=False).tail(1)


def summary(points: pd.DataFrame, times: tuple[float, ...]) -> pd.DataFrame:
    """The table: the median over seeds at each time.

    Args:
        points: Of all runs.
        times: Seconds.

    Returns:
        One row for each experiment, dtype and time: MSE under both recipes and their ratio; NaN where none was measured
        yet.
    """
    rows = []
    for (experiment, dtype), group in points.groupby(["experiment", "dtype"], sort=False):
        for seconds in times:
            there = standing(group, seconds)
            median = there.groupby("recipe")["mse"].median()
            ours, paper = (float(median.get(recipe, float("nan"))) for recipe in (OURS, PAPER))
            ratio = paper / ours if ours else float("nan")
            key = {"experiment": experiment, "dtype": dtype, "seconds": seconds}
            rows.append({**key, OURS: ours, PAPER: paper, "ratio": ratio})
    return pd.DataFrame(rows)


def conclusion(table: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        table: What `summary` returned.

    Returns:
        What stands at the longest time, for each experiment, in float64 where that was run.
    """
    dtype = max(table["dtype"])  # "float32" < "float64"
    last = table[(table["seconds"] == table["seconds"].max()) & (table["dtype"] == dtype)]
    parts = [
        f"{row[OURS]:.0e} and {row[PAPER]:.0e} ({row['experiment'].partition('/')[0]})"
        for row in last.to_dict("records")
    ]
    times = f"After {last['seconds'].iloc[0]:g} s in {dtype}"
    return f"{times} {OURS}, and {PAPER} recipe are at an MSE of {', '.join(parts)}"


def write(out: Path, points: pd.DataFrame, config: dict[str, Any]) -> None:
    """Write the page.

    Args:
        out: Its folder.
        points: Of all runs.
        config: What was run.
    """
    table = summary(points, tuple(config["seconds"]))
    title, seeds = conclusion(table), config["seeds"]
    run = points["recipe"] + ", seed " + points["seed"].astype(str)
    curves = points.assign(run=run, mixer=points["experiment"].str.partition("/")[0])
    shown = [_figure(str(dtype), part) for dtype, part in curves.groupby("dtype", sort=False)]
    formats = {OURS: ".1e", PAPER: ".1e", "ratio": ".1e", "seconds": "g"}
    medians = Table(name="equal-time", frame=table, title="MSE after equal wall time, median of seeds", formats=formats)
    options = [f"--seconds {seconds:g}" for seconds in config["seconds"]]
    options += [f"--seed {seed}" for seed in seeds] + [f"--dtype {dtype}" for dtype in config["dtypes"]]
    command = " ".join([COMMAND, *options, f"--threads {config['threads']}"])
    write_page(
        out,
        title=title,
        sections=[*shown, medians, Text(title="What is compared", body=(__doc__ or "").partition("\n\n")[2])],
        spread=f"every one of {len(seeds)} seed{'s' * (len(seeds) > 1)} has a curve; the table has their median",
        config=config,
        environment=environment("cpu"),
        command=command,
    )


def _figure(dtype: str, curves: pd.DataFrame) -> Figure:
    return Figure(
        name=f"mse-against-time-{dtype}",
        frame=curves,
        x="seconds",
        y="mse",
        series="run",
        panel="mixer",
        title=f"The same work on the same machine in {dtype}: error against training time",
        caption=f"MSE of the present weights on {PROBLEMS:,} fresh problems after every row of metrics.",
        x_label="seconds of training",
        y_label="MSE",
        x_log=True,
        lines={f"u² of {dtype}": (torch.finfo(DTYPES[dtype]).eps / 2) ** 2},
    )


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the page goes.")
@click.option("--seconds", multiple=True, type=float, default=(60.0, 300.0), show_default=True, help="May be repeated.")
@click.option("--seed", "seeds", multiple=True, type=int, default=(0,), show_default=True, help="May be repeated.")
@click.option("--experiment", "names", multiple=True, default=NAMES, show_default=True, help="May be repeated.")
@click.option("--dtype", "dtypes", multiple=True, default=DTYPES, show_default=True, help="May be repeated.")
@click.option("--threads", default=2, show_default=True, help="Of each run.")
def main(
    out: Path,
    seconds: tuple[float, ...],
    seeds: tuple[int, ...],
    names: tuple[str, ...],
    dtypes: tuple[str, ...],
    threads: int,
) -> None:
    """Train under both recipes, one run at a time, and write the page."""
    torch.set_num_threads(threads)
    rows = []
    with math_flags():
        for name, dtype, seed in product(names, dtypes, seeds):
            for recipe, experiment in recipes(name, dtype).items():
                key = {"experiment": name, "dtype": dtype, "recipe": recipe, "seed": seed}
                rows += [{**key, **row} for row in curve(experiment, seed, max(seconds))]
                last = rows[-1]
                click.echo(f"{name}, {dtype}, {recipe}, seed {seed}: {last['mse']:.1e} after {last['seconds']:.0f} s")
    phases = {name: {of: [asdict(p) for p in e.phases] for of, e in recipes(name).items()} for name in names}
    used = {"seconds": list(seconds), "seeds": list(seeds), "dtypes": list(dtypes), "threads": threads}
    write(out, pd.DataFrame(rows), used | {"recipes": phases})


if __name__ == "__main__":
    main()
