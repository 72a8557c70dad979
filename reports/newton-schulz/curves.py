"""Figure: error against applications of the model, at three condition numbers.

    python reports/newton-schulz/curves.py

Gradient descent takes about κ² iterations, Chebyshev's method κ, Newton–Schulz 2 log₂ κ. The learned step stands beside
the true one, in the same solver; QR's level is marked. One page for each condition number.
"""

from pathlib import Path

import click
import torch

import precisionlab
import solvers
from precisionlab import measure
from precisionlab.measure import Subject
from precisionlab.precision import math_flags
from precisionlab.tasks.newton_schulz import step
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.problems import random_problem

CONDITIONS = (1e1, 1e4, 1e7)
RESIDUAL = 1.0
ITERATIONS = 100
NAME, ROWS, UNKNOWNS = "linear-attention/newton-schulz", 20, 5
COMMAND = "python reports/newton-schulz/curves.py"


def subjects() -> list[Subject]:
    """What is compared.

    Returns:
        The learned solver with and without refinement, the true step in the same solver, classical methods.
    """
    card = precisionlab.load(NAME).card
    learned = [
        measure.solver_subject(precisionlab.load_solver(NAME), shape=(ROWS, UNKNOWNS), card=card),
        _renamed(
            measure.solver_subject(precisionlab.load_solver(NAME, refinement=None), shape=(ROWS, UNKNOWNS), card=card),
            f"{NAME}, X b",
        ),
    ]
    true = measure.solver_subject(LearnedNewtonSchulz(step, name="true step, same solver"))
    classical = [measure.classical_subject(name, ITERATIONS) for name in ("gradient-descent", "chebyshev", "cgls")]
    return [*learned, true, *classical, measure.solver_subject(solvers.get("qr"))]


def _renamed(subject: Subject, name: str) -> Subject:
    return Subject(**{**vars(subject), "name": name})


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the pages go.")
@click.option("--problems", default=1000, show_default=True, help="Problems at each condition number.")
def main(out: Path, problems: int) -> None:
    """Measure the curves, and write a page for each condition number."""
    for condition in CONDITIONS:
        problem = random_problem(
            ROWS,
            UNKNOWNS,
            condition=condition,
            residual=RESIDUAL,
            batch=(problems,),
            generator=torch.Generator().manual_seed(measure.SEED),
        )
        with math_flags():
            measure.report(
                subjects(),
                out=out / f"kappa-{condition:.0e}".replace("+", ""),
                problems=problem,
                iterations=ITERATIONS,
                title=f"Newton–Schulz, learned and true: error against applications at κ = {condition:.0e}",
                command=COMMAND,
            )


if __name__ == "__main__":
    main()
