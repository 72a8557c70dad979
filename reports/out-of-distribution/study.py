"""What every shipped model emits, and the solver made of it, on problems unlike those of its training.

    python reports/out-of-distribution/study.py

One thing is changed at a time: the scale of A (b = A x follows), its condition number (singular values spread evenly in
logarithm, a mean square entry of 1, as in training), the scale of the target (x, x₀ and b, or X), the number of rows.
What is emitted is measured against the exact answer in double-double arithmetic, as ‖emitted − exact‖/‖exact‖; the
solver by its forward error against the exact rational solution: as it is shipped, its model alone without refinement,
and its control, the same solver around the exact step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import load_control, load_solver
from precisionlab.config import kind_of
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_ratio, listed
from precisionlab.runs import zoo
from precisionlab.tasks import SolverTask, heavy_ball
from precisionlab.tasks.gradient_descent import descend_exactly, padded
from precisionlab.tasks.layout import Problem
from solvers import Status, errors, reference
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.problems import random_problem

SCALES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
CONDITIONS = (1e1, 1e2, 1e3, 1e4)
ROWS = (20, 40, 200)
SEED, PROBLEMS = 2025, 128
ELSEWHERE = ("equivariant-attention/end-to-end-1e5", "equivariant-attention/end-to-end-1e7")
"""What end-to-end-1e3 is, for a larger κ: reports/any-size measures the three."""
NAMES = [name for name in zoo.names() if name not in ELSEWHERE]
SOLVERS = ("solver", "alone", "control")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How problems differ from those of training; each None or 1 as they were."""

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
    """What is measured, the training distribution first."""
    return [
        Shift(),
        *(Shift(what="scale of A", matrix=scale) for scale in SCALES),
        *(Shift(what="condition number", condition=condition) for condition in CONDITIONS),
        *(Shift(what="scale of the target", target=scale) for scale in SCALES),
        *(Shift(what="rows", rows=rows) for rows in sorted({n, *ROWS})),
    ]


def drawn(shift: Shift, rows: int, n: int, count: int, dtype: torch.dtype) -> Problem:
    """Problems, b = A x."""
    generator, m = torch.Generator().manual_seed(SEED), shift.rows or rows
    x, x0 = shift.target * torch.randn(2, count, n, dtype=torch.float64, generator=generator)
    A = torch.randn(count, m, n, dtype=torch.float64, generator=generator)
    if shift.condition is not None:
        made = random_problem(m, n, condition=shift.condition, batch=(count,), generator=generator)
        A = made.A * ((m * n) ** 0.5 / made.singular_values.norm(dim=-1))[:, None, None]
    A = (shift.matrix * A).to(dtype)
    return Problem(A, (A.double() @ x.unsqueeze(-1)).squeeze(-1).to(dtype), x0.to(dtype))


