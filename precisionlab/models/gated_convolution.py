"""Gated convolution (BaseConv): a product of a token's own features and a filtered history, of degree two.

    y = W_O [ (W_G u + b_G) ⊙ (h ∗ (W_V u) + b_h) ]

with one filter h for each feature. The paper's BaseConv is the bracket alone, W_V = I. Two layers can emit a
least-squares gradient exactly (`constructions` has the weights).

Cost: O(T w² + T K w) for width w and a filter of K taps.

Reference: Arora et al., Zoology, ICLR 2024, arXiv 2312.04927, equation 3; Liu et al., ICLR 2025, arXiv 2503.12295.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from precisionlab.models.filters import ImplicitTaps, Taps, convolve_by_fft, convolve_directly
from precisionlab.models.fused.convolution import convolve
from precisionlab.models.initial import by_fan_in
from precisionlab.models.mixer import mixer


@mixer("gated-conv")
class GatedConvolution:
    """Settings of a gated convolution.

    Args:
        causal: Whether the filter reaches only into the past; else K − 1 tokens either way.
        filter: "short", its taps the weights, summed directly; "long", the same by FFT; "implicit", taps emitted by a
            small network of the lag, by FFT.
        taps: Length of the filter, K; None means as long as the prompt.
        projections: Whether there are W_V and W_O; without them it is the paper's BaseConv.
    """

    causal: bool = False
    filter: Literal["short", "long", "implicit"] = "short"
    taps: Annotated[int, Field(gt=0, le=2**20)] | None = None
    projections: bool = True

    def build(self, *, width: int, tokens: int) -> "GatedConvolutionLayer":
        """Make a layer."""
        return GatedConvolutionLayer(self, width, taps=self.taps or tokens)


class GatedConvolutionLayer(nn.Module):
    """A gated convolution.

    Args:
        settings: The filter, and what stands around it.
        width: Features of a token, w.
        taps: Length of the filter, K.
    """

    def __init__(self, settings: GatedConvolution, width: int, *, taps: int) -> None:
        super().__init__()
        self.by_fft = settings.filter != "short"
        self.first = 0 if settings.causal else 1 - taps
        lags, projections = taps - self.first, settings.projections
        self.gate = nn.Linear(width, width)
        self.value = nn.Linear(width, width, bias=False) if projections else nn.Identity()
        self.taps = ImplicitTaps(width, lags, self.first) if settings.filter == "implicit" else Taps(width, lags)
        self.bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width) if projections else nn.Identity()

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
        """Mix the tokens: (B, Q, w)."""
        gate, value, taps = self.gate(tokens[:, readers]), self.value(tokens), self.taps()
        if gate.shape == value.shape and not self.by_fft:
            mixed = convolve(value, gate, taps.mT, self.bias, first=self.first)
        else:
            filtered = convolve_by_fft if self.by_fft else convolve_directly
            mixed = gate * (filtered(taps, value, self.first, readers) + self.bias)
        y: torch.Tensor = self.out(mixed)
        return y
