"""Newton–Schulz: read a matrix and an approximation to its pseudo-inverse, emit the next one.

    prompt  [a₁, x₁], …, [a_N, x_N]        target  x_j' = 2 x_j − Σ_i x_i (a_i · x_j)

a_j is the j-th row of A, and x_j the j-th column of X ≈ A⁺: the target is X' = X (2I − A X), column by column. Drawn as
A, X ~ N(0, I): the step is a polynomial in A and X, and to know it anywhere is to know it everywhere.

Reference: Schulz (1933); Ben-Israel and Cohen, SIAM J. Numer. Anal. 3 (1966).
"""

from typing import ClassVar

import torch

from precisionlab.tasks.drawing import Rows, Unknowns, want_problem
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.newton_schulz import exact_step

TOKENS_AT_ONCE = 2**13
"""Tokens that a model is given at once as a solver's step: what it makes of them stays in the cache. Eight times as
many take up to twice as long each."""


def step(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """The step as the formula has it, X (2I − A X).

    Args:
        A: Matrices, (..., N, n).
        X: Approximate pseudo-inverses, (..., n, N).

    Returns:
        The next X, (..., n, N).
    """
    return 2 * X - (X @ A) @ X


def prompt(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """Write a matrix and its approximate pseudo-inverse as tokens.

    Args:
        A: Matrices, (B, N, n).
        X: Approximate pseudo-inverses, (B, n, N).

    Returns:
        Tokens, (B, N, 2n): token j is [a_j, x_j].
    """
    return torch.cat([A, X.mT], dim=-1)


@task("newton-schulz")
class NewtonSchulz(FromPair):
    """Emit the next Newton–Schulz iterate.

    Args:
        n: Unknowns, the columns of A.
        rows: Rows of A in training, N.
    """

    n: Unknowns = 5
    rows: Rows = 20
    solver_class: ClassVar[type[LearnedNewtonSchulz]] = LearnedNewtonSchulz

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n)

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"the Newton–Schulz step X (2I − A X) (n = {self.n}, N = {self.rows})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_step

    def step(self, model: torch.nn.Module) -> "EmittedStep":
        """What the solver is handed."""
        return EmittedStep(model, n=self.n)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A, X ~ N(0, I)."""
        tokens = torch.randn(batch, self.rows, 2 * self.n, dtype=dtype, generator=generator)
        return Example(tokens, step(tokens[..., : self.n], tokens[..., self.n :].mT).mT)

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The step in double-double arithmetic."""
        A, columns = prompt[..., : self.n].double(), prompt[..., self.n :].double()
        X = columns.mT.unsqueeze(-2)  # (B, n, 1, N)
        product = dd.dot(dd.from_double(X), dd.from_double(A.mT.unsqueeze(-3)))  # X A, (B, n, n)
        left = DD(product.hi.unsqueeze(-3), product.lo.unsqueeze(-3))
        image = dd.dot(left, dd.from_double(columns.unsqueeze(-2)))  # x_j → (X A) x_j, (B, N, n)
        return dd.subtract(dd.from_double(2 * columns), image)  # 2 x_j is exact


class EmittedStep:
    """A model's emitted step for any matrix: any number of rows, and no more unknowns than trained unless any will do.

    Unknowns of zeros are added up to the number that the model was trained on.

    Args:
        model: Prompts (B, N, 2n) → (B, N, n).
        n: Unknowns of the model's prompts.
    """

    def __init__(self, model: torch.nn.Module, *, n: int) -> None:
        self._model, self._n = model, n
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        """Emit the step."""
        _, m, n = A.shape
        most = n if getattr(self._model, "any_size", False) else self._n
        if n > most:
            raise ValueError(f"A: got {n} unknowns, want at most {most}: the model was trained on that many")
        pad = torch.nn.functional.pad
        tokens = prompt(pad(A, (0, most - n)), pad(X, (0, 0, 0, most - n))).to(self._dtype)
        parts = [self._model(part) for part in torch.split(tokens, max(1, TOKENS_AT_ONCE // m))]
        emitted = torch.cat(parts)[..., :n]
        return emitted.mT.to(A.dtype)
