"""Table: the rate of learned momentum against the theory of √κ(AᵀA), for models trained for several κ.

    python reports/momentum/study.py

For each κ a model is trained from random weights and iterated on problems of that condition number. The rate is the
factor by which the median error falls a step, between 1e-3 and 1e-9; the theory's is (κ − 1)/(κ + 1) in the limit of
many steps, and that of plain gradient descent (κ² − 1)/(κ² + 1).
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch

import precisionlab
from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.tasks import heavy_ball
from solvers import errors, reference
from solvers.learned.base import Step
from solvers.learned.iterates import LearnedMomentum
from solvers.problems import random_problem

NAME = "linear-attention/heavy-ball"
CONDITIONS = (3.0, 10.0, 30.0, 100.0)
ROWS, UNKNOWNS, SEED = 20, 5, 1964
HIGH, LOW = 1e-3, 1e-9
COMMAND = "python reports/momentum/study.py"


def descent(step: Step, condition: float, problems: int) -> tuple[int, float, float]:
    """Iterate a step.

    Args:
        step: The step.
        condition: κ of the problems.
        problems: How many.

    Returns:
        Steps to a median error of 1e-9, the factor a step on the way there from 1e-3, and the median error at the end.
    """
    generator = torch.Generator().manual_seed(SEED)
    problem = random_problem(ROWS, UNKNOWNS, condition=condition, residual=0.1, batch=(problems,), generator=generator)
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    cap = math.ceil(30 * condition) + 50
    solver = LearnedMomentum(step, max_iterations=cap, tolerance=0.0)
    trace = torch.as_tensor(solver.solve(problem.A, problem.b, record=True).trace)
    pair = tuple(part.expand_as(trace) for part in exact)
    median = torch.as_tensor(errors.forward_error(trace, pair)).double().median(dim=1).values  # type: ignore[arg-type]
    first, last = (int((median <= level).nonzero()[0]) for level in (HIGH, LOW))
    return last, float(median[last] / median[first]) ** (1 / (last - first)), float(median[-1])


def row(condition: float, problems: int) -> dict[str, int | float]:
    """One line of the table.

    Args:
        condition: κ.
        problems: Problems to measure on.

    Returns:
        The row.
    """
    overrides: dict[str, Any] = {"task.condition": condition}
    run = precisionlab.train(NAME, progress=False, **overrides)
    learned = descent(heavy_ball.EmittedIterate(run.model, n=UNKNOWNS), condition, problems)
    true = descent(partial(heavy_ball.step, condition=condition), condition, problems)
    return {
        "condition": condition,
        "test_mse": float("nan") if run.card.test_mse is None else run.card.test_mse,
        "steps": learned[0],
        "steps_true": true[0],
        "rate": learned[1],
        "rate_true": true[1],
        "rate_theory": (condition - 1) / (condition + 1),
        "rate_gradient_descent": (condition**2 - 1) / (condition**2 + 1),
        "floor": learned[2],
        "floor_true": true[2],
    }


def sections(table: pd.DataFrame) -> list[Figure | Table | Text]:
    """What the page shows.

    Args:
        table: A `row` for each κ.

    Returns:
        Its sections.
    """
    plain = math.log(LOW) / np.log(table["rate_gradient_descent"])
    curves = {"learned": table["steps"], "true momentum": table["steps_true"], "gradient descent, theory": plain}
    steps = pd.concat(
        pd.DataFrame({"κ": table["condition"], "iteration": name, "steps": values.astype(float)})
        for name, values in curves.items()
    )
    return [
        Figure(
            name="steps",
            frame=steps,
            x="κ",
            y="steps",
            series="iteration",
            x_log=True,
            x_label="condition number κ of A",
            y_label=f"steps to a median forward error of {LOW:.0e}",
            title="The learned iteration takes as many steps as the true one, κ of them and not κ²",
            caption="Both are counted; those of gradient descent are what its rate says.",
        ),
        Table(
            name="rates",
            frame=table,
            title="Rates and floors",
            caption=f"Steps to a median forward error of {LOW:.0e}; rate, the factor a step between {HIGH:.0e} and "
            f"{LOW:.0e}; in the limit of many steps theory gives (κ − 1)/(κ + 1), and (κ² − 1)/(κ² + 1) for plain "
            "gradient descent; floor, the median forward error after 30 κ + 50 steps. Columns in `_true` are of the "
            "same iteration by formula.",
            formats={
                **dict.fromkeys(("test_mse", "floor", "floor_true"), ".1e"),
                **dict.fromkeys(("rate", "rate_true", "rate_theory", "rate_gradient_descent"), ".4f"),
                "condition": ".0f",
            },
        ),
        Text(
            title="What was learned",
            body="One layer of linear attention, trained for each κ from random weights to emit the next iterate of "
            "gradient descent with momentum.",
        ),
    ]


def write(table: pd.DataFrame, out: Path, problems: int) -> None:
    """Write the page.

    Args:
        table: A `row` for each κ.
        out: Its folder.
        problems: How many of each condition number were solved.
    """
    same = f"{int((table['steps'] == table['steps_true']).sum())} of {len(table)}"
    write_page(
        out,
        title=f"Learned momentum takes exactly as many steps as the true one at {same} condition numbers",
        sections=sections(table),
        spread=f"medians over {problems} problems of each condition number; one training run for each",
        config={"experiment": NAME, "condition": list(CONDITIONS), "problems": problems, "seed": SEED},
        environment=environment("cpu"),
        command=COMMAND,
    )


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the table goes.")
@click.option("--problems", default=1000, show_default=True, help="Problems for each condition number.")
def main(out: Path, problems: int) -> None:
    """Train, measure, and write the page."""
    with math_flags():
        table = pd.DataFrame([row(condition, problems) for condition in CONDITIONS])
        write(table, out, problems)


if __name__ == "__main__":
    main()
