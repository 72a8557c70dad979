"""The rate of learned momentum against the theory of √κ(AᵀA), for models trained for several κ.

    python reports/momentum/study.py

For each κ a model is trained from random weights and iterated on problems of that condition number. The rate is the
factor by which the median error falls a step, between 1e-3 and 1e-9; the theory's is (κ − 1)/(κ + 1) in the limit of
many steps, and that of plain gradient descent (κ² − 1)/(κ² + 1). The solver has no refinement, so the model stands
alone; its control is the same solver around the step as its formula has it.
"""

import math
from functools import partial

import numpy as np
import pandas as pd
import torch

import precisionlab
from precisionlab import Cell
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, format_ratio
from precisionlab.tasks import heavy_ball
from solvers import errors, reference
from solvers.learned.base import Step
from solvers.learned.iterates import LearnedMomentum
from solvers.problems import random_problem

NAME = "linear-attention/heavy-ball"
CONDITIONS = (3.0, 10.0, 30.0, 100.0)
ROWS, UNKNOWNS, SEED, PROBLEMS = 20, 5, 1964, 1000
HIGH, LOW = 1e-3, 1e-9


def descent(step: Step, condition: float, problems: int) -> tuple[int, float, float]:
    """Steps to a median error of 1e-9, the factor a step on the way there from 1e-3, and the error at the end."""
    generator = torch.Generator().manual_seed(SEED)
    problem = random_problem(ROWS, UNKNOWNS, condition=condition, residual=0.1, batch=(problems,), generator=generator)
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    cap = math.ceil(30 * condition) + 50
    solver = LearnedMomentum(step, max_iterations=cap, tolerance=0.0)
    trace = torch.as_tensor(solver.solve(problem.A, problem.b, record=True).trace)
    pair = tuple(part.expand_as(trace) for part in exact)
    median = torch.as_tensor(errors.forward_error(trace, pair)).double().median(dim=1).values
    first, last = (int((median <= level).nonzero()[0]) for level in (HIGH, LOW))
    return last, float(median[last] / median[first]) ** (1 / (last - first)), float(median[-1])


def row(condition: float) -> dict[str, int | float | None]:
    """One condition number."""
    run = precisionlab.train(NAME, progress=False, **{"task.condition": condition})
    learned = descent(heavy_ball.EmittedIterate(run.model, n=UNKNOWNS), condition, PROBLEMS)
    true = descent(partial(heavy_ball.step, condition=condition), condition, PROBLEMS)
    return {
        "condition": condition,
        "test_mse": run.card.test_mse,
        "steps": learned[0],
        "steps_control": true[0],
        "rate": learned[1],
        "rate_control": true[1],
        "rate_theory": (condition - 1) / (condition + 1),
        "rate_gradient_descent": (condition**2 - 1) / (condition**2 + 1),
        "floor": learned[2],
        "floor_control": true[2],
    }


def title(table: pd.DataFrame) -> str:
    """Steps and floors beside those of the control."""
    same = int((table["steps"] == table["steps_control"]).sum())
    ratios = table["floor"] / table["floor_control"]
    return (
        f"Learned momentum takes as many steps as its control at {same} of {len(table)} condition numbers, "
        f"and ends at {format_ratio(ratios.min())} to {format_ratio(ratios.max())} the control's error"
    )


def growth(table: pd.DataFrame) -> str:
    """How the steps grow with κ: as a power, by least squares in log-log."""
    logs = np.log(table["condition"])
    plain = np.log(math.log(LOW) / np.log(table["rate_gradient_descent"]))
    power, descent_power = (np.polyfit(logs, values, 1)[0] for values in (np.log(table["steps"]), plain))
    return f"The learned iteration's steps grow as κ^{power:.1f}, those of gradient descent as κ^{descent_power:.1f}"


def page(table: pd.DataFrame) -> Content:
    """What the page says."""
    plain = math.log(LOW) / np.log(table["rate_gradient_descent"])
    curves = {"learned": table["steps"], "control": table["steps_control"], "gradient descent, theory": plain}
    steps = pd.concat(
        pd.DataFrame({"κ": table["condition"], "iteration": name, "steps": values.astype(float)})
        for name, values in curves.items()
    )
    floors = pd.concat(
        pd.DataFrame({"κ": table["condition"], "iteration": name, "error": table[column]})
        for name, column in {"learned, alone": "floor", "control": "floor_control"}.items()
    )
    return Content(
        title=title(table),
        sections=[
            Figure(
                name="steps",
                frame=steps,
                x="κ",
                y="steps",
                series="iteration",
                x_log=True,
                x_label="condition number κ of A",
                y_label=f"steps to a median forward error of {LOW:.0e}",
                title=growth(table),
                caption="Learned and control are counted; steps of gradient descent are what its rate says.",
            ),
            Figure(
                name="floors",
                frame=floors,
                x="κ",
                y="error",
                series="iteration",
                x_log=True,
                x_label="condition number κ of A",
                y_label="median forward error at the end",
                title=f"At the largest κ the model ends at {format_mse(table['floor'].iloc[-1])}, the control at "
                f"{format_mse(table['floor_control'].iloc[-1])}",
                caption="After 30 κ + 50 steps.",
            ),
            Table(
                frame=table,
                title="Rates and floors",
                caption=f"Steps to a median forward error of {LOW:.0e}; rate, the factor a step between {HIGH:.0e} and "
                f"{LOW:.0e}; in the limit of many steps theory gives (κ − 1)/(κ + 1), and (κ² − 1)/(κ² + 1) for plain "
                "gradient descent; floor, the median forward error after 30 κ + 50 steps.",
                formats={
                    **dict.fromkeys(("test_mse", "floor", "floor_control"), ".1e"),
                    **dict.fromkeys(("rate", "rate_control", "rate_theory", "rate_gradient_descent"), ".4f"),
                    "condition": ".0f",
                },
            ),
            Text(
                title="What was learned",
                body="One layer of linear attention, trained for each κ from random weights to emit the next iterate "
                "of gradient descent with momentum.",
            ),
        ],
        spread=f"medians over {PROBLEMS:,} problems of each condition number; one training run for each",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=lambda: pd.DataFrame([row(condition) for condition in CONDITIONS]),
            settings={
                "experiment": {NAME: Cell(experiment=NAME).key},
                "condition": list(CONDITIONS),
                "problems": PROBLEMS,
                "seed": SEED,
            },
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
