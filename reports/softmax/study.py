"""Softmax attention learns the least-squares gradient as far as it can: does a second-order recipe lift its plateau?

    python reports/softmax/study.py

Recipe × dtype: the paper's Adam, the laboratory's Adam alone, and the same followed by Levenberg–Marquardt, on batches
of the size that serves polynomial models and on larger ones. The model is the paper's but for its width: three layers
of attention, no perceptron, no LayerNorm, learned positions.
"""

from dataclasses import replace
from itertools import product
from typing import Literal

import pandas as pd

from precisionlab import Cell
from precisionlab.experiments import Experiment, get
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import format_mse, format_ratio, listed, sentence
from precisionlab.training.adam import Adam, paper_adam
from precisionlab.training.gauss_newton import GaussNewton

Dtype = Literal["float32", "float64"]
DTYPES: tuple[Dtype, ...] = ("float64", "float32")
U2 = {"float64": 2.0**-106, "float32": 2.0**-48}
ADAM = Adam(steps=1000, learning_rate=3e-3, schedule="cosine")
FIRST = "Adam, cosine"
RECIPES = {
    # Rate and period are scaled to a thousand steps of 128 problems; the paper takes 2.5 million of 1,024.
    "the paper's Adam": (paper_adam(steps=1000, batch=128, learning_rate=3e-3, period=100),),
    FIRST: (ADAM,),
    "Adam, then Levenberg–Marquardt": (ADAM, GaussNewton(steps=20, stall=10)),
    "the same, 4 residuals a parameter": (ADAM, GaussNewton(steps=40, stall=40, residuals=4.0)),
}
PAPER_MSE = {"explicit gradient, trained gated convolution": 1e-13, "softmax attention iterated 100 times": 1.3e-2}
"""What the paper reports; of the softmax model's own gradient it gives no figure."""
CHANGED = 0.1
"""A recipe moves the plateau where it changes the error by more than this part."""


def experiment(recipe: str, dtype: Dtype) -> Experiment:
    """One of `RECIPES` in one dtype."""
    return replace(get("softmax/explicit-gradient"), phases=RECIPES[recipe], dtype=dtype)


def title(results: pd.DataFrame) -> str:
    """Every recipe in float64, as a part of the target."""
    rows = results[results["dtype"] == "float64"]
    told = [f"{format_mse(row['test_mse'])} ({row['recipe']})" for row in rows.to_dict("records")]
    return f"Softmax attention ends, in float64 and from one start each, at {listed(told)}"


def lifted(results: pd.DataFrame) -> str:
    """What each recipe does beside Adam alone."""
    errors = results[results["dtype"] == "float64"].set_index("recipe")["test_mse"]
    ratios = (errors / errors[FIRST]).drop(FIRST)
    changes = {
        "below": [name for name in ratios.index if ratios[name] < 1 - CHANGED],
        "above": [name for name in ratios.index if ratios[name] > 1 + CHANGED],
        "at": [name for name in ratios.index if abs(ratios[name] - 1) <= CHANGED],
    }
    told = [f"{where} the plateau of {FIRST}: {listed(names)}" for where, names in changes.items() if names]
    return f"{sentence(told)}."


def dtypes(results: pd.DataFrame) -> str:
    """What float32 changes, over all recipes."""
    table = results.pivot_table(index="recipe", columns="dtype", values="test_mse", sort=False)
    gap = (table["float32"] / table["float64"] - 1).abs()
    return f"float32 changes the error by at most {gap.max():.0%} ({gap.idxmax()})."


def plateau(results: pd.DataFrame) -> str:
    """How far the lowest of all is above rounding."""
    ratios = results["test_mse"] / results["dtype"].map(U2)
    low = float(ratios.min())
    if low < 1e6:
        return f"One recipe comes within {format_ratio(low)} the u² of its dtype"
    return f"No recipe and no dtype comes nearer to rounding than {format_ratio(low)} u²"


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    columns = ["recipe", "dtype", "seed", "parameters", "test_mse", "target_mean_square", "seconds", "ended"]
    shown = results[columns].assign(relative=results["test_mse"] / results["target_mean_square"])
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="plateau",
                frame=results,
                x="recipe",
                y="test_mse",
                series="dtype",
                title=plateau(results),
                caption="Test MSE on 4,096 fresh problems; the mark is what the paper's trained gradient reaches.",
                y_label="test MSE",
                lines={"the paper's gated convolution": 1e-13},
                joined=False,
            ),
            Text(body=f"{lifted(results)} {dtypes(results)}"),
            Table(
                frame=shown,
                title="Every recipe and dtype",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "relative": ".1%", "seconds": ".0f"},
            ),
            Table(
                frame=pd.DataFrame([{"the paper, float32": what, "MSE": mse} for what, mse in PAPER_MSE.items()]),
                title="The paper's figures",
                caption="Of width 256 and 2.5 million steps.",
                formats={"MSE": ".1e"},
            ),
            Text(
                title="What it does not say",
                body="Softmax attention averages values with weights that sum to one, so no finite stack emits a "
                "polynomial exactly (docs/softmax.md). A batch of Levenberg–Marquardt usually holds half as many "
                "residuals as there are parameters: it is interpolated, which four times as many are not. These "
                "trainings are short, of a small model, and by each recipe of one start: a wider model, trained for "
                "longer, may rest lower.",
            ),
        ],
        spread="one seed a cell; recipes start from the same weights",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Trained(
            cells=[
                Cell(labels={"recipe": recipe, "dtype": dtype}, experiment=experiment(recipe, dtype))
                for recipe, dtype in product(RECIPES, DTYPES)
            ]
        )
    },
    page=page,
    settings={
        "width": 16,
        "layers": 3,
        "heads": 4,
        "adam steps": ADAM.steps,
        "batch": ADAM.batch,
        "Levenberg–Marquardt steps": "20, 40 on large batches",
    },
)

if __name__ == "__main__":
    STUDY.main()
