"""Least squares, end to end: read a problem, emit its solution.

    prompt  [a₁, b₁], …, [a_N, b_N]        target  argmin_x ‖b − A x‖₂

A, x ~ N(0, I) as in the paper, or A with singular values prescribed, by `spectrum`:
    "geometric"  σ₁ = κ σₙ, the others evenly spread between them in logarithm, mean square entry 1: a spectrum that is
                 fixed whole, on which one polynomial of degree n solves every problem; a control
    "extremes"   the paper's: those of a Gaussian A, mapped affinely to [1, κ]
    "free"       each drawn from [1/κ, 1], half evenly in logarithm and half towards both ends, as Chebyshev's points
A share of the problems may be Gaussian all the same. With `axes` n problems in a row have one A, and its right singular
vectors for solutions, of mean square 1: every direction is asked for by itself. b = A x + ρ e with e ~ N(0, I). Without
noise (ρ = 0) the target of a training example is the x that was drawn; with it, the solution by QR in float64. Errors
are measured against the solution of the problem as it stands in the prompt, in double-double.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on end-to-end Transformers, and at condition number 5.
"""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from precisionlab.tasks.drawing import Rows, Unknowns, want_problem
from precisionlab.tasks.exact_least_squares import solve, solve_exactly
from precisionlab.tasks.gradient_descent import padded
from precisionlab.tasks.layout import Repeats, rows_of
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.iterates import LearnedDirect, exact_solution
from solvers.problems import random_problem


