"""In-context least squares: read points [a_i, b_i] one after another, predict each b from the points before it.

    emits "all"   prompt  [a₁, 0], [0, b₁], [a₂, 0], …, [0, b_{L−1}], [a_L, 0]       2L − 1 tokens
                  target  a_i · x̂_{i−1} at the token of a_i, and 0 at the token of b_i
    emits "one"   prompt  [a₁, b₁], …, [a_{L−1}, b_{L−1}], [a_L, 0]                    L tokens
                  target  a_L · x̂_{L−1}

where x̂_i is the least-squares solution of the first i points, and the shortest of its solutions while i < n. Drawn as
a_i, x ~ N(0, I), b_i = a_i · x. From x̂_i with i ≥ n on, a prediction is b_i itself; before, it is what can be known of
b_i: the mean of b_i given the points, which is also what a model trained on b_i itself would tend to. So the target is
a function of the prompt, and an exact model has no error: the unavoidable error in b_i, n − i + 1 on average for i ≤ n,
is left out. A token of b_i asks for nothing, as a query of zeros would, and its target is 0.

Curriculum. After s steps of the first phase, prompts hold min(L, fewest + ⌊s/every⌋) points. The rest of the tokens are
zeros: a point of zeros says nothing, and asks for zero. Later phases see whole prompts; so do measurements.

Baselines are fits, (A, b) ↦ x̂, in `in_context_baselines`; `predictions` gives what a fit emits on a prompt, in the
shape of what a model emits.

Reference: Garg et al., NeurIPS 2022, arXiv 2208.01066; Liu et al., ICLR 2025, arXiv 2503.12295 (6 to 20 points).
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.tasks.accuracy import mean_square
from precisionlab.tasks.exact_least_squares import solve, solve_exactly
from precisionlab.tasks.task import Emission, Example
from solvers._core import double_double as dd
from solvers._core.double_double import DD

Fit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, i, n), b (B, i)) → x̂ (B, n), i from 1."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InContextLeastSquares:
    """Predict each right-hand side from the points before it.

    Args:
        n: Unknowns.
        points: Points of a prompt, L; more than n.
        emits: A prediction for every point, or for the last.
        fewest: Points at the start of training; None begins with all.
        every: Steps of training for each further point.
    """

    kind: Literal["in-context-least-squares"] = "in-context-least-squares"
    n: PositiveInt = 5
    points: Annotated[int, Field(gt=0, le=2**12)] = 20
    emits: Emission = "all"
    fewest: PositiveInt | None = None
    every: PositiveInt = 1000

    def __post_init__(self) -> None:
        if self.points <= self.n:
            raise ValueError(f"points must be more than n, got points={self.points} and n={self.n}")
        if self.fewest is not None and not self.n < self.fewest <= self.points:
            raise ValueError(f"fewest must be more than n={self.n} and at most points={self.points}, got {self.fewest}")
        if self.fewest is not None and self.emits == "one":
            raise ValueError("fewest needs emits = 'all': a last point of zeros asks for nothing")

    @property
    def in_features(self) -> int:
        """Features of a token: a row and its right-hand side."""
        return self.n + 1

    @property
    def out_features(self) -> int:
        """Features of the target: a prediction."""
        return 1

    @property
    def tokens(self) -> int:
        """Tokens of a prompt."""
        return 2 * self.points - 1 if self.emits == "all" else self.points

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch of whole prompts: a_i, x ~ N(0, I), b_i = a_i · x.

        Args:
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            Prompts (B, T, n+1) and predictions, (B, T, 1) or (B, 1).
        """
        return self._sample(batch, self.points, generator, dtype)

    def sample_at(self, step: int, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch as the curriculum has it.

        Args:
            step: Steps of training taken.
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            What `sample` returns, all points after those of the curriculum being zeros.
        """
        fewest = self.points if self.fewest is None else self.fewest
        return self._sample(batch, min(self.points, fewest + step // self.every), generator, dtype)

    def _sample(self, batch: int, shown: int, generator: torch.Generator, dtype: torch.dtype) -> Example:
        A = torch.randn(batch, self.points, self.n, dtype=dtype, generator=generator)
        x = torch.randn(batch, self.n, dtype=dtype, generator=generator)
        A[:, shown:] = 0.0
        b = (A @ x.unsqueeze(-1)).squeeze(-1)
        # x̂_i is the projection of x onto the first i rows: Q holds an orthonormal basis of them, for every i ≤ n.
        Q, _ = torch.linalg.qr(A[:, : self.n].mT)
        onto = (x.unsqueeze(-2) @ Q) * (A @ Q)  # (B, L, n): what each direction adds to each prediction
        known = torch.ones(self.points, self.n, dtype=dtype).tril(-1)
        predicted = torch.where(torch.arange(self.points) < self.n, (onto * known).sum(dim=-1), b)
        return Example(self._prompt(A, b), self._emitted(predicted))

    def read(self, prompt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a prompt says.

        Args:
            prompt: Tokens, (B, T, n+1).

        Returns:
            Rows (B, L, n), and the right-hand sides of all but the last, (B, L−1).
        """
        if self.emits == "all":
            return prompt[:, ::2, :-1], prompt[:, 1::2, -1]
        return prompt[..., :-1], prompt[:, :-1, -1]

    def predictions(self, prompt: torch.Tensor, fit: Fit) -> torch.Tensor:
        """What a fit to the points before each predicts.

        Args:
            prompt: Tokens, (B, T, n+1).
            fit: From points to an x̂.

        Returns:
            What a model would emit: (B, T, 1) or (B, 1).
        """
        A, b = self.read(prompt)
        if self.emits == "one":
            return (A[:, -1] * fit(A[:, :-1], b)).sum(dim=-1, keepdim=True)
        first = torch.zeros_like(A[:, 0, 0])
        rest = [(A[:, i] * fit(A[:, :i], b[:, :i])).sum(dim=-1) for i in range(1, self.points)]
        return self._emitted(torch.stack([first, *rest], dim=1))

    def mean_squared_error(self, prediction: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Error against the exact predictions, above the precision of the subject's.

        Args:
            prediction: (B, T, 1) or (B, 1).
            prompt: Tokens of whole prompts, (B, T, n+1).

        Returns:
            Mean over the batch and the points that are asked for; a float64 scalar.
        """
        tokens = prompt.double()
        asked = slice(None, None, 2) if self.emits == "all" else slice(None)
        target = self.predictions(tokens, solve)[:, asked]

        def difference() -> DD:
            return dd.subtract(dd.from_double(prediction[:, asked].squeeze(-1)), self._exact(tokens))

        return mean_square(prediction[:, asked], target, difference)

    def _exact(self, tokens: torch.Tensor) -> DD:
        """Predictions in double-double, (B, L) or (B,)."""
        A, b = self.read(tokens)
        counts = range(1, self.points) if self.emits == "all" else (self.points - 1,)
        found = [dd.dot(solve_exactly(A[:, :i], b[:, :i]), dd.from_double(A[:, i])) for i in counts]
        if self.emits == "one":
            return found[0]
        first = dd.from_double(torch.zeros_like(A[:, 0, 0]))
        return DD(*(torch.stack(parts, dim=1) for parts in zip(first, *found, strict=True)))

    def _prompt(self, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        pad = torch.nn.functional.pad
        queries, answers = pad(A, (0, 1)), pad(b.unsqueeze(-1), (self.n, 0))
        if self.emits == "all":
            return torch.stack([queries, answers], dim=2).flatten(1, 2)[:, :-1]
        return torch.cat([(queries + answers)[:, :-1], queries[:, -1:]], dim=1)

    def _emitted(self, predicted: torch.Tensor) -> torch.Tensor:
        """Predictions (B, L) as a model emits them."""
        if self.emits == "one":
            return predicted[:, -1:]
        return torch.stack([predicted, torch.zeros_like(predicted)], dim=2).flatten(1, 2)[:, :-1].unsqueeze(-1)
