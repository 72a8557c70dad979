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

from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD

COEFFICIENT_SCALE = 3.0
"""Standard deviation of the coefficients of the linear primitive, as in the paper's code."""


@task("primitive")
class Primitive(FromPair):
    """Emit a primitive of each token.

    Args:
        operation: Which.
        dims: Features of a token, d; even for multiply.
        points: Tokens of a prompt, T; at least 2 for read.
        seed: Of what is drawn once and for all: the coefficients of linear, the two places of read.
    """

    operation: Literal["identity", "square", "multiply", "linear", "read"] = "multiply"
    dims: Annotated[int, Field(gt=0, le=2**12)] = 20
    points: Annotated[int, Field(gt=0, le=2**12)] = 40
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.operation == "multiply" and self.dims % 2:
            raise ValueError(f"multiply needs an even dims, got {self.dims}")
        if self.operation == "read" and self.points < 2:
            raise ValueError(f"read needs at least 2 points, got {self.points}")

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"the primitive {self.operation} ({self.dims} dimensions, {self.points} points)"

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
        """The primitive as the formula has it: (B, T, E)."""
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
        """Draw a batch: u ~ N(0, I)."""
        prompt = torch.randn(batch, self.points, self.dims, dtype=dtype, generator=generator)
        return Example(prompt, self.target(prompt))

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The primitive in double-double arithmetic, c being what its float64 numbers are."""
        tokens = prompt.double()
        if self.operation == "square":
            return dd.two_prod(tokens, tokens)
        if self.operation == "multiply":
            return dd.two_prod(*tokens.chunk(2, dim=-1))
        if self.operation == "linear":
            value = dd.dot(dd.from_double(tokens), dd.from_double(self.coefficients.to(tokens.device)))
            return DD(value.hi.unsqueeze(-1), value.lo.unsqueeze(-1))
        return dd.from_double(self.target(tokens))  # exact as it is

    def _fixed(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)
