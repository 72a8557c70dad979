"""Reading the prompt once or twice: what order and repetition do to models that read it from start to end.

    python reports/prompt-repetition/study.py

A causal model must choose what to keep of the rows before it knows at which x₀ the gradient is asked. Cells: causal
linear attention and causal gated convolution, x₀ before the rows or after them, the prompt once or twice (JRT-Prompt),
and linear attention that reads the prompt without a mask and goes on causally (JRT-RNN). All emit from the last token.

Reference: Arora et al., Just read twice, arXiv 2407.05483.
"""

from itertools import product
from typing import Literal

import pandas as pd

from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, ModelConfig
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import format_mse
from precisionlab.tasks import ExplicitGradient
from precisionlab.tasks.layout import Query
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

Reader = Literal["linear-attention", "linear-attention, prefix", "gated-conv"]
READERS: tuple[Reader, ...] = ("linear-attention", "linear-attention, prefix", "gated-conv")
QUERIES: tuple[Query, ...] = ("first", "last")
N, ROWS, WIDTH = 2, 6, 12
FLOOR = 1e-26


def experiment(reader: Reader, query: Query, repeats: int) -> Experiment:
    """A mixer, whether x₀ stands before the rows or after them, and how often the prompt is written."""
    mixer, _, prefix = reader.partition(", ")
    # The last token reads; what comes before it is read without a mask.
    attention = LinearAttention(heads=2, causal=True, prefix=repeats * (ROWS + 1) - 1 if prefix else 0)
    return Experiment(
        name=f"prompt-repetition/{reader.replace(', ', '-')}-{query}-{repeats}",
        cost="about 10 s on one core",
        task=ExplicitGradient(n=N, rows=ROWS, query=query, repeats=repeats),
        model=ModelConfig(
            mixer=GatedConvolution(causal=True) if mixer == "gated-conv" else attention,
            width=WIDTH,
            layers=2,
            positions="learned",
            reads="last",
        ),
        phases=(Adam(steps=500, schedule="cosine"), GaussNewton(steps=25, stall=12, residuals=1.0)),
        attempts=1,
    )


def cells() -> list[Cell]:
    """Without a mask, a second copy tells nothing new, and order is a matter of positions alone: one cell."""
    every = product(READERS, QUERIES, (1, 2))
    return [
        Cell(
            labels={"model": reader, "query": query, "repeats": repeats}, experiment=experiment(reader, query, repeats)
        )
        for reader, query, repeats in every
        if "prefix" not in reader or (query, repeats) == ("first", 1)
    ]


def title(results: pd.DataFrame) -> str:
    """How many readers end at the floor, and which."""
    rows = results[results["test_mse"] <= FLOOR].to_dict("records")
    named = [f"{row['model']}, x₀ {row['query']}, {row['repeats']}×" for row in rows]
    told = f": {'; '.join(named)}" if named else ""
    return f"{len(rows)} of {len(results)} readers of two causal layers end at {FLOOR:.0e} or below{told}"


def repetition(results: pd.DataFrame) -> str:
    """What a second copy does to each reader and order, where both were run."""
    pairs = results.pivot_table(index=["model", "query"], columns="repeats", values="test_mse", sort=False).dropna()
    told = [
        f"{model}, x₀ {query}: {format_mse(row[1])} to {format_mse(row[2])}" for (model, query), row in pairs.iterrows()
    ]
    better = int((pairs[2] < pairs[1]).sum())
    return f"A second copy lowers the error of {better} of {len(pairs)} readers. {'; '.join(told)}."


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    order = "x₀ " + results["query"] + ", " + results["repeats"].astype(str) + "×"
    columns = ["model", "query", "repeats", "seed", "parameters", "test_mse", "target_mean_square", "seconds", "ended"]
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="readers",
                frame=results.assign(order=order),
                x="order",
                y="test_mse",
                series="model",
                title=repetition(results).partition(". ")[0],
                caption=f"Test MSE on 4,096 fresh problems, float64; n = {N}, N = {ROWS}, two layers of width {WIDTH}.",
                y_label="test MSE",
                lines={"u² of float64": 2.0**-106},
                joined=False,
            ),
            Text(body=repetition(results)),
            Table(
                frame=results[columns],
                title="Every reader",
                caption="The paper has no such figures: it reads x₀ as a token among the others, once.",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Text(
                title="How it was trained",
                body="Adam, 500 steps of 128 problems, then at most 25 Levenberg–Marquardt steps, from one start. What "
                "is above the floor was not shown to be unable: another start or a longer training may take it lower.",
            ),
        ],
        spread="one seed and one start a cell",
    )


STUDY = Study(
    script=__file__,
    tables={"results": Trained(cells=cells())},
    page=page,
    settings={"n": N, "rows": ROWS, "width": WIDTH, "layers": 2, "adam steps": 500, "levenberg-marquardt steps": 25},
)

if __name__ == "__main__":
    STUDY.main()
