"""Explicit gradient: read a least-squares problem and an iterate, emit the gradient there.

    prompt  [x₀, 0], [a₁, b₁], …, [a_N, b_N]        target  Aᵀ(A x₀ − b)/N

Drawn as in the paper: A, x, x₀ ~ N(0, I) and b = A x. Subtracting a multiple of N times the emitted gradient from x₀ is
a step of gradient descent on ½‖b − A x‖².

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, section 4.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.tasks.task import Example
from solvers import double_double as dd
from solvers.learned import LearnedSolver


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
    """Write a problem and an iterate as tokens.

    Args:
        A: Rows, (B, N, n).
        b: Right-hand sides, (B, N).
        x: Iterates, (B, n).

    Returns:
        Tokens, (B, N+1, n+1): token 0 is [x, 0], token i is [a_i, b_i].
    """
    first = torch.nn.functional.pad(x.unsqueeze(-2), (0, 1))
    return torch.cat([first, torch.cat([A, b.unsqueeze(-1)], dim=-1)], dim=-2)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExplicitGradient:
    """Emit the least-squares gradient at an iterate.

    Args:
        n: Unknowns.
        rows: Rows of A, N.
    """

    kind: Literal["explicit-gradient"] = "explicit-gradient"
    n: PositiveInt = 5
    rows: PositiveInt = 20

    def __post_init__(self) -> None:
        if self.rows < self.n:
            raise ValueError(f"rows must be at least n, got rows={self.rows} and n={self.n}")

    @property
    def in_features(self) -> int:
        """Features of a token: a row and its right-hand side."""
        return self.n + 1

    @property
    def out_features(self) -> int:
        """Features of the target: a gradient."""
        return self.n

    @property
    def tokens(self) -> int:
        """Tokens of a prompt: the iterate and the rows."""
        return self.rows + 1

    @property
    def solver_class(self) -> type[LearnedSolver]:
        """What a model of this task becomes."""
        return LearnedSolver

    def step(self, model: torch.nn.Module) -> "EmittedGradient":
        """What the solver is handed.

        Args:
            model: Trained on this task.

        Returns:
            The model's gradient for problems of any number of rows.
        """
        return EmittedGradient(model, rows=self.rows, n=self.n)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A, x, x₀ ~ N(0, I), b = A x.

        Args:
            batch: Number of problems, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            Prompts (B, N+1, n+1) and gradients (B, n).
        """
        A = torch.randn(batch, self.rows, self.n, dtype=dtype, generator=generator)
        x, x0 = torch.randn(2, batch, self.n, dtype=dtype, generator=generator)
        b = (A @ x.unsqueeze(-1)).squeeze(-1)
        return Example(prompt(A, b, x0), gradient(A, b, x0))

    def mean_squared_error(self, prediction: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Error against the gradient computed in double-double arithmetic (in float64 for a float32 subject).

        Args:
            prediction: Emitted gradients, (B, n).
            prompt: Tokens, (B, N+1, n+1).

        Returns:
            Mean over the batch and the features, a float64 scalar.
        """
        x, A, b = prompt[:, 0, :-1], prompt[:, 1:, :-1], prompt[:, 1:, -1]
        if prediction.dtype != torch.float64:
            exact = gradient(A.double(), b.double(), x.double())
            return (prediction.double() - exact).square().mean()
        residual = dd.subtract(dd.from_double(b), dd.matvec(A, dd.from_double(x)))
        negated = dd.matvec(A.mT, residual)  # Aᵀ(b − A x), which is −N times the target
        scaled = dd.two_prod(prediction, torch.full_like(prediction, float(self.rows)))
        difference = dd.add(scaled, negated)
        return ((difference.hi + difference.lo) / self.rows).square().mean()


class EmittedGradient:
    """A model's emitted gradient for any problem: Aᵀ(A x − b), any number of rows, no more unknowns than trained.

    The gradient of a sum of squares is the sum over blocks of rows, and a row or an unknown of zeros adds nothing. So A
    is cut into blocks of the rows the model was trained on, the last block and the unknowns padded with zeros.

    Args:
        model: Prompts (B, rows+1, n+1) → (B, n).
        rows: Rows of the model's prompts.
        n: Unknowns of the model's prompts.
    """

    def __init__(self, model: torch.nn.Module, *, rows: int, n: int) -> None:
        self._model, self._rows, self._n = model, rows, n
        self._dtype = next(model.parameters()).dtype

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Emit the gradient.

        Args:
            A: Matrices, (B, m, n).
            b: Right-hand sides, (B, m).
            x: Iterates, (B, n).

        Returns:
            (B, n), of the dtype of A.

        Raises:
            ValueError: If the problem has more unknowns than the model was trained on.
        """
        batch, m, n = A.shape
        if n > self._n:
            raise ValueError(f"A: got {n} unknowns, want at most {self._n}: the model was trained on that many")
        blocks = -(-m // self._rows)
        pad = torch.nn.functional.pad
        tokens = prompt(A, b, x)
        rows = pad(tokens[:, 1:], (0, 0, 0, blocks * self._rows - m)).reshape(batch * blocks, self._rows, n + 1)
        first = tokens[:, :1].repeat_interleave(blocks, dim=0)
        blocked = torch.cat([first, rows], dim=1)
        # Unknowns of zeros go between the last unknown and the right-hand side.
        blocked = torch.cat([pad(blocked[..., :-1], (0, self._n - n)), blocked[..., -1:]], dim=-1)
        emitted = self._model(blocked.to(self._dtype)).reshape(batch, blocks, self._n)[..., :n]
        gradients: torch.Tensor = emitted.to(A.dtype).sum(dim=1) * self._rows
        return gradients
