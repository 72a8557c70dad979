"""Reading the prompt once or twice: what order and repetition do to models that read it from start to end.

    python -m precisionlab.experiments.prompt_repetition --out reports/prompt-repetition

A causal model must choose what to keep of the rows before it knows at which x₀ the gradient is asked. Cells: causal
linear attention and causal gated convolution, x₀ before the rows or after them, the prompt once or twice (JRT-Prompt),
and linear attention that reads the prompt without a mask and goes on causally (JRT-RNN). All emit from the last token.

Reference: Arora et al., Just read twice, arXiv 2407.05483.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd

from precisionlab.experiments.experiment import Experiment
from precisionlab.experiments.study import Cell, run
from precisionlab.models import ModelConfig
from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.tasks import ExplicitGradient
from precisionlab.tasks.layout import Query
from precisionlab.training.adam import Adam, paper_adam
from precisionlab.training.gauss_newton import GaussNewton

Reader = Literal["linear-attention", "linear-attention, prefix", "gated-conv"]
READERS: tuple[Reader, ...] = ("linear-attention", "linear-attention, prefix", "gated-conv")
N, ROWS, WIDTH = 2, 6, 12
FLOOR = 1e-26
COMMAND = "python -m precisionlab.experiments.prompt_repetition"


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
    tokens = repeats * (ROWS + 1)
    return Experiment(
        name=f"prompt-repetition/{_slug(reader)}-{query}-{repeats}",
        summary=f"Causal {reader} emits the gradient, x₀ {query}, the prompt {repeats}× (n = {N}, N = {ROWS})",
        cost="about 10 s on one core",
        task=ExplicitGradient(n=N, rows=ROWS, query=query, repeats=repeats),
        model=ModelConfig(
            mixer=mixer,
            width=WIDTH,
            layers=2,
            heads=2,
            causal=True,
            # The last token reads; what comes before it is read without a mask.
            prefix=tokens - 1 if prefix else 0,
            positions="learned",
            reads="last",
        ),
        phases=(Adam(steps=500, schedule="cosine"), GaussNewton(steps=25, stall=12, residuals=1.0)),
        attempts=1,
    )


def paper(reader: Reader, *, query: Query, repeats: int) -> Experiment:
    """The same at the size and by the recipe of the paper, which did not study repetition.

    Args:
        reader: Mixer, and whether all tokens of the prompt see each other.
        query: Whether x₀ stands before the rows or after them.
        repeats: How often the prompt is written.

    Returns:
        The experiment.
    """
    mixer, _, prefix = reader.partition(", ")
    convolution = mixer == "gated-conv"
    task = ExplicitGradient(n=5, rows=20, query=query, repeats=repeats)
    return Experiment(
        name=f"paper/prompt-repetition/{_slug(reader)}-{query}-{repeats}",
        summary=f"Causal {reader} emits the gradient, x₀ {query}, the prompt {repeats}×, at the paper's size",
        cost="days on a GPU",
        task=task,
        model=ModelConfig(
            mixer=mixer,
            width=64 if convolution else 256,
            layers=3,
            heads=1 if convolution else 16,
            causal=True,
            prefix=task.tokens - 1 if prefix else 0,
            positions="learned",
            reads="last",
            projections=False,
        ),
        phases=(paper_adam(learning_rate=1e-2 if convolution else 5e-4),),
        attempts=1,
        dtype="float32",
    )


def _slug(reader: str) -> str:
    return reader.replace(", ", "-")


def _settings() -> list[tuple[Reader, Query, int]]:
    queries: tuple[Query, ...] = ("first", "last")
    # Without a mask, a second copy tells nothing new, and order is a matter of positions alone: one cell.
    every = product(READERS, queries, (1, 2))
    return [one for one in every if "prefix" not in one[0] or one[1:] == ("first", 1)]


EXPERIMENTS = tuple(
    make(reader, query=query, repeats=repeats) for make in (laptop, paper) for reader, query, repeats in _settings()
)


def cells(readers: Sequence[str] = READERS) -> list[Cell]:
    """The study.

    Args:
        readers: Those of `READERS` that are wanted.

    Returns:
        A cell for each reader, order and number of copies.
    """
    return [
        Cell(
            labels={"model": reader, "query": query, "repeats": repeats},
            experiment=laptop(reader, query=query, repeats=repeats),
        )
        for reader, query, repeats in _settings()
        if reader in readers
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
    left_out = [reader for reader in READERS if reader not in set(results["model"])]
    missing = f" Not run yet: {', '.join(left_out)}." if left_out else ""
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
                "is above the floor was not shown to be unable: another start or a longer training may take it lower."
                f"{missing}",
            ),
        ],
        spread="one seed and one start a cell",
        config={"n": N, "rows": ROWS, "width": WIDTH, "layers": 2, "adam steps": 500, "levenberg-marquardt steps": 25},
        environment=environment("cpu"),
        command=command,
    )


def main() -> None:
    """Run the study, or what of it is missing, and write its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/prompt-repetition"))
    parser.add_argument("--only", nargs="*", default=list(READERS), choices=list(READERS), help="readers to train")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    table = arguments.out / "results.csv"
    run(cells(arguments.only), table, processes=arguments.processes)
    only = "" if len(arguments.only) == len(READERS) else " --only " + " ".join(map(repr, arguments.only))
    write(pd.read_csv(table), arguments.out, f"{COMMAND} --out {arguments.out}{only}")


if __name__ == "__main__":
    main()
