"""Least squares, end to end: read a problem, emit its solution.

    prompt  [a₁, b₁], …, [a_N, b_N]        target  argmin_x ‖b − A x‖₂

A, x ~ N(0, I) as in the paper, or A with singular values prescribed: σ₁ = κ σₙ with the others evenly spread between
them in logarithm, random singular vectors, and a mean square entry of 1, as the Gaussian has. b = A x + ρ e with
e ~ N(0, I). Without noise (ρ = 0) the target of a training example is the x that was drawn; with it, the solution by QR
in float64. Errors are measured against the solution of the problem as it stands in the prompt, in double-double.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on end-to-end Transformers, and at condition number 5.
"""

from typing import Annotated

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
        condition: κ of every A; None draws A ~ N(0, I).
        noise: ρ, the standard deviation of what is added to each entry of A x.
        repeats: How many times over the prompt is written.
    """

    n: Unknowns = 5
    rows: Rows = 20
    condition: Annotated[float, Field(ge=1)] | None = None
    noise: Annotated[float, Field(ge=0)] = 0.0
    repeats: Repeats = 1

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n)

    @property
    def summary(self) -> str:
        """What is asked for."""
        drawn = "" if self.condition is None else f", κ = {self.condition:g}"
        return f"the least-squares solution (n = {self.n}, N = {self.rows}{drawn})"

    @property
    def solver_class(self) -> type[LearnedDirect]:
        """What a model of this task becomes."""
        return LearnedDirect

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_solution

    def step(self, model: torch.nn.Module) -> "EmittedSolution":
        """What the solver is handed.

        Args:
            model: Trained on this task.

        Returns:
            The model's solution of problems no larger than those of its training.
        """
        return EmittedSolution(model, self)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch.

        Args:
            batch: Number of problems, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            Prompts (B, repeats·N, n+1) and solutions (B, n).
        """
        A, x = self._drawn(batch, generator, dtype)
        b = (A @ x.unsqueeze(-1)).squeeze(-1)
        if self.noise:
            b = b + self.noise * torch.randn(batch, self.rows, dtype=dtype, generator=generator)
            x = solve(A.double(), b.double()).to(dtype)
        return Example(rows_of(A, b).repeat(1, self.repeats, 1), x)

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The solution of the problem in the prompt, in double-double arithmetic.

        Args:
            prompt: Tokens, (B, repeats·N, n+1).

        Returns:
            (B, n).
        """
        rows = prompt[:, : self.rows].double()
        return solve_exactly(rows[..., :-1], rows[..., -1])

    def _drawn(self, batch: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        if self.condition is None:
            A = torch.randn(batch, self.rows, self.n, dtype=dtype, generator=generator)
            return A, torch.randn(batch, self.n, dtype=dtype, generator=generator)
        problem = random_problem(
            self.rows, self.n, condition=self.condition, batch=(batch,), dtype=torch.float64, generator=generator
        )
        to_unit = (self.rows * self.n) ** 0.5 / problem.singular_values.norm(dim=-1)
        return (problem.A * to_unit[:, None, None]).to(dtype), problem.x.to(dtype)


class EmittedSolution:
    """A model's solution of a problem of no more rows and unknowns than it was trained on, padded with zeros.

    Args:
        model: Prompts (B, repeats·N, n+1) → (B, n).
        task: What it was trained on.
    """

    def __init__(self, model: torch.nn.Module, task: LeastSquares) -> None:
        self._model, self._task = model, task
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Emit the solution.

        Args:
            A: Matrices, (B, m, n).
            b: Right-hand sides, (B, m).

        Returns:
            (B, n), of the dtype of A.
        """
        n = A.shape[-1]
        tokens = rows_of(*padded(A, b, rows=self._task.rows, n=self._task.n)).repeat(1, self._task.repeats, 1)
        emitted: torch.Tensor = self._model(tokens.to(self._dtype))[:, :n]
        return emitted.to(A.dtype)
