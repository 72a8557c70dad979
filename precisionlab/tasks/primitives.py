"""Primitives: the operations that a numerical algorithm is made of, each a task of its own.

The prompt is u ~ N(0, I), T tokens u_t of d features, and every token emits:

    identity   y_t = u_t
    square     y_t = u_t ⊙ u_t
    multiply   y_t = u_t[:d/2] ⊙ u_t[d/2:]          d/2 features
    linear     y_t = c · u_t                        one feature; c ~ 3 N(0, I) is fixed, and drawn from `seed`
    read       y_j = u_i and y_t = u_t elsewhere    i < j are fixed, and drawn from `seed`

All but read act on each token alone: a mixer may leave the other tokens be. In read, what the model emits at token j
it can only have from token i, and the two are told apart by their places (it wants ``positions = "learned"``). Since
i < j, a causal model can do it too.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on primitives (20 dimensions, 40 points).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.tasks.accuracy import mean_square
from precisionlab.tasks.task import Emission, Example
from solvers._core import double_double as dd
from solvers._core.double_double import DD

COEFFICIENT_SCALE = 3.0
"""Standard deviation of the coefficients of the linear primitive, as in the paper's code."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Primitive:
    """Emit a primitive of each token.

    Args:
        operation: Which.
        dims: Features of a token, d; even for multiply.
        points: Tokens of a prompt, T; at least 2 for read.
        seed: Of what is drawn once and for all: the coefficients of linear, the two places of read.
    """

    kind: Literal["primitive"] = "primitive"
    operation: Literal["identity", "square", "multiply", "linear", "read"] = "multiply"
    dims: Annotated[int, Field(gt=0, le=2**14)] = 20
    points: Annotated[int, Field(gt=0, le=2**20)] = 40
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.operation == "multiply" and self.dims % 2:
            raise ValueError(f"multiply needs an even dims, got {self.dims}")
        if self.operation == "read" and self.points < 2:
            raise ValueError(f"read needs at least 2 points, got {self.points}")

    @property
    def in_features(self) -> int:
        """Features of a token."""
        return self.dims

    @property
    def out_features(self) -> int:
        """Features of the target at each token."""
        return {"multiply": self.dims // 2, "linear": 1}.get(self.operation, self.dims)

    @property
    def tokens(self) -> int:
        """Tokens of a prompt."""
        return self.points

    @property
    def emits(self) -> Emission:
        """An answer at each token."""
        return "all"

    @property
    def coefficients(self) -> torch.Tensor:
        """The fixed functional c of the linear primitive, (d,), float64."""
        return COEFFICIENT_SCALE * torch.randn(self.dims, dtype=torch.float64, generator=self._fixed())

    @property
    def places(self) -> tuple[int, int]:
        """The fixed tokens i < j of the read primitive, uniform over all such pairs."""
        first, second = torch.randperm(self.points, generator=self._fixed())[:2].sort().values.tolist()
        return first, second

    def target(self, prompt: torch.Tensor) -> torch.Tensor:
        """The primitive as the formula has it.

        Args:
            prompt: Tokens, (B, T, d).

        Returns:
            (B, T, out_features), of the prompt's dtype.
        """
        if self.operation == "square":
            return prompt.square()
        if self.operation == "multiply":
            left, right = prompt.chunk(2, dim=-1)
            return left * right
        if self.operation == "linear":
            return prompt @ self.coefficients.to(prompt).unsqueeze(-1)
        if self.operation == "read":
            source, sink = self.places
            return prompt.index_copy(1, torch.tensor([sink], device=prompt.device), prompt[:, source : source + 1])
        return prompt.clone()

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: u ~ N(0, I).

        Args:
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            Prompts (B, T, d) and what each token emits, (B, T, out_features).
        """
        prompt = torch.randn(batch, self.points, self.dims, dtype=dtype, generator=generator)
        return Example(prompt, self.target(prompt))

    def mean_squared_error(self, prediction: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Error against the primitive computed above the prediction's precision, c being what its float64 numbers are.

        Args:
            prediction: (B, T, out_features).
            prompt: Tokens, (B, T, d).

        Returns:
            Mean over the batch, the tokens and the features, a float64 scalar.
        """
        tokens = prompt.double()
        return mean_square(
            prediction,
            self.target(tokens),
            lambda: dd.subtract(dd.from_double(prediction), self._exact(tokens)),
        )

    def _exact(self, tokens: torch.Tensor) -> DD:
        """The target in double-double; identity and read are exact as they are."""
        if self.operation == "square":
            return dd.two_prod(tokens, tokens)
        if self.operation == "multiply":
            left, right = tokens.chunk(2, dim=-1)
            return dd.two_prod(left, right)
        if self.operation == "linear":
            c = self.coefficients.to(tokens.device)
            value = dd.dot(dd.from_double(tokens), dd.from_double(c))
            return DD(value.hi.unsqueeze(-1), value.lo.unsqueeze(-1))
        return dd.from_double(self.target(tokens))

    def _fixed(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)
