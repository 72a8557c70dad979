"""Table: what every shipped model emits, and the solver made of it, on problems unlike those of its training.

    python reports/out-of-distribution/study.py

One thing is changed at a time: the scale of A (b = A x follows), its condition number (singular values spread evenly in
logarithm, a mean square entry of 1, as in training), the scale of the target (x, x₀ and b, or X), the number of rows.
What is emitted is measured against the exact answer in double-double arithmetic, as ‖emitted − exact‖/‖exact‖; the
solver by its forward error against the exact rational solution. Both beside their own error in distribution, and the
solver's beside Householder QR's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab.config import kind_of
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.runs import zoo
from precisionlab.tasks import SolverTask, chebyshev, heavy_ball
from precisionlab.tasks.gradient_descent import descend_exactly, padded
from precisionlab.tasks.layout import Problem
from solvers import Status, errors, reference
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.problems import random_problem

SCALES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
CONDITIONS = (1e1, 1e2, 1e3, 1e4)
ROWS = (20, 40, 200)
SEED = 2025
COMMAND = "python reports/out-of-distribution/study.py"


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How problems differ from those of training; each None or 1 as they were.

    Args:
        what: What is changed, for the table.
        rows: Rows.
        matrix: Scale of A.
        condition: κ.
        target: Scale of x, x₀ and X.
    """

    what: str = "none"
    rows: int | None = None
    matrix: float = 1.0
    condition: float | None = None
    target: float = 1.0

    @property
    def value(self) -> float:
        """What it is changed to; 1 where nothing is."""
        changed = {"scale of A": self.matrix, "condition number": self.condition, "scale of the target": self.target}
        return float(changed.get(self.what, self.rows) or 1.0)


def shifts(n: int) -> list[Shift]:
    """What is measured, the training distribution first.

    Args:
        n: Unknowns; as few rows are one of the shifts.

    Returns:
        The shifts.
    """
    return [
        Shift(),
        *(Shift(what="scale of A", matrix=scale) for scale in SCALES),
        *(Shift(what="condition number", condition=condition) for condition in CONDITIONS),
        *(Shift(what="scale of the target", target=scale) for scale in SCALES),
        *(Shift(what="rows", rows=rows) for rows in sorted({n, *ROWS})),
    ]


def drawn(shift: Shift, rows: int, n: int, count: int, dtype: torch.dtype) -> Problem:
    """Problems, b = A x.

    Args:
        shift: How they are drawn.
        rows: Rows, unless the shift says.
        n: Unknowns.
        count: How many.
        dtype: What they are rounded to.

    Returns:
        Problems and iterates.
    """
    generator, m = torch.Generator().manual_seed(SEED), shift.rows or rows
    x, x0 = shift.target * torch.randn(2, count, n, dtype=torch.float64, generator=generator)
    A = torch.randn(count, m, n, dtype=torch.float64, generator=generator)
    if shift.condition is not None:
        made = random_problem(m, n, condition=shift.condition, batch=(count,), generator=generator)
        A = made.A * ((m * n) ** 0.5 / made.singular_values.norm(dim=-1))[:, None, None]
    A = (shift.matrix * A).to(dtype)
    return Problem(A, (A.double() @ x.unsqueeze(-1)).squeeze(-1).to(dtype), x0.to(dtype))


def _other(like: torch.Tensor, scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED + 1)
    return (scale * torch.randn(like.shape, dtype=torch.float64, generator=generator)).to(like.dtype)


def _negated_gradient(problem: Problem) -> DD:
    A, b, x = (part.double() for part in problem)
    return dd.matvec(A.mT, dd.subtract(dd.from_double(b), dd.matvec(A, dd.from_double(x))))


def _times(value: float, a: DD) -> DD:
    return dd.multiply(dd.from_double(torch.full_like(a.hi, value)), a)


Asked = tuple[tuple[torch.Tensor, ...], DD]
"""What a task's step is given, and what it should emit."""


