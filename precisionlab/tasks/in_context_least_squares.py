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

With `shown` only so many points are there, and the rest of the tokens are zeros: a point of zeros says nothing, and
asks for zero. A phase may show few, and the next more (its `easier`).

Baselines are fits, (A, b) ↦ x̂, in `in_context_baselines`; `predictions` gives what a fit emits on a prompt, in the
shape of what a model emits.

Reference: Garg et al., NeurIPS 2022, arXiv 2208.01066; Liu et al., ICLR 2025, arXiv 2503.12295 (6 to 20 points).
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from precisionlab.tasks.drawing import Unknowns
from precisionlab.tasks.exact_least_squares import solve_exactly
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD

Fit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, i, n), b (B, i)) → x̂ (B, n), i from 1."""


@task("in-context-least-squares")
class InContextLeastSquares(FromPair):
    """Predict each right-hand side from the points before it.

    Args:
        n: Unknowns.
        points: Points of a prompt, L; more than n.
        emits: A prediction for every point, or for the last.
        shown: Points that are there; None shows all.
    """

    n: Unknowns = 5
    points: Annotated[int, Field(gt=0, le=2**12)] = 20
    emits: Literal["one", "all"] = "all"
    shown: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.points <= self.n:
            raise ValueError(f"points must be more than n, got points={self.points} and n={self.n}")
        if self.shown is not None and not self.n < self.shown <= self.points:
            raise ValueError(f"shown must be more than n={self.n} and at most points={self.points}, got {self.shown}")
        if self.shown is not None and self.emits == "one":
            raise ValueError("shown needs emits = 'all': a last point of zeros asks for nothing")

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"the right-hand side of a point from the points before it (n = {self.n}, {self.points} points)"

    @property
    def asked(self) -> slice:
        """The tokens whose answers are measured: those of a point, not those of an answer."""
        return slice(None, None, 2)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: a_i, x ~ N(0, I), b_i = a_i · x."""
        A = torch.randn(batch, self.points, self.n, dtype=dtype, generator=generator)
        x = torch.randn(batch, self.n, dtype=dtype, generator=generator)
        A[:, self.points if self.shown is None else self.shown :] = 0.0
        b = (A @ x.unsqueeze(-1)).squeeze(-1)
        # x̂_i is the projection of x onto the first i rows: Q holds an orthonormal basis of them, for every i ≤ n.
        Q, _ = torch.linalg.qr(A[:, : self.n].mT)
        onto = (x.unsqueeze(-2) @ Q) * (A @ Q)  # (B, L, n): what each direction adds to each prediction
        known = torch.ones(self.points, self.n, dtype=dtype).tril(-1)
        predicted = torch.where(torch.arange(self.points) < self.n, (onto * known).sum(dim=-1), b)
        return Example(self._prompt(A, b), self._emitted(predicted))

    def read(self, prompt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a prompt says."""
        if self.emits == "all":
            return prompt[:, ::2, :-1], prompt[:, 1::2, -1]
        return prompt[..., :-1], prompt[:, :-1, -1]

    def predictions(self, prompt: torch.Tensor, fit: Fit) -> torch.Tensor:
        """What a fit to the points before each predicts."""
        A, b = self.read(prompt)
        if self.emits == "one":
            return (A[:, -1] * fit(A[:, :-1], b)).sum(dim=-1, keepdim=True)
        first = torch.zeros_like(A[:, 0, 0])
        rest = [(A[:, i] * fit(A[:, :i], b[:, :i])).sum(dim=-1) for i in range(1, self.points)]
        return self._emitted(torch.stack([first, *rest], dim=1))

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The predictions in double-double arithmetic: (B, T, 1)."""
        A, b = self.read(prompt.double())
        counts = range(1, self.points) if self.emits == "all" else (self.points - 1,)
        found = [dd.dot(solve_exactly(A[:, :i], b[:, :i]), dd.from_double(A[:, i])) for i in counts]
        first = dd.from_double(torch.zeros_like(A[:, 0, 0]))
        predicted = (torch.stack(parts, dim=1) for parts in zip(first, *found, strict=True))
        return DD(*(self._emitted(part) for part in predicted))

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
