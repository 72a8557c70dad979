"""The backbone every mixer stands in: read-in, positions, residual mixer layers, read-out.

    X₀ = read_in(prompt) + positions;   X_{l+1} = X_l + mixer_l(X_l);   emitted = read_out(X_L at the reading token)

Positions. "token-type" gives one vector to token 0 and another to all the rest: the model then works for any number of
rows, and by symmetry does not depend on their order. "learned" gives each token its own, as in the paper. "none" gives
none.

Initialisation. Weights are N(0, 1/fan-in), and each mixer's output projection a fifth of that: a stack of polynomial
layers emits a polynomial of degree 3^L, whose tails would otherwise drown the first thousand steps. Positions are
N(0, 1): telling token 0 from the rows is what the model must learn first (see docs/precision.md).
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass
from torch import nn

from precisionlab.config import STRICT
from precisionlab.models.linear_attention import LinearAttention, Normaliser

READERS = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """A backbone and its mixer.

    Args:
        mixer: The token mixer.
        width: Features of a token inside the model.
        layers: Number of mixer layers.
        heads: Heads of a layer; divides the width.
        causal: Whether a token sees only those up to itself; the reading token must then be the last.
        positions: How tokens are told apart.
        reads: Which token the answer is read from; "all" reads one from each.
        normalise: What a linear-attention layer's sum is divided by: the number of tokens, or nothing.
    """

    mixer: Literal["linear-attention"] = "linear-attention"
    width: Annotated[int, Field(gt=0, le=2**14)] = 16
    layers: Annotated[int, Field(gt=0, le=2**8)] = 2
    heads: PositiveInt = 2
    causal: bool = False
    positions: Literal["token-type", "learned", "none"] = "token-type"
    reads: Literal["first", "last", "all"] = "first"
    normalise: Normaliser = "length"

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got heads={self.heads} and width={self.width}")
        if self.causal and self.reads == "first":
            raise ValueError("a causal model's first token sees no other: set reads = 'last'")


class Backbone(nn.Module):
    """A sequence model: prompt in, vector out.

    Args:
        config: Its shape.
        in_features: Features of a prompt's token, F.
        out_features: Features of the answer.
        tokens: Tokens of a prompt, T; only "learned" positions fix it.
        dtype: float32 or float64.
        generator: Source of the initial weights; None leaves torch's own initialisation (for loading a checkpoint).
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        in_features: int,
        out_features: int,
        tokens: int,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.read_in = nn.Linear(in_features, config.width)
        self.mixers = nn.ModuleList(
            LinearAttention(config.width, heads=config.heads, causal=config.causal, normalise=config.normalise)
            for _ in range(config.layers)
        )
        self.read_out = nn.Linear(config.width, out_features)
        places = {"token-type": 2, "learned": tokens, "none": 0}[config.positions]
        self.positions = nn.Parameter(torch.zeros(places, config.width))
        self.to(dtype)
        if generator is not None:
            self._initialise(generator)

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the answer to each prompt.

        Args:
            prompt: (B, T, F), of the model's dtype.

        Returns:
            (B, out_features), or (B, T, out_features) where all tokens are read.

        Raises:
            ValueError: If the prompt's shape does not fit.
        """
        features = self.read_in.in_features
        if prompt.dim() != 3 or prompt.shape[-1] != features:
            raise ValueError(f"prompt: got shape {tuple(prompt.shape)}, want (batch, tokens, {features})")
        x = self.read_in(prompt) + self._positions(prompt.shape[1])
        *inner, last = self.mixers
        for mixer in inner:
            x = x + mixer(x)
        reader = READERS[self.config.reads]
        x = x[:, reader] + last(x, reader)
        emitted: torch.Tensor = self.read_out(x if self.config.reads == "all" else x[:, 0])
        return emitted

    def _positions(self, tokens: int) -> torch.Tensor:
        if self.config.positions == "token-type":
            first, rest = self.positions
            return torch.cat([first[None], rest.expand(tokens - 1, -1)])
        if self.config.positions == "learned":
            if tokens != len(self.positions):
                raise ValueError(
                    f"prompt: got {tokens} tokens, want {len(self.positions)}: learned positions fix their number"
                )
            return self.positions
        return self.positions.new_zeros(tokens, 1)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
                continue
            # Drawn in float64 and rounded once, so that a seed means the same start in every dtype.
            draw = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            scale = 1.0 if name == "positions" else parameter.shape[-1] ** -0.5
            scale *= 0.2 if name.endswith("out.weight") and name.startswith("mixers") else 1.0
            parameter.copy_(draw * scale)
