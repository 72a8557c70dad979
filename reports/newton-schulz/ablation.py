"""Table: what the learned step needs to be stable, taken away one at a time.

    python reports/newton-schulz/ablation.py

The same training with and without its snap phase, iterated with and without balancing of A and X, never refined: the
forward error of X b at each condition number, and how many problems said CONVERGED. The polynomial of the unsnapped
model, evaluated by its formula, tells its spurious coefficients from the rounding of a basis that mixes A with X.
"""

import csv
from itertools import product
from pathlib import Path

import click
import torch

from precisionlab.experiments import get
from precisionlab.models import Backbone
from precisionlab.models.polynomial import describe, extract
from precisionlab.precision import math_flags
from precisionlab.runs.run import build
from precisionlab.tasks.newton_schulz import EmittedStep, prompt, step
from precisionlab.training import Objective, fit
from precisionlab.training.snap import Snap
from precisionlab.training.trainer import Progress
from solvers import errors, reference
from solvers.learned.newton_schulz import LearnedNewtonSchulz, MatrixStep
from solvers.problems import random_problem

NAME = "linear-attention/newton-schulz"
CONDITIONS = (1e1, 1e3, 1e5, 1e7, 1e9)
ROWS, UNKNOWNS, SEED = 20, 5, 1933
TABLE, ALGORITHMS = "ablation.csv", "algorithms.txt"


def trained(*, snap: bool, seed: int = 0) -> Backbone:
    """Train the model.

    Args:
        snap: Whether the recipe's snap phase is taken.
        seed: Of the run.

    Returns:
        The model, with the weights that were best on the validation problems.

    Raises:
        RuntimeError: If no weights came of it.
    """
    experiment = get(NAME)
    objective = Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=seed)
    phases = [phase for phase in experiment.phases if snap or not isinstance(phase, Snap)]
    progress = Progress()
    fit(objective, phases, attempts=experiment.attempts, progress=progress)
    if progress.best is None:
        raise RuntimeError("training ended before a single row was measured")
    return build(experiment, objective.named(progress.best), device="cpu", source="training")


def measure(subject: MatrixStep, condition: float, *, balance: bool, problems: int) -> dict[str, float]:
    """Iterate a step on consistent problems of one condition number.

    Args:
        subject: The step.
        condition: κ.
        balance: Whether it is given A and X of one size.
        problems: How many.

    Returns:
        Median and 95th percentile of the forward error of X b, and how many problems converged.
    """
    generator = torch.Generator().manual_seed(SEED)
    problem = random_problem(ROWS, UNKNOWNS, condition=condition, batch=(problems,), generator=generator)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    result = LearnedNewtonSchulz(subject, balance=balance, refinement=None).solve(problem.A, problem.b)
    error = torch.as_tensor(errors.forward_error(result.x, (torch.as_tensor(hi), torch.as_tensor(lo)))).double()
    error = error.nan_to_num(nan=float("inf"))
    return {
        "median": float(error.sort().values[len(error) // 2]),
        "p95": float(error.sort().values[int(0.95 * len(error))]),
        "converged": int(torch.as_tensor(result.converged).sum()),
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the table goes.")
@click.option("--problems", default=200, show_default=True, help="Problems at each condition number.")
def main(out: Path, problems: int) -> None:
    """Train, measure, and write the table."""
    out.mkdir(parents=True, exist_ok=True)
    with math_flags():
        models = {"trained": trained(snap=False), "trained and snapped": trained(snap=True)}
        steps: dict[str, MatrixStep] = {name: EmittedStep(model, n=UNKNOWNS) for name, model in models.items()}
        polynomial = extract(models["trained"])
        steps["trained, its polynomial"] = lambda A, X: polynomial(prompt(A, X)).mT
        steps["true"] = step
        rows = [
            {"step": name, "balanced": balance, "condition": condition, "problems": problems}
            | measure(steps[name], condition, balance=balance, problems=problems)
            for name, balance, condition in product(steps, (False, True), CONDITIONS)
        ]
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    text = "\n\n".join(f"{name}\n{describe(model)}" for name, model in models.items())
    (out / ALGORITHMS).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
