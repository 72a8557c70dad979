"""Gradient descent, k steps: read a least-squares problem and an iterate, emit the iterate k steps on.

    prompt  [x₀, 0], [a₁, b₁], …, [a_N, b_N]        target  x_k,   x_{j+1} = x_j − (η/N) Aᵀ(A x_j − b)

which is descent on ½‖A x − b‖²/N with step size η: the 1/N belongs to the objective, so that η = 1/2 contracts for
A ~ N(0, I) whatever N is, AᵀA/N being near the identity. Drawn as the explicit gradient: A, x, x₀ ~ N(0, I), b = A x.
The target has degree 2k + 1 in the prompt, and a layer's worth of reading: a model is not shown x₁, …, x_{k−1} in its
prompt. `iterates` computes them, for whoever wants to train with them or to compare layers with them.

Where the iterate stands and how often the prompt is written: `layout`.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on k-step iterates (k = 4, η = 1/2).
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from precisionlab.tasks import layout
from precisionlab.tasks.drawing import Rows, Unknowns, gaussian, want_problem
from precisionlab.tasks.explicit_gradient import gradient
from precisionlab.tasks.layout import Problem, Query, Repeats
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.iterates import ExactDescent, LearnedIteration


def descend(problem: Problem, *, steps: int, step_size: float) -> torch.Tensor:
    """The iterates as the formula has them.

    Args:
        problem: Rows, right-hand sides and x₀.
        steps: k.
        step_size: η.

    Returns:
        x₁, …, x_k, (B, k, n), of the problem's dtype.
    """
    A, b, x = problem
    iterates = []
    for _ in range(steps):
        x = x - step_size * gradient(A, b, x)
        iterates.append(x)
    return torch.stack(iterates, dim=1)


def descend_exactly(problem: Problem, *, steps: int, step_size: float) -> DD:
    """The k-th iterate in double-double arithmetic.

    Args:
        problem: Rows, right-hand sides and x₀, float32 or float64.
        steps: k.
        step_size: η, the float64 number.

    Returns:
        x_k, (B, n).

    Error:
        About k·N·2⁻¹⁰⁴ of the largest term, each step's growing with ‖I − (η/N) AᵀA‖.
    """
    A, b = problem.A.double(), dd.from_double(problem.b)
    x = dd.from_double(problem.x)
    eta, rows = (dd.from_double(torch.full_like(x.hi, value)) for value in (step_size, float(A.shape[-2])))
    for _ in range(steps):
        descent = dd.matvec(A.mT, dd.subtract(b, dd.matvec(A, x)))
        x = dd.add(x, dd.divide(dd.multiply(eta, descent), rows))
    return x


@task("gradient-descent")
class GradientDescent(FromPair):
    """Emit the iterate k steps of gradient descent on.

    Args:
        n: Unknowns.
        rows: Rows of A, N.
        steps: k.
        step_size: η, of descent on ½‖A x − b‖²/N.
        query: Whether the iterate stands before the rows or after them.
        repeats: How many times over the prompt is written.
        active_rows: Rows of a problem that are not zero; None for all. See `drawing`.
        iterate_scale: Standard deviation of the entries of x₀. See `drawing`.
    """

    n: Unknowns = 5
    rows: Rows = 20
    steps: Annotated[int, Field(gt=0, le=2**8)] = 4
    step_size: PositiveFloat = 0.5
    query: Query = "first"
    repeats: Repeats = 1
    active_rows: PositiveInt | None = None
    iterate_scale: PositiveFloat = 1.0
    solver_class: ClassVar[type[LearnedIteration]] = LearnedIteration

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n, active_rows=self.active_rows)

    @property
    def summary(self) -> str:
        """What is asked for."""
        count = "1 step" if self.steps == 1 else f"{self.steps} steps"
        return f"the iterate after {count} of gradient descent (n = {self.n}, N = {self.rows})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return ExactDescent(self.rows, self.step_size, self.steps)

    def step(self, model: torch.nn.Module) -> "EmittedDescent":
        """What the solver is handed."""
        return EmittedDescent(model, self)

    def iterates(self, prompt: torch.Tensor) -> torch.Tensor:
        """All that lies on the way to the target."""
        problem = layout.read(prompt, query=self.query, repeats=self.repeats)
        return descend(problem, steps=self.steps, step_size=self.step_size)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A, x, x₀ ~ N(0, I), b = A x."""
        problem = gaussian(
            batch,
            self.rows,
            self.n,
            generator=generator,
            dtype=dtype,
            active_rows=self.active_rows,
            iterate_scale=self.iterate_scale,
        )
        target = descend(problem, steps=self.steps, step_size=self.step_size)[:, -1]
        return Example(layout.write(problem, query=self.query, repeats=self.repeats), target)

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The iterate in double-double arithmetic."""
        problem = layout.read(prompt.double(), query=self.query, repeats=self.repeats)
        return descend_exactly(problem, steps=self.steps, step_size=self.step_size)


class EmittedDescent:
    """A model's k steps for a problem of no more rows and unknowns than it was trained on.

    A row or an unknown of zeros leaves every iterate as it is, so that smaller problems are padded with zeros. More
    rows cannot be had: k steps, unlike a gradient, are not a sum over blocks of rows.

    Args:
        model: Prompts (B, T, n+1) → (B, n).
        task: What it was trained on.
    """

    def __init__(self, model: torch.nn.Module, task: GradientDescent) -> None:
        self._model, self._task = model, task
        self._dtype = next(model.parameters()).dtype
        self.rows, self.step_size = task.rows, task.step_size

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Emit the iterate k steps on: (B, n)."""
        task, n = self._task, A.shape[-1]
        A, b = padded(A, b, rows=task.rows, n=task.n)
        x = torch.nn.functional.pad(x, (0, task.n - n))
        tokens = layout.write(Problem(A, b, x), query=task.query, repeats=task.repeats)
        emitted: torch.Tensor = self._model(tokens.to(self._dtype))[:, :n]
        return emitted.to(A.dtype)


def padded(A: torch.Tensor, b: torch.Tensor, *, rows: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A problem with rows and unknowns of zeros added, up to a model's.

    Args:
        A: Matrices, (B, m, k).
        b: Right-hand sides, (B, m).
        rows: Rows wanted, at least m.
        n: Unknowns wanted, at least k.

    Returns:
        A (B, rows, n) and b (B, rows).

    Raises:
        ValueError: If the problem is larger than that.
    """
    for what, got, most in (("rows", A.shape[-2], rows), ("unknowns", A.shape[-1], n)):
        if got > most:
            raise ValueError(f"A: got {got} {what}, want at most {most}: the model was trained on that many")
    pad, missing = torch.nn.functional.pad, rows - A.shape[-2]
    return pad(A, (0, n - A.shape[-1], 0, missing)), pad(b, (0, missing))