def _other(like: torch.Tensor, scale: float, *, seed: int = SEED + 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
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
    del task
    problem = _unit(problem)
    before, weight = _other(problem.x, shift.target), _other(problem.x[:, 0], 1.0, seed=SEED + 2)
    x, y = dd.from_double(problem.x), dd.from_double(before)
    descent = dd.add(dd.subtract(x, y), _negated_gradient(problem))
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
    """‖emitted − exact‖/‖exact‖ of each problem."""
    difference = dd.subtract(dd.from_double(emitted), exact)
    error: torch.Tensor = difference.hi.flatten(1).norm(dim=1) / exact.hi.flatten(1).norm(dim=1)
    return error


def measure(name: str, problems: int) -> pd.DataFrame:
    """All shifts of one model; NaN where it takes no such problem."""
    run = precisionlab.load(name)
    task = run.experiment.task
    assert isinstance(task, SolverTask)
    step, rows = task.step(run.model), []
    made = {"solver": load_solver(run), "alone": load_solver(run, refinement=None), "control": load_control(run)}
    for shift in shifts(task.n):
        problem = drawn(shift, task.rows, task.n, problems, DTYPES[run.experiment.dtype])
        row: dict[str, object] = {"model": name, "shift": shift.what, "value": shift.value}
        rows.append({**row, "emitted": _emitted(task, step, problem, shift), **_solved(made, problem)})
    return pd.DataFrame(rows)


def _emitted(task: SolverTask, step: Callable[..., torch.Tensor], problem: Problem, shift: Shift) -> float:
    if kind_of(task) not in ASKED or (shift.rows or 0) > _most_rows(step):
        return float("nan")
    given, exact = ASKED[kind_of(task)](task, problem, shift)
    return float(relative_error(step(*given), exact).median())


def _most_rows(step: object) -> float:
    """Steps that carry their rows were made for that many; the others take any number."""
    return float(getattr(step, "rows", getattr(getattr(step, "_task", None), "rows", float("inf"))))


def _solved(made: dict[str, solvers.Solver], problem: Problem) -> dict[str, float]:
    """Median forward errors; and of the solver as shipped, how many problems said CONVERGED."""
    exact = tuple(map(torch.as_tensor, reference.solve_exact(problem.A.double(), problem.b.double())))
    found = dict.fromkeys((*SOLVERS, "converged"), float("nan"))
    for name, solver in {**made, "QR": solvers.get("qr")}.items():
        try:
            result = solver.solve(problem.A, problem.b)
        except ValueError:  # more rows than the model takes
            continue
        found[name] = float(torch.as_tensor(errors.forward_error(torch.as_tensor(result.x), exact)).median())
        if name == "solver":
            found["converged"] = float((torch.as_tensor(result.status) == Status.CONVERGED).double().mean())
    return found


def measured() -> pd.DataFrame:
    """Every shipped model that makes a solver, under every shift."""
    with torch.no_grad():
        names = [name for name in NAMES if isinstance(precisionlab.load(name).experiment.task, SolverTask)]
        return pd.concat([measure(name, PROBLEMS) for name in names], ignore_index=True)


def ratios(frame: pd.DataFrame, column: str, shifts: tuple[str, ...] = ()) -> pd.Series:
    """How many times its error in distribution a model's worst is, over some shifts or all."""
    inside = frame[frame["shift"] == "none"].set_index("model")[column]
    shifted = frame[frame["shift"].isin(shifts)] if shifts else frame[frame["shift"] != "none"]
    return (shifted.groupby("model", sort=False)[column].max() / inside).dropna()


def title(frame: pd.DataFrame) -> str:
    """What the shifts cost each model's own output."""
    worst = ratios(frame, "emitted")
    told = [f"{name} {format_ratio(worst[name])}" for name in worst.index]
    return f"The worst shift multiplies the relative error of what a model emits: {', '.join(told)}"


def scaling(frame: pd.DataFrame) -> str:
    """What a change of scale costs the solvers, which scale each problem first."""
    scales = ("scale of A", "scale of the target")
    told = [f"{column} by up to {format_ratio(ratios(frame, column, scales).max())}" for column in SOLVERS]
    emitted = ratios(frame, "emitted", scales).max()
    return (
        f"A change of scale multiplies what is emitted by up to {format_ratio(emitted)}. A solver scales each problem "
        f"first, and its error is multiplied by less or by more: {', '.join(told)}."
    )


def conditioning(frame: pd.DataFrame) -> str:
    """Beside the control, under every shift: where the model is what costs digits."""
    shifted = frame[(frame["shift"] != "none") & (frame["control"] > 0)]
    beside = {
        column: (shifted[column] / shifted["control"]).groupby(shifted["model"], sort=False).max()
        for column in ("solver", "alone")
    }
    told = [
        f"{name}: solver {format_ratio(beside['solver'][name])}, alone {format_ratio(beside['alone'][name])}"
        for name in beside["solver"].index
    ]
    return f"At most, over all shifts, beside the control's error: {'; '.join(told)}."


def page(frame: pd.DataFrame) -> Content:
    """What the page says."""
    shifted = frame[frame["shift"] != "none"]
    alone = pd.concat(
        shifted.assign(series=shifted["model"] + f", {name}", error=shifted[name]) for name in ("alone", "control")
    )
    common: dict[str, Any] = {"x": "value", "panel": "shift", "x_log": True, "y_label": "relative error, median"}
    common |= {"lines": {"u of float64": 2.0**-53}}
    left_out = [name for name in NAMES if name not in set(frame["model"])]
    return Content(
        title=title(frame),
        sections=[
            Figure(
                name="emitted",
                frame=shifted[shifted["emitted"].notna()],
                y="emitted",
                series="model",
                title="What is emitted, beside the exact answer",
                **common,
            ),
            Figure(
                name="solved",
                frame=alone[alone["error"].notna()],
                y="error",
                series="series",
                group="model",
                title="The model alone in its solver, and the control: forward error beside the exact solution",
                caption="A solver scales each problem to look like those of training. Descent needs κ² iterations, "
                "momentum κ; what has not converged at the solver's own cap is shown as it stands.",
                **common,
            ),
            Text(body=f"{scaling(frame)}\n\n{conditioning(frame)}"),
            Table(
                frame=frame,
                title="Relative errors, medians",
                caption="emitted: what the model emits; solver: as shipped; alone: without refinement; control: the "
                "same solver around the exact step. A dash: the model takes no such problem, or its task has no entry "
                "for what it should emit.",
                formats=dict.fromkeys(("emitted", *SOLVERS, "QR"), ".1e") | {"value": "g", "converged": ".0%"},
            ),
            Text(
                title="Shipped models that are not in the table",
                body=f"Those whose task makes no solver: {listed(left_out) if left_out else 'none'}. On the page of "
                f"any size: {listed(ELSEWHERE)}.",
            ),
        ],
        spread=f"medians over {PROBLEMS} problems of each shift; one checkpoint of each model, as shipped",
    )


STUDY = Study(
    script=__file__,
    tables={"results": Measured(function=measured, settings={"problems": PROBLEMS, "seed": SEED}, checkpoints=NAMES)},
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
