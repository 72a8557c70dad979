"""Reading the prompt once or twice: what order and repetition do to models that read it from start to end.

    python reports/prompt-repetition/study.py

A causal model must choose what to keep of the rows before it knows at which x₀ the gradient is asked. Cells: causal
linear attention and causal gated convolution, x₀ before the rows or after them, the prompt once or twice (JRT-Prompt),
and linear attention that reads the prompt without a mask and goes on causally (JRT-RNN). All emit from the last token.

Reference: Arora et al., Just read twice, arXiv 2407.05483.
"""

from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, ModelConfig
from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell
from precisionlab.tasks import ExplicitGradient
from precisionlab.tasks.layout import Query
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

Reader = Literal["linear-attention", "linear-attention, prefix", "gated-conv"]
READERS: tuple[Reader, ...] = ("linear-attention", "linear-attention, prefix", "gated-conv")
N, ROWS, WIDTH = 2, 6, 12
FLOOR = 1e-26
COMMAND = "python reports/prompt-repetition/study.py"


def laptop(reader: Reader, *, query: Query, repeats: int) -> Experiment:
    """One cell at the scale of a laptop.

    Args:
        reader: Mixer, and whether all tokens of the prompt see each other.
        query: Whether x₀ stands before the rows or after them.
        repeats: How often the prompt is written.

    Returns:
        The experiment.
    """
    mixer, _, prefix = reader.partition(", ")
    # The last token reads; what comes before it is read without a mask.
    before = repeats * (ROWS + 1) - 1 if prefix else 0
    attention = LinearAttention(heads=2, causal=True, prefix=before)
    settings = GatedConvolution(causal=True) if mixer == "gated-conv" else attention
    return Experiment(
        name=f"prompt-repetition/{_slug(reader)}-{query}-{repeats}",
        cost="about 10 s on one core",
        task=ExplicitGradient(n=N, rows=ROWS, query=query, repeats=repeats),
        model=ModelConfig(
            mixer=settings,
            width=WIDTH,
            layers=2,
            positions="learned",
            reads="last",
        ),
        phases=(Adam(steps=500, schedule="cosine"), GaussNewton(steps=25, stall=12, residuals=1.0)),
        attempts=1,
    )


def _slug(reader: str) -> str:
    return reader.replace(", ", "-")


def _settings() -> list[tuple[Reader, Query, int]]:
    queries: tuple[Query, ...] = ("first", "last")
    # Without a mask, a second copy tells nothing new, and order is a matter of positions alone: one cell.
    every = product(READERS, queries, (1, 2))
    return [one for one in every if "prefix" not in one[0] or one[1:] == ("first", 1)]


def cells() -> list[Cell]:
    """The study.

    Returns:
        A cell for each reader, order and number of copies.
    """
    return [
        Cell(
            labels={"model": reader, "query": query, "repeats": repeats},
            experiment=laptop(reader, query=query, repeats=repeats),
        )
        for reader, query, repeats in _settings()
    ]


def conclusion(results: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        results: What `run` returned.

    Returns:
        The page's title.
    """
    errors = results.set_index(["model", "query", "repeats"])["test_mse"]
    reached = results[results["test_mse"] <= FLOOR]
    once, twice = (float(errors["linear-attention", "first", repeats]) for repeats in (1, 2))
    return (
        f"With x₀ before the rows, causal linear attention of two layers ends at {once:.0e} reading once and at "
        f"{twice:.0e} reading twice; {len(reached)} of {len(results)} readers reach {FLOOR:.0e}"
    )


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
    """
    order = "x₀ " + results["query"] + ", " + results["repeats"].astype(str) + "×"
    title = conclusion(results)
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="readers",
                frame=results.assign(order=order),
                x="order",
                y="test_mse",
                series="model",
                title="Order and repetition decide what two causal layers can emit",
                caption=f"Test MSE on 4,096 fresh problems, float64; n = {N}, N = {ROWS}, two layers of width {WIDTH}.",
                y_label="test MSE",
                lines={"u² of float64": 2.0**-106},
                joined=False,
            ),
            Table(
                name="cells",
                frame=results,
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
        config={"n": N, "rows": ROWS, "width": WIDTH, "layers": 2, "adam steps": 500, "levenberg-marquardt steps": 25},
        environment=environment("cpu"),
        command=command,
    )


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
