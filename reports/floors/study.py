"""Floors: every learned gradient and iterate, from several random starts.

    python reports/floors/study.py

Trains each experiment below with each of its seeds, by the recipe it is registered with. Its control is the formula of
what it emits, evaluated in the model's dtype.
"""

from itertools import product

import pandas as pd
import torch

from precisionlab import Cell
from precisionlab.config import to_dict
from precisionlab.experiments import get
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text, Trained
from precisionlab.report.words import counted, format_mse, format_ratio, listed
from precisionlab.tasks import ExplicitGradient
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.layout import read

SEEDS = {
    "linear-attention/explicit-gradient": range(5),
    "gated-conv/explicit-gradient": range(5),
    "linear-attention/explicit-gradient-10": range(3),
    "linear-attention/explicit-gradient-20": range(3),
    "linear-attention/gradient-descent-8": range(3),
    "gated-conv/gradient-descent-8": range(3),
}
FLOOR = 1e-28
PROBLEMS = 4096


def control() -> pd.DataFrame:
    """The formula of what is emitted, in both dtypes, on fresh problems."""
    rows = []
    for name, (label, dtype) in product(SEEDS, DTYPES.items()):
        task = get(name).task
        generator = torch.Generator().manual_seed(0)
        prompt = task.sample(PROBLEMS, generator=generator, dtype=dtype).prompt
        emitted = task.control(*read(prompt, query=task.query, repeats=task.repeats))
        if isinstance(task, ExplicitGradient):
            emitted = emitted / task.rows
        mse = float(mean_squared_error(task, emitted, prompt))
        rows.append({"experiment": name, "dtype": label, "control": mse})
    return pd.DataFrame(rows)


def title(results: pd.DataFrame) -> str:
    """How many trainings end at the floor."""
    reached = int((results["test_mse"] <= FLOOR).sum())
    return f"{reached} of {counted(len(results), 'training')} end at a test MSE of {FLOOR:.0e} or below"


def above(results: pd.DataFrame) -> str:
    """Which do not."""
    rows = results[~(results["test_mse"] <= FLOOR)].to_dict("records")
    names = [f"{row['experiment']}, seed {row['seed']} ({format_mse(row['test_mse'])})" for row in rows]
    return f"Above it: {listed(names)}" if names else "From no start does one end above it"


def beside_control(table: pd.DataFrame) -> str:
    """How far the models are above the formula."""
    ratios = table["median"] / table["control"]
    return (
        f"Of the formula's error in float64 the median is {format_ratio(ratios.min())} "
        f"({table['experiment'][ratios.idxmin()]}) to {format_ratio(ratios.max())} "
        f"({table['experiment'][ratios.idxmax()]})."
    )


def summary(results: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Each experiment over its seeds, beside its control."""
    groups = results.groupby("experiment", sort=False)
    table = groups["test_mse"].agg(["median", "min", "max"])
    table["control"] = known[known["dtype"] == "float64"].set_index("experiment")["control"]
    table["seeds"] = groups.size()
    table["at the floor"] = groups["test_mse"].apply(lambda errors: int((errors <= FLOOR).sum()))
    table["median seconds"] = groups["seconds"].median()
    return table.reset_index()


def page(results: pd.DataFrame, known: pd.DataFrame) -> Content:
    """What the page says."""
    table = summary(results, known)
    shown = results[["experiment", "seed", "parameters", "test_mse", "target_mean_square", "seconds", "ended"]]
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="seeds",
                frame=results,
                x="seconds",
                y="test_mse",
                series="experiment",
                title=above(results),
                caption="One point a seed: error on 4,096 fresh problems against training time.",
                x_label="seconds of training",
                x_log=True,
                joined=False,
                y_label="test MSE",
            ),
            Table(
                frame=table,
                title="By experiment",
                caption="Test MSE of what the model emits, against references above float64. control: the formula in "
                "float64 on as many problems.",
                formats=dict.fromkeys(("median", "min", "max", "control"), ".1e") | {"median seconds": ".0f"},
            ),
            Text(title="Beside the control", body=beside_control(table)),
            Table(
                frame=shown,
                title="Every seed",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Text(
                title="What is measured",
                body="A gradient is emitted once. A k-step model is looped: nothing but x₀ is given, its own answer "
                "takes x₀'s place, and it is judged by the last iterate alone. How training gets here is told in "
                "docs/precision.md. Seconds are those of one machine, which other work shared.",
            ),
        ],
        spread="one row a seed, and every seed that was run",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Trained(cells=[Cell(experiment=name, seed=seed) for name, seeds in SEEDS.items() for seed in seeds]),
        "control": Measured(
            function=control,
            settings={"problems": PROBLEMS, "tasks": {name: to_dict(get(name).task) for name in SEEDS}},
        ),
    },
    page=page,
    settings={name: list(seeds) for name, seeds in SEEDS.items()},
)

if __name__ == "__main__":
    STUDY.main()
