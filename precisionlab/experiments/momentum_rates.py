"""Table: the rate of learned momentum against the theory of √κ(AᵀA), for models trained for several κ.

    python -m precisionlab.experiments.momentum_rates --out reports/momentum

For each κ a model is trained from random weights and iterated on problems of that condition number. The rate is the
factor by which the median error falls a step, between 1e-3 and 1e-9; the theory's is (κ − 1)/(κ + 1) in the limit of
many steps, and that of plain gradient descent (κ² − 1)/(κ² + 1).
"""

import csv
import math
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

import precisionlab
from precisionlab.precision import math_flags
from precisionlab.tasks import heavy_ball
from solvers import errors, reference
from solvers.learned_momentum import LearnedMomentum, MomentumStep
from solvers.problems import random_problem

NAME = "linear-attention/heavy-ball"
CONDITIONS = (3.0, 10.0, 30.0, 100.0)
ROWS, UNKNOWNS, SEED = 20, 5, 1964
HIGH, LOW = 1e-3, 1e-9
TABLE, PAGE = "rates.csv", "README.md"


def descent(step: MomentumStep, condition: float, problems: int) -> tuple[int, float, float]:
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


def row(condition: float, problems: int) -> dict[str, float]:
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


def page(rows: list[dict[str, float]]) -> str:
    """The table in words.

    Args:
        rows: Of the table.

    Returns:
        Markdown.
    """
    lines = [
        "# Learned momentum: the rate against theory",
        "",
        "One layer of linear attention, trained for each κ to emit the next iterate of gradient descent with momentum.",
        "Steps to a median forward error of 1e-9, and the factor a step between 1e-3 and 1e-9, learned and true; in",
        "the limit of many steps theory gives (κ − 1)/(κ + 1), and for plain gradient descent (κ² − 1)/(κ² + 1), whose",
        "steps to 1e-9 the last column has.",
        "",
        "| κ | MSE of the step | steps | true | rate | true | theory | GD's | floor | true | GD's steps |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        plain = math.log(LOW) / math.log(r["rate_gradient_descent"])
        lines.append(
            f"| {r['condition']:.0f} | {r['test_mse']:.1e} | {r['steps']:.0f} | {r['steps_true']:.0f} "
            f"| {r['rate']:.4f} | {r['rate_true']:.4f} | {r['rate_theory']:.4f} "
            f"| {r['rate_gradient_descent']:.4f} | {r['floor']:.1e} | {r['floor_true']:.1e} | {plain:,.0f} |"
        )
    return "\n".join([*lines, "", "    python -m precisionlab.experiments.momentum_rates --out reports/momentum", ""])


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the table goes.")
@click.option("--problems", default=1000, show_default=True, help="Problems for each condition number.")
def main(out: Path, problems: int) -> None:
    """Train, measure, and write the table as CSV and as a page."""
    out.mkdir(parents=True, exist_ok=True)
    with math_flags():
        rows = [row(condition, problems) for condition in CONDITIONS]
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / PAGE).write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
