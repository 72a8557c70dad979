"""Floors: every learned gradient and iterate, from several random starts.

    python reports/floors/study.py

Trains each experiment below with each of its seeds, by the recipe it is registered with, and writes the test error, the
time and how the training ended. What is in the table already is not trained again.
"""

from pathlib import Path

import pandas as pd

from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell

SEEDS = {
    "linear-attention/explicit-gradient": range(5),
    "gated-conv/explicit-gradient": range(5),
    "linear-attention/explicit-gradient-10": range(3),
    "linear-attention/explicit-gradient-20": range(3),
    "linear-attention/gradient-descent-8": range(3),
    "gated-conv/gradient-descent-8": range(3),
}
FLOOR = 1e-28


def cells() -> list[Cell]:
    """The study: each experiment with each of its seeds."""
    return [Cell(experiment=name, seed=seed) for name, seeds in SEEDS.items() for seed in seeds]


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
    """
    groups = results.groupby("experiment", sort=False)
    summary = groups["test_mse"].agg(["median", "min", "max"]).reset_index()
    summary["seeds"] = groups.size().to_numpy()
    summary["at the floor"] = groups["test_mse"].apply(lambda errors: int((errors <= FLOOR).sum())).to_numpy()
    summary["median seconds"] = groups["seconds"].median().to_numpy()
    reached, total = int(summary["at the floor"].sum()), len(results)
    write_page(
        out,
        title=f"{reached} of {total} trainings of polynomial models end at a test MSE of {FLOOR:.0e} or below",
        sections=[
            Figure(
                name="seeds",
                frame=results,
                x="seconds",
                y="test_mse",
                series="experiment",
                title="From random weights to the floor of float64",
                caption="One point a seed: error on 4,096 fresh problems against training time.",
                x_label="seconds of training",
                x_log=True,
                joined=False,
                y_label="test MSE",
            ),
            Table(
                name="summary",
                frame=summary,
                title="By experiment",
                caption="Test MSE of what the model emits, against references above float64.",
                formats={"median": ".1e", "min": ".1e", "max": ".1e", "median seconds": ".0f"},
            ),
            Table(
                name="all",
                frame=results,
                title="Every seed",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Text(
                title="What it means",
                body="A k-step model is looped: nothing but x₀ is given, its own answer takes x₀'s place, and it is "
                "judged by the last iterate alone. How training gets here is told in docs/precision.md.",
            ),
        ],
        spread="one row a seed, and every seed that was run",
        config={str(name): [int(seed) for seed in seeds] for name, seeds in groups["seed"]},
        environment=environment("cpu"),
        command=command,
    )


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
