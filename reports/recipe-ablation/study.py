"""The paper's recipe with each part off: what filter, schedule and threshold are worth on the same model and data.

    python reports/recipe-ablation/study.py

Linear attention on the explicit gradient, Adam throughout, every cell from the same weights: the whole recipe; without
the filtered gradients; with a constant learning rate; without the threshold above which a step is skipped; with none of
the three. Rate and period are scaled to the number of steps.
"""

from typing import Any

import pandas as pd

from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import counted, format_mse
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


def experiment(recipe: str) -> Experiment:
    """One of `PARTS`."""
    return Experiment(
        name=f"recipe-ablation/{list(PARTS).index(recipe)}",
        cost="about 10 s on one core",
        task=ExplicitGradient(n=5, rows=20),
        model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=2),
        phases=(paper_adam(steps=STEPS, batch=BATCH, learning_rate=RATE, period=PERIOD, **PARTS[recipe]),),
        attempts=4,
        dtype="float32",
    )


def title(results: pd.DataFrame) -> str:
    """The whole recipe, and how many of the others end above it."""
    medians = results.groupby("recipe", sort=False)["test_mse"].median()
    parts = medians.drop(WHOLE)
    above = int((parts > medians[WHOLE]).sum())
    seeds = results["seed"].nunique()
    return (
        f"After {STEPS:,} steps the paper's recipe is at {format_mse(medians[WHOLE])}; {above} of {len(parts)} "
        f"ablations end above it, at up to {format_mse(parts.max())} ({counted(seeds, 'seed')})"
    )


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    shown = results[["recipe", "seed", "test_mse", "target_mean_square", "seconds", "ended"]]
    whole = results.set_index(["recipe", "seed"])["test_mse"][WHOLE]
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="ablation",
                frame=results.assign(start="seed " + results["seed"].astype(str)),
                x="recipe",
                y="test_mse",
                series="start",
                title=title(results),
                caption="Test MSE on 4,096 fresh problems, float32.",
                y_label="test MSE",
                joined=False,
            ),
            Table(
                frame=shown.assign(ratio=results["test_mse"] / results["seed"].map(whole)),
                title="Every recipe",
                caption="ratio: to the whole recipe with the same seed. A start whose steps the threshold all rejects "
                "is followed by another, as often as three times.",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f", "ratio": ".2g"},
            ),
            Text(
                title="What it does not say",
                body="The paper trains for 2.5 million steps and changes its rate every 3,000, from 5e-4; here "
                f"{STEPS:,} steps, every {PERIOD}, from {RATE:g}. The parts are meant for the end of training, where "
                "minibatch gradients disagree; here they are seen at its beginning. What one seed shows need not hold "
                "for another.",
            ),
        ],
        spread=f"{counted(len(SEEDS), 'seed')} a recipe, every one in the table",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Trained(
            cells=[
                Cell(labels={"recipe": recipe}, experiment=experiment(recipe), seed=seed)
                for recipe in PARTS
                for seed in SEEDS
            ]
        )
    },
    page=page,
    settings={"steps": STEPS, "batch": BATCH, "learning rate": RATE, "period": PERIOD, "seeds": list(SEEDS)},
)

if __name__ == "__main__":
    STUDY.main()