def _gradient(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    del task, shift
    return tuple(problem), dd.negate(_negated_gradient(problem))


def _descent(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    del shift
    whole = Problem(*padded(problem.A, problem.b, rows=task.rows, n=task.n), problem.x)
    steps, eta = task.steps, task.step_size  # type: ignore[attr-defined]
    return tuple(problem), descend_exactly(whole, steps=steps, step_size=eta)


def _unit(problem: Problem) -> Problem:
    """Singular values about 1: A and b over √m, to a power of two so that nothing rounds."""
    scale = 2.0 ** -round(torch.tensor(float(problem.A.shape[-2])).log2().item() / 2)
    return Problem(problem.A * scale, problem.b * scale, problem.x)


def _momentum(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    problem = _unit(problem)
    before = _other(problem.x, shift.target)
    x, y = dd.from_double(problem.x), dd.from_double(before)
    alpha, beta = heavy_ball.coefficients(task.condition)  # type: ignore[attr-defined]
    moved = dd.add(_times(alpha, _negated_gradient(problem)), _times(beta, dd.subtract(x, y)))
    return (*problem, before), dd.add(x, moved)


def _chebyshev(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    problem = _unit(problem)
    before, weight = _other(problem.x, shift.target), _other(problem.x[:, 0], 1.0)
    x, y = dd.from_double(problem.x), dd.from_double(before)
    size = chebyshev.step_size(task.condition)  # type: ignore[attr-defined]
    descent = dd.add(dd.subtract(x, y), _times(size, _negated_gradient(problem)))
    weights = dd.from_double(weight.unsqueeze(-1).expand_as(problem.x))
    return (*problem, before, weight), dd.add(y, dd.multiply(weights, descent))


def _newton_schulz(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    del task
    A, X = problem.A, _other(problem.A.mT, shift.target)
    left, right = X.double(), A.double()
    product = dd.dot(dd.from_double(left.unsqueeze(-2)), dd.from_double(right.mT.unsqueeze(-3)))  # X A
    rows = DD(product.hi.unsqueeze(-3), product.lo.unsqueeze(-3))
    image = dd.dot(rows, dd.from_double(left.mT.unsqueeze(-2)))  # (X A) x_j, for each column
    exact = dd.subtract(dd.from_double(2 * left.mT), image)
    return (A, X), DD(exact.hi.mT, exact.lo.mT)


def _solution(task: SolverTask, problem: Problem, shift: Shift) -> Asked:
    del task, shift
    hi, lo = reference.solve_exact(problem.A, problem.b)
    return (problem.A, problem.b), DD(torch.as_tensor(hi), torch.as_tensor(lo))


ASKED: dict[str, Callable[[SolverTask, Problem, Shift], Asked]] = {
    "chebyshev": _chebyshev,
    "explicit-gradient": _gradient,
    "gradient-descent": _descent,
    "heavy-ball": _momentum,
    "least-squares": _solution,
    "newton-schulz": _newton_schulz,
}
"""By task kind; a further kind of solver task is measured as a solver alone, and the page says so."""


def relative_error(emitted: torch.Tensor, exact: DD) -> torch.Tensor:
    """‖emitted − exact‖/‖exact‖ of each problem.

    Args:
        emitted: (B, ...).
        exact: Of the same shape.

    Returns:
        (B,).
    """
    difference = dd.subtract(dd.from_double(emitted), exact)
    error: torch.Tensor = difference.hi.flatten(1).norm(dim=1) / exact.hi.flatten(1).norm(dim=1)
    return error


def measure(name: str, problems: int) -> pd.DataFrame:
    """All shifts of one model.

    Args:
        name: A shipped checkpoint whose task makes a solver.
        problems: How many of each shift.

    Returns:
        One row a shift; NaN where a model takes no such problem.
    """
    run = precisionlab.load(name)
    task = run.experiment.task
    assert isinstance(task, SolverTask)
    step, solver, rows = task.step(run.model), precisionlab.load_solver(run), []
    for shift in shifts(task.n):
        problem = drawn(shift, task.rows, task.n, problems, DTYPES[run.experiment.dtype])
        row: dict[str, object] = {"model": name, "shift": shift.what, "value": shift.value}
        row |= {"emitted": _emitted(task, step, problem, shift), **_solved(solver, problem)}
        rows.append(row)
    frame = pd.DataFrame(rows)
    for column in ("emitted", "solver"):
        frame.insert(list(frame).index(column) + 1, f"{column}, ratio", frame[column] / frame[column].iloc[0])
    return frame


def _emitted(task: SolverTask, step: Callable[..., torch.Tensor], problem: Problem, shift: Shift) -> float:
    if kind_of(task) not in ASKED or (shift.rows or 0) > _most_rows(step):
        return float("nan")
    given, exact = ASKED[kind_of(task)](task, problem, shift)
    return float(relative_error(step(*given), exact).median())


def _most_rows(step: object) -> float:
    """Steps that carry their rows were made for that many; the others take any number."""
    return float(getattr(step, "rows", getattr(getattr(step, "_task", None), "rows", float("inf"))))


def _solved(solver: solvers.Solver, problem: Problem) -> dict[str, float]:
    exact = tuple(map(torch.as_tensor, reference.solve_exact(problem.A.double(), problem.b.double())))

    def error(answer: object) -> float:
        return float(torch.as_tensor(errors.forward_error(torch.as_tensor(answer), exact)).median())  # type: ignore[arg-type]

    qr = error(solvers.get("qr").solve(problem.A, problem.b).x)
    try:
        result = solver.solve(problem.A, problem.b)
    except ValueError:  # more rows than the model takes
        return {"solver": float("nan"), "converged": 0.0, "QR": qr}
    converged = (torch.as_tensor(result.status) == Status.CONVERGED).double().mean()
    return {"solver": error(result.x), "converged": float(converged), "QR": qr}


def conclusion(frame: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        frame: All models.

    Returns:
        The page's title.
    """
    ratios = frame.groupby("model")["emitted, ratio"].max()
    held = int((ratios <= 1e2).sum())
    scaled = frame[frame["shift"].isin(["scale of A", "scale of the target"])]["solver, ratio"].max()
    return (
        f"Under every shift {held} of {len(ratios)} shipped models emit answers with at most a hundred times their "
        f"relative error in distribution (the largest ratio is {ratios.max():.1g}, {ratios.idxmax()}); their solvers "
        f"scale each problem first, and no change of scale costs them more than a factor of {scaled:.2g}"
    )


def sections(frame: pd.DataFrame, unmeasured: dict[str, str]) -> list[Figure | Table | Text]:
    """What the page shows.

    Args:
        frame: All models.
        unmeasured: Models that are left out, and why.

    Returns:
        Its sections.
    """
    shifted = frame[frame["shift"] != "none"]
    common = {"x": "value", "series": "model", "panel": "shift", "x_log": True, "y_label": "relative error, median"}
    formats = {"value": "g", "emitted": ".1e", "solver": ".1e", "QR": ".1e", "converged": ".0%"}
    formats |= {"emitted, ratio": ".2g", "solver, ratio": ".2g"}
    left_out = "".join(f"\n\n{name}: {why}." for name, why in unmeasured.items()) or "\n\nnone."
    return [
        Figure(
            name="emitted",
            frame=shifted[shifted["emitted"].notna()],
            y="emitted",
            title="What is emitted, beside the exact answer",
            lines={"u of float64": 2.0**-53},
            **common,  # type: ignore[arg-type]
        ),
        Figure(
            name="solved",
            frame=shifted[shifted["solver"].notna()],
            y="solver",
            title="The solver made of it: forward error beside the exact solution",
            caption="A solver scales each problem to look like those of training. Descent needs κ² iterations, "
            "momentum κ; what has not converged at the solver's own cap is shown as it stands.",
            lines={"u of float64": 2.0**-53},
            **common,  # type: ignore[arg-type]
        ),
        Table(
            name="shifts",
            frame=frame,
            title="Relative errors, medians, and their ratio to those in distribution",
            caption="A dash: the model takes no such problem, or its task has no entry for what it should emit.",
            formats=formats,
        ),
        Text(title="Shipped models that are not in the table", body=f"Those whose task makes no solver:{left_out}"),
    ]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the page goes.")
@click.option("--problems", default=128, show_default=True, help="Problems of each shift.")
def main(out: Path, problems: int) -> None:
    """Measure every shipped model under every shift, and write the page."""
    frames, unmeasured = [], {}
    with math_flags(), torch.no_grad():
        for name in zoo.names():
            task = precisionlab.load(name).experiment.task
            if isinstance(task, SolverTask):
                frames.append(measure(name, problems))
            else:
                unmeasured[name] = f"the task {kind_of(task)!r} makes no solver"
    frame = pd.concat(frames, ignore_index=True)
    write_page(
        out,
        title=conclusion(frame),
        sections=sections(frame, unmeasured),
        spread=f"medians over {problems} problems of each shift; one checkpoint of each model, as shipped",
        config={"problems": problems, "seed": SEED, "models": zoo.names()},
        environment=environment("cpu"),
        command=COMMAND,
    )


if __name__ == "__main__":
    main()