@task("least-squares")
class LeastSquares(FromPair):
    """Emit the least-squares solution.

    Args:
        n: Unknowns.
        rows: Rows of A, N.
        condition: κ; None draws A ~ N(0, I).
        spectrum: How singular values are drawn where there is a κ.
        gaussian: Share of the problems that are Gaussian where there is a κ.
        axes: Whether n problems in a row share their A, with its right singular vectors for solutions.
        spread: A and b are multiplied by up to 1 + spread, or divided, each A by its own factor.
        noise: ρ, the standard deviation of what is added to each entry of A x.
        repeats: How many times over the prompt is written.
    """

    n: Unknowns = 5
    rows: Rows = 20
    condition: Annotated[float, Field(ge=1)] | None = None
    spectrum: Literal["geometric", "extremes", "free"] = "geometric"
    gaussian: Annotated[float, Field(ge=0, lt=1)] = 0.0
    axes: bool = False
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0)] = 0.0
    repeats: Repeats = 1
    solver_class: ClassVar[type[LearnedDirect]] = LearnedDirect

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n)
        if self.condition is None and (self.spectrum != "geometric" or self.gaussian):
            raise ValueError("condition: wants a κ beside a spectrum or a share of Gaussian problems")
        if self.spectrum == "extremes" and self.n < 2:
            raise ValueError("spectrum: 'extremes' wants n of at least 2")

    @property
    def summary(self) -> str:
        """What is asked for."""
        spread = {"geometric": "", "extremes": ", extremes fixed", "free": " at most"}[self.spectrum]
        drawn = "" if self.condition is None else f", κ = {self.condition:g}{spread}"
        return f"the least-squares solution (n = {self.n}, N = {self.rows}{drawn})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_solution

    def step(self, model: torch.nn.Module) -> "EmittedSolution":
        """What the solver is handed."""
        return EmittedSolution(model, self)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch."""
        A, x = self._drawn(batch, generator, dtype)
        b = (A @ x.unsqueeze(-1)).squeeze(-1)
        if self.noise:
            b = b + self.noise * torch.randn(batch, self.rows, dtype=dtype, generator=generator)
            x = solve(A.double(), b.double()).to(dtype)
        return Example(rows_of(A, b).repeat(1, self.repeats, 1), x)

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The solution of the problem in the prompt, in double-double arithmetic: (B, n)."""
        rows = prompt[:, : self.rows].double()
        return solve_exactly(rows[..., :-1], rows[..., -1])

    def _drawn(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.axes:
            return self._scaled(batch, generator, dtype)
        A, _ = self._scaled(-(-batch // self.n), generator, dtype)
        x = math.sqrt(self.n) * torch.linalg.svd(A.double(), full_matrices=False)[2].flatten(0, 1)
        return A.repeat_interleave(self.n, dim=0)[:batch], x[:batch].to(dtype)

    def _scaled(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        A, x = self._alone(batch, generator, dtype)
        if self.spread:
            draw = 2 * torch.rand(batch, 1, 1, dtype=dtype, generator=generator) - 1
            A = A * (1 + self.spread * draw.abs()).pow(draw.sign())
        return A, x

    def _alone(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        if self.condition is None:
            A = torch.randn(batch, self.rows, self.n, dtype=dtype, generator=generator)
            return A, torch.randn(batch, self.n, dtype=dtype, generator=generator)
        if self.spectrum == "geometric":
            problem = random_problem(
                self.rows, self.n, condition=self.condition, batch=(batch,), dtype=torch.float64, generator=generator
            )
            to_unit = (self.rows * self.n) ** 0.5 / problem.singular_values.norm(dim=-1)
            return (problem.A * to_unit[:, None, None]).to(dtype), problem.x.to(dtype)
        gaussian = torch.randn(batch, self.rows, self.n, dtype=torch.float64, generator=generator)
        U, s, Vh = torch.linalg.svd(gaussian, full_matrices=False)
        drawn = _extremes(s, self.condition) if self.spectrum == "extremes" else _free(s, self.condition, generator)
        A = (U * drawn.unsqueeze(-2)) @ Vh
        count = round(self.gaussian * batch)
        A[:count] = gaussian[:count]
        return A.to(dtype), torch.randn(batch, self.n, dtype=dtype, generator=generator)


def _extremes(s: torch.Tensor, condition: float) -> torch.Tensor:
    """Falling singular values (B, n), n >= 2, mapped affinely so that the smallest is 1 and the largest κ."""
    low, high = s[:, -1:], s[:, :1]
    return 1 + (condition - 1) * (s - low) / (high - low)


def _free(s: torch.Tensor, condition: float, generator: torch.Generator) -> torch.Tensor:
    """Singular values of the shape of s, each drawn for itself from [1/κ, 1]; both ends are among them."""
    u, which = torch.rand(2, *s.shape, dtype=s.dtype, generator=generator)
    even = condition**-u
    ends = 1 / condition + (1 - 1 / condition) * (1 - torch.cos(math.pi * u)) / 2
    drawn = torch.where(which < 0.5, even, ends)
    drawn[0, 0] = 1.0
    drawn[-1, -1] = 1 / condition
    return drawn


class EmittedSolution:
    """A model's solution: of any problem where its weights act on channels alone, else padded with zeros to its size.

    A model trained on singular values of at most 1 (spectrum "free") reads A times the power of two that brings them to
    between 1/2 and 1, and its answer times the same is the solution.

    Args:
        model: Prompts (B, repeats·N, n+1) → (B, n).
        task: What it was trained on.
    """

    def __init__(self, model: torch.nn.Module, task: LeastSquares) -> None:
        self._model, self._task = model, task
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Emit the solution: (B, n)."""
        n, unit = A.shape[-1], torch.ones_like(A[:, 0, 0])
        if self._task.spectrum == "free":
            size = torch.linalg.matrix_norm(A, ord=2)
            unit = torch.where(size > 0, torch.exp2(-size.log2().ceil()), 1.0)
            A = A * unit[:, None, None]
        if not getattr(self._model, "any_size", False):
            A, b = padded(A, b, rows=self._task.rows, n=self._task.n)
        tokens = rows_of(A, b).repeat(1, self._task.repeats, 1)
        emitted: torch.Tensor = self._model(tokens.to(self._dtype))[:, :n]
        return emitted.to(A.dtype) * unit[:, None]
