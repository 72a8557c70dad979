"""The paper's recipe with each part off: what filter, schedule and threshold are worth on the same model and data.

    python reports/recipe-ablation/study.py

Linear attention on the explicit gradient, Adam throughout, every cell from the same weights: the whole recipe; without
the filtered gradients; with a constant learning rate; without the threshold above which a step is skipped; with none of
the three.
"""

from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import paper_adam

WHOLE = "the paper's recipe"
PARTS: dict[str, dict[str, Any]] = {
    WHOLE: {},
    "without the filter": {"filter_gain": 0.0},
    "without the gradient signal": {"schedule": "constant"},
    "without the threshold": {"skip": None},
    "without all three": {"filter_gain": 0.0, "schedule": "constant", "skip": None},
}
SEEDS = (0,)
STEPS, BATCH, RATE, PERIOD = 600, 128, 3e-3, 30
COMMAND = "python reports/recipe-ablation/study.py"


def laptop(recipe: str) -> Experiment:
    """One cell at the scale of a laptop; rate and period are scaled to its number of steps.

    Args:
        recipe: One of `PARTS`.

    Returns:
        The experiment.
    """
    phase = paper_adam(steps=STEPS, batch=BATCH, learning_rate=RATE, period=PERIOD, **PARTS[recipe])
    return Experiment(
        name=f"recipe-ablation/{_slug(recipe)}",
        cost="about 10 s on one core",
        task=ExplicitGradient(n=5, rows=20),
        model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=2),
        phases=(phase,),
        attempts=4,
        dtype="float32",
    )


def _slug(recipe: str) -> str:
    return "whole" if recipe == WHOLE else recipe.replace(" the ", "-").replace(" ", "-")


def cells() -> list[Cell]:
    """The study.

    Returns:
        A cell for each recipe and seed.
    """
    return [
        Cell(labels={"recipe": recipe}, experiment=laptop(recipe), seed=seed) for recipe, seed in product(PARTS, SEEDS)
    ]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The table: each recipe over its seeds.

    Args:
        results: What `run` returned.

    Returns:
        Median, smallest and largest test MSE, and the median's ratio to that of the whole recipe.
    """
    table = results.groupby("recipe", sort=False)["test_mse"].agg(["median", "min", "max"]).reset_index()
    whole = float(table.loc[table["recipe"] == WHOLE, "median"].iloc[0])
    return table.assign(ratio=table["median"] / whole)


def conclusion(table: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        table: What `summary` returned.

    Returns:
        The page's title.
    """
    parts = table[table["recipe"] != WHOLE].sort_values("ratio", ascending=False)
    costly = parts.iloc[0]
    whole = float(table.loc[table["recipe"] == WHOLE, "median"].iloc[0])
    if costly["ratio"] <= 1:
        return f"After {STEPS:,} steps no part of the paper's recipe lowers its {whole:.1e}: none off is worse"
    better = int((parts["ratio"] < 1).sum())
    return (
        f"After {STEPS:,} steps the paper's recipe is at {whole:.1e}, {costly['ratio']:.1f} times as high "
        f"{costly['recipe']}; {better} of {len(parts)} ablations end lower than the whole"
    )


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
    """
    table = summary(results)
    title = conclusion(table)
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="ablation",
                frame=results.assign(start="seed " + results["seed"].astype(str)),
                x="recipe",
                y="test_mse",
                series="start",
                title=title,
                caption="Test MSE on 4,096 fresh problems, float32.",
                y_label="test MSE",
                joined=False,
            ),
            Table(
                name="summary",
                frame=table,
                title="Every recipe",
                caption="ratio: of the median to that of the whole recipe. A start whose steps the threshold all "
                "rejects is followed by another, as often as three times.",
                formats={"median": ".1e", "min": ".1e", "max": ".1e", "ratio": ".2g"},
            ),
            Table(
                name="all",
                frame=results,
                title="Every seed",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Text(
                title="What it does not say",
                body="The paper trains for 2.5 million steps and changes its rate every 3,000, from 5e-4; here "
                f"{STEPS:,} steps, every {PERIOD}, from {RATE:g}. The parts are meant for the end of training, where "
                "minibatch gradients disagree; here they are seen at its beginning. The paper's trained gradient is at "
                "1e-13.",
            ),
        ],
        spread=f"{len(SEEDS)} seed{'s' * (len(SEEDS) > 1)} a recipe, every one in the table",
        config={"steps": STEPS, "batch": BATCH, "learning rate": RATE, "period": PERIOD, "seeds": list(SEEDS)},
        environment=environment("cpu"),
        command=command,
    )


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
