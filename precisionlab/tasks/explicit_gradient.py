"""Explicit gradient: read a least-squares problem and an iterate, emit the gradient there.

    prompt  [x₀, 0], [a₁, b₁], …, [a_N, b_N]        target  Aᵀ(A x₀ − b)/N

With `query = "last"` the iterate stands after the rows, and with `repeats` the prompt is read several times over
(`layout`).

Drawn as in the paper: A, x, x₀ ~ N(0, I) and b = A x. Subtracting a multiple of N times the emitted gradient from x₀ is
a step of gradient descent on ½‖b − A x‖².

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, section 4.
"""

from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from precisionlab.tasks import layout
from precisionlab.tasks.drawing import Rows, Unknowns, gaussian, want_problem
from precisionlab.tasks.layout import Problem, Query, Repeats
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.gradient import LearnedGradient, exact_gradient


def gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient as the formula has it, Aᵀ(A x − b)/N.

    Args:
        A: Rows, (..., N, n).
        b: Right-hand sides, (..., N).
        x: Iterates, (..., n).

    Returns:
        Gradients, (..., n).
    """
    residual = b - (A @ x.unsqueeze(-1)).squeeze(-1)
    return -(A.mT @ residual.unsqueeze(-1)).squeeze(-1) / A.shape[-2]


def prompt(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Write a problem and an iterate as tokens, in the layout of the paper.

    Args:
        A: Rows, (B, N, n).
        b: Right-hand sides, (B, N).
        x: Iterates, (B, n).

    Returns:
        Tokens, (B, N+1, n+1): token 0 is [x, 0], token i is [a_i, b_i].
    """
    return layout.write(Problem(A, b, x))


@task("explicit-gradient")
class ExplicitGradient(FromPair):
    """Emit the least-squares gradient at an iterate.

    Args:
        n: Unknowns.
        rows: Rows of A, N.
        query: Whether the iterate stands before the rows or after them.
        repeats: How many times over the prompt is written.
        active_rows: Rows of a problem that are not zero; None for all. See `drawing`.
        iterate_scale: Standard deviation of the entries of x₀. See `drawing`.
    """

    n: Unknowns = 5
    rows: Rows = 20
    query: Query = "first"
    repeats: Repeats = 1
    active_rows: PositiveInt | None = None
    iterate_scale: PositiveFloat = 1.0
    solver_class: ClassVar[type[LearnedGradient]] = LearnedGradient

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n, active_rows=self.active_rows)

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"the least-squares gradient Aᵀ(A x₀ − b)/N (n = {self.n}, N = {self.rows})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_gradient

    def step(self, model: torch.nn.Module) -> "EmittedGradient":
        """What the solver is handed."""
        return EmittedGradient(model, self)

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
        return Example(layout.write(problem, query=self.query, repeats=self.repeats), gradient(*problem))

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The gradient in double-double arithmetic: (B, n)."""
        A, b, x = layout.read(prompt.double(), query=self.query, repeats=self.repeats)
        residual = dd.subtract(dd.matvec(A, dd.from_double(x)), dd.from_double(b))
        product = dd.matvec(A.mT, residual)
        return dd.divide(product, dd.from_double(torch.full_like(x, float(self.rows))))


class EmittedGradient:
    """A model's emitted gradient for any problem: Aᵀ(A x − b), any number of rows, no more unknowns than trained.

    The gradient of a sum of squares is the sum over blocks of rows, and a row or an unknown of zeros adds nothing. So A
    is cut into blocks of the rows the model was trained on, the last block and the unknowns padded with zeros.

    Args:
        model: Prompts (B, T, n+1) → (B, n).
        task: What it was trained on.
    """

    def __init__(self, model: torch.nn.Module, task: ExplicitGradient) -> None:
        self._model, self._rows, self._n = model, task.rows, task.n
        self._write = partial(layout.write, query=task.query, repeats=task.repeats)
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Emit the gradient: (B, n)."""
        batch, m, n = A.shape
        rows, most = (m, n) if getattr(self._model, "any_size", False) else (self._rows, self._n)
        if n > most:
            raise ValueError(f"A: got {n} unknowns, want at most {most}: the model was trained on that many")
        blocks = -(-m // rows)
        pad = torch.nn.functional.pad
        A = pad(A, (0, most - n, 0, blocks * rows - m)).reshape(batch * blocks, rows, most)
        b = pad(b, (0, blocks * rows - m)).reshape(batch * blocks, rows)
        x = pad(x, (0, most - n)).repeat_interleave(blocks, dim=0)
        emitted = self._model(self._write(Problem(A, b, x)).to(self._dtype))
        gradients: torch.Tensor = emitted.reshape(batch, blocks, most)[..., :n].to(A.dtype).sum(dim=1) * rows
        return gradients
