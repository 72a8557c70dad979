"""Explicit gradient: read a least-squares problem and an iterate, emit the gradient there.

    prompt  [x₀, 0], [a₁, b₁], …, [a_N, b_N]        target  Aᵀ(A x₀ − b)/N

With `emits = "all"` every token emits what the rows up to its own contribute, as a causal model can:

    target at token i   (1/N) Σ_{j≤i} a_j (a_j · x₀ − b_j),   i = 0, …, N

which at token 0 is zero and at token N the gradient. It is divided by N at every token and not by i: a sum stays a
polynomial in the tokens, a mean does not. With `query = "last"` the iterate stands after the rows, and with `repeats`
the prompt is read several times over (`layout`).

Drawn as in the paper: A, x, x₀ ~ N(0, I) and b = A x. Subtracting a multiple of N times the emitted gradient from x₀ is
a step of gradient descent on ½‖b − A x‖².

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, section 4.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.tasks import layout
from precisionlab.tasks.drawing import gaussian, want_active_rows
from precisionlab.tasks.layout import Problem, Query, Repeats
from precisionlab.tasks.task import Emission, Example
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


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExplicitGradient:
    """Emit the least-squares gradient at an iterate.

    Args:
        n: Unknowns.
        rows: Rows of A, N.
        query: Whether the iterate stands before the rows or after them.
        emits: One gradient, or at every token that of the rows up to it; the latter needs the iterate first, once.
        repeats: How many times over the prompt is written.
        active_rows: Rows of a problem that are not zero; None for all. See `drawing`.
        iterate_scale: Standard deviation of the entries of x₀. See `drawing`.
    """

    kind: Literal["explicit-gradient"] = "explicit-gradient"
    n: PositiveInt = 5
    rows: PositiveInt = 20
    query: Query = "first"
    emits: Emission = "one"
    repeats: Repeats = 1
    active_rows: PositiveInt | None = None
    iterate_scale: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        want_active_rows(self.active_rows, self.rows)
        if self.rows < self.n:
            raise ValueError(f"rows must be at least n, got rows={self.rows} and n={self.n}")
        if self.emits == "all" and (self.query == "last" or self.repeats > 1):
            raise ValueError(
                f"emits = 'all' needs query = 'first' and repeats = 1, got query={self.query!r}, repeats={self.repeats}"
            )

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
        """Tokens of a prompt: the iterate and the rows, as often as they are written."""
        return self.repeats * (self.rows + 1)

    @property
    def solver_class(self) -> type[LearnedGradient]:
        """What a model of this task becomes."""
        return LearnedGradient

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_gradient

    def step(self, model: torch.nn.Module) -> "EmittedGradient":
        """What the solver is handed.

        Args:
            model: Trained on this task.

        Returns:
            The model's gradient for problems of any number of rows.
        """
        return EmittedGradient(
            model, rows=self.rows, n=self.n, query=self.query, repeats=self.repeats, emits=self.emits
        )

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A, x, x₀ ~ N(0, I), b = A x.

        Args:
            batch: Number of problems, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            Prompts (B, T, n+1) and gradients, (B, n), or (B, N+1, n) where every token emits.
        """
        problem = gaussian(
            batch,
            self.rows,
            self.n,
            generator=generator,
            dtype=dtype,
            active_rows=self.active_rows,
            iterate_scale=self.iterate_scale,
        )
        return Example(layout.write(problem, query=self.query, repeats=self.repeats), self._target(problem))

    def mean_squared_error(self, prediction: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Error against the gradient computed in double-double arithmetic (in float64 for a float32 subject).

        Args:
            prediction: Emitted gradients, (B, n) or (B, N+1, n).
            prompt: Tokens, (B, T, n+1).

        Returns:
            Mean over the batch, the features and, where every token emits, the tokens; a float64 scalar.
        """
        problem = layout.read(prompt, query=self.query, repeats=self.repeats)
        if prediction.dtype != torch.float64:
            exact = self._target(Problem(*(part.double() for part in problem)))
            return (prediction.double() - exact).square().mean()
        A, b, x = problem
        residual = dd.subtract(dd.from_double(b), dd.matvec(A, dd.from_double(x)))
        # Aᵀ(b − A x), which is −N times the target; of all rows, or of those up to each.
        negated = dd.matvec(A.mT, residual) if self.emits == "one" else _running_total(A, residual)
        scaled = dd.two_prod(prediction, torch.full_like(prediction, float(self.rows)))
        difference = dd.add(scaled, negated)
        return ((difference.hi + difference.lo) / self.rows).square().mean()

    def _target(self, problem: Problem) -> torch.Tensor:
        A, b, x = problem
        if self.emits == "one":
            return gradient(A, b, x)
        terms = A * ((A @ x.unsqueeze(-1)).squeeze(-1) - b).unsqueeze(-1) / self.rows
        return torch.nn.functional.pad(terms.cumsum(dim=-2), (0, 0, 1, 0))


def _running_total(A: torch.Tensor, residual: DD) -> DD:
    """Σ_{j≤i} a_j r_j for i = 0, …, N, in double-double: (B, N+1, n)."""
    total = dd.from_double(torch.zeros_like(A[:, 0]))
    totals = [total]
    for i in range(A.shape[1]):
        row = DD(residual.hi[:, i : i + 1], residual.lo[:, i : i + 1])
        total = dd.add(total, dd.multiply(dd.from_double(A[:, i]), row))
        totals.append(total)
    return DD(*(torch.stack(parts, dim=1) for parts in zip(*totals, strict=True)))


class EmittedGradient:
    """A model's emitted gradient for any problem: Aᵀ(A x − b), any number of rows, no more unknowns than trained.

    The gradient of a sum of squares is the sum over blocks of rows, and a row or an unknown of zeros adds nothing. So A
    is cut into blocks of the rows the model was trained on, the last block and the unknowns padded with zeros.

    Args:
        model: Prompts (B, T, n+1) → (B, n), or (B, T, n), of which the last token's answer counts.
        rows: Rows of the model's prompts.
        n: Unknowns of the model's prompts.
        query: Where the iterate stands in them.
        repeats: How many times over they are written.
        emits: Whether the model emits at one token or at all.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        rows: int,
        n: int,
        query: Query = "first",
        repeats: int = 1,
        emits: Emission = "one",
    ) -> None:
        self._model, self._rows, self._n = model, rows, n
        self._query: Query = query
        self._repeats, self._emits = repeats, emits
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
        A = pad(A, (0, self._n - n, 0, blocks * self._rows - m)).reshape(batch * blocks, self._rows, self._n)
        b = pad(b, (0, blocks * self._rows - m)).reshape(batch * blocks, self._rows)
        x = pad(x, (0, self._n - n)).repeat_interleave(blocks, dim=0)
        tokens = layout.write(Problem(A, b, x), query=self._query, repeats=self._repeats)
        emitted = self._model(tokens.to(self._dtype))
        if self._emits == "all":
            emitted = emitted[:, -1]
        gradients: torch.Tensor = emitted.reshape(batch, blocks, self._n)[..., :n].to(A.dtype).sum(dim=1) * self._rows
        return gradients
