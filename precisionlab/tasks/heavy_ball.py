"""Heavy ball: read a problem and two iterates, emit the next one of gradient descent with momentum.

    prompt  [a₁, b₁, x, y], …, [a_N, b_N, x, y]        target  x + α Aᵀ(b − A x) + β (x − y)

y is the iterate before x. With singular values in [1/κ, 1], α = 4/(1 + 1/κ)² and β = ((κ − 1)/(κ + 1))² contract the
error by (κ − 1)/(κ + 1) a step in the limit, where plain descent has (κ² − 1)/(κ² + 1): what Chebyshev's method
settles to. Every token holds both iterates, so that one layer of linear attention can hold the target.

Reference: Polyak, Some methods of speeding up the convergence of iteration methods (1964).
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from precisionlab.tasks.drawing import Rows, Unknowns, want_problem
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.iterates import ExactMomentum, LearnedMomentum


def coefficients(condition: float) -> tuple[float, float]:
    """Step and momentum for singular values in [1/κ, 1].

    Args:
        condition: κ.

    Returns:
        α and β.
    """
    return 4 / (1 + 1 / condition) ** 2, ((condition - 1) / (condition + 1)) ** 2


def step(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor, *, condition: float) -> torch.Tensor:
    """The step as the formula has it.

    Args:
        A: Matrices, (..., N, n).
        b: Right-hand sides, (..., N).
        x: Iterates, (..., n).
        before: The iterates before, (..., n).
        condition: κ.

    Returns:
        The next iterates, (..., n).
    """
    alpha, beta = coefficients(condition)
    residual = b - (A @ x.unsqueeze(-1)).squeeze(-1)
    return x + alpha * (A.mT @ residual.unsqueeze(-1)).squeeze(-1) + beta * (x - before)


def prompt(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Write a problem and two iterates as tokens.

    Args:
        A: Matrices, (B, N, n).
        b: Right-hand sides, (B, N).
        x: Iterates, (B, n).
        before: The iterates before, (B, n).

    Returns:
        Tokens, (B, N, 3n+1): token i is [a_i, b_i, x, before].
    """
    both = torch.cat([x, before], dim=-1).unsqueeze(-2).expand(-1, A.shape[-2], -1)
    return torch.cat([A, b.unsqueeze(-1), both], dim=-1)


@task("heavy-ball")
class HeavyBall(FromPair):
    """Emit the next iterate of gradient descent with momentum.

    Args:
        n: Unknowns.
        rows: Rows of A in training, N.
        condition: κ that step and momentum are made for.
    """

    n: Unknowns = 5
    rows: Rows = 20
    condition: Annotated[float, Field(ge=1)] = 10.0
    solver_class: ClassVar[type[LearnedMomentum]] = LearnedMomentum

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n)

    @property
    def summary(self) -> str:
        """What is asked for."""
        told = f"n = {self.n}, N = {self.rows}, κ = {self.condition:g}"
        return f"the next iterate of gradient descent with momentum ({told})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return ExactMomentum(self.condition)

    def step(self, model: torch.nn.Module) -> "EmittedIterate":
        """What the solver is handed."""
        return EmittedIterate(model, n=self.n)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A ~ N(0, I/N), so that its singular values are about 1; b, x, y ~ N(0, I)."""
        A = torch.randn(batch, self.rows, self.n, dtype=dtype, generator=generator) / self.rows**0.5
        b = torch.randn(batch, self.rows, dtype=dtype, generator=generator)
        x, before = torch.randn(2, batch, self.n, dtype=dtype, generator=generator)
        return Example(prompt(A, b, x, before), step(A, b, x, before, condition=self.condition))

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The step in double-double arithmetic, α and β being the float64 numbers nearest to theirs."""
        tokens, n = prompt.double(), self.n
        A, b = tokens[..., :n], tokens[..., n]
        x, before = dd.from_double(tokens[:, 0, n + 1 : 2 * n + 1]), dd.from_double(tokens[:, 0, 2 * n + 1 :])
        alpha, beta = (dd.from_double(torch.full_like(x.hi, value)) for value in coefficients(self.condition))
        gradient = dd.matvec(A.mT, dd.subtract(dd.from_double(b), dd.matvec(A, x)))
        moved = dd.add(dd.multiply(alpha, gradient), dd.multiply(beta, dd.subtract(x, before)))
        return dd.add(x, moved)


class EmittedIterate:
    """A model's next iterate for any problem: any number of rows, no more unknowns than trained.

    Args:
        model: Prompts (B, N, 3n+1) → (B, n).
        n: Unknowns of the model's prompts.
    """

    def __init__(self, model: torch.nn.Module, *, n: int) -> None:
        self._model, self._n = model, n
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Emit the next iterate: (B, n)."""
        n = A.shape[-1]
        if n > self._n:
            raise ValueError(f"A: got {n} unknowns, want at most {self._n}: the model was trained on that many")
        wide, x, before = (torch.nn.functional.pad(part, (0, self._n - n)) for part in (A, x, before))
        tokens = prompt(wide, b, x, before).to(self._dtype)
        emitted: torch.Tensor = self._model(tokens)[:, :n]
        return emitted.to(A.dtype)
