"""Gated convolution (BaseConv): a product of a token's own features and a filtered history, of degree two.

    y = W_O [ (W_G u + b_G) ⊙ (h ∗ (W_V u) + b_h) ]

with one filter h for each feature. The paper's BaseConv is the bracket alone, W_V = I. Two layers can emit a
least-squares gradient exactly (`constructions` has the weights).

Cost: O(T w² + T K w) for width w and a filter of K taps.

Reference: Arora et al., Zoology, ICLR 2024, arXiv 2312.04927, equation 3; Liu et al., ICLR 2025, arXiv 2503.12295.
"""

import math

import torch
from torch import nn

from precisionlab.models.config import ModelConfig
from precisionlab.models.filters import ImplicitTaps, Taps, convolve_by_fft, convolve_directly
from precisionlab.models.fused.convolution import convolve
from precisionlab.models.initial import by_fan_in


class GatedConvolution(nn.Module):
    """A gated convolution.

    Args:
        width: Features of a token, w.
        taps: Length of the filter, K.
        causal: Whether the filter reaches only into the past; else K − 1 tokens either way.
        filter: "short", "long" or "implicit"; see `ModelConfig`.
        projections: Whether there are W_V and W_O.
    """

    def __init__(
        self, width: int, *, taps: int, causal: bool = False, filter: str = "short", projections: bool = True
    ) -> None:
        super().__init__()
        self.causal, self.by_fft = causal, filter != "short"
        self.first = 0 if causal else 1 - taps
        lags = taps - self.first
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False) if projections else nn.Identity()
        self.taps = ImplicitTaps(width, lags, self.first) if filter == "implicit" else Taps(width, lags)
        self.bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width) if projections else nn.Identity()

    @classmethod
    def of(cls, config: ModelConfig, tokens: int) -> "GatedConvolution":
        """The layer of a backbone.

        Args:
            config: The backbone's shape.
            tokens: Tokens of a prompt: the filter's length where the configuration names none.

        Returns:
            The layer.

        Raises:
            ValueError: If a prefix is asked for: a filter is the same at every token.
        """
        if config.prefix:
            raise ValueError("prefix: a gated convolution has none, its filter is the same at every token")
        return cls(
            config.width,
            taps=config.taps or tokens,
            causal=config.causal,
            filter=config.filter,
            projections=config.projections,
        )

    def initial(self, name: str, draw: torch.Tensor) -> torch.Tensor:
        """Initial weights; each filter starts as a mixture of the token itself and the mean of all tokens.

        What a numerical algorithm does to its rows it does to all of them, then sums. Filters that start with unrelated
        taps must first learn to be flat, and mostly do not (docs/precision.md).

        Args:
            name: Of the parameter.
            draw: Standard normal, of its shape.

        Returns:
            The weights.
        """
        if name == "taps.weight":
            lags = draw.shape[-1]
            own = torch.arange(self.first, self.first + lags) == 0
            return draw[:, :1] * own + draw[:, -1:] * (1 / math.sqrt(lags + self.first))
        return by_fan_in(draw) * (0.8 if name == "out.weight" else 1.0)

    def forward(self, tokens: torch.Tensor, readers: slice = slice(None)) -> torch.Tensor:
        """Mix the tokens.

        Args:
            tokens: (B, T, w).
            readers: Which tokens' outputs are wanted.

        Returns:
            (B, Q, w), Q being the number of readers.
        """
        gate, value, taps = self.gate(tokens[:, readers]), self.value(tokens), self.taps()
        if gate.shape == value.shape and not self.by_fft:
            mixed = convolve(value, gate, taps.mT, self.bias, first=self.first)
        else:
            filtered = convolve_by_fft if self.by_fft else convolve_directly
            mixed = gate * (filtered(taps, value, self.first, readers) + self.bias)
        y: torch.Tensor = self.out(mixed)
        return y
