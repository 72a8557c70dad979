"""Linear attention: softmax attention without the softmax, a polynomial of degree three in the tokens.

    y_t = W_O concat_h [ (1/T) Σ_s (q_t · k_s) v_s ] = W_O concat_h [ q_t K_h ],   K_h = (1/T) Σ_s k_s v_sᵀ

with q, k, v affine in the tokens and s running over all tokens, or, in the causal form, over s ≤ t and the prefix. The
1/T keeps the sum of order one whatever the length; without it, what is learned of a sum over tokens holds for any
number of them. Cost: O(T w²) for width w, against O(T² w) for softmax attention.

Reference: Katharopoulos et al., ICML 2020, arXiv 2006.16236 (with the identity as feature map, not normalised); as one
step of gradient descent: von Oswald et al., ICML 2023, arXiv 2212.07677.
"""

from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn

from precisionlab.models.initial import by_fan_in
from precisionlab.models.mixer import mixer
from precisionlab.models.visibility import split, visible, want_heads, want_prefix


@mixer("linear-attention")
class LinearAttention:
    """Settings of linear attention.

    Args:
        heads: Number of heads; divides the width.
        causal: Whether a token sees only those up to itself and those of the prefix.
        prefix: Tokens at the start that all may see (JRT-RNN).
        normalise: What the sum is divided by: the number of tokens, or nothing.
    """

    heads: PositiveInt = 1
    causal: bool = False
    prefix: NonNegativeInt = 0
    normalise: Literal["length", "none"] = "length"

    def __post_init__(self) -> None:
        want_prefix(self.prefix, causal=self.causal)

    def build(self, *, width: int, tokens: int) -> "LinearAttentionLayer":
        """Make a layer."""
        del tokens
        return LinearAttentionLayer(self, width)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, divisor: int) -> torch.Tensor:
    """Queries (B, h, Q, d) against the sum of keys and values (B, h, T, d) over all tokens."""
    # In this order: by (q kᵀ) v the iterates of a learned Newton–Schulz step, (X A) X, lose twice the digits.
    return q @ (k.mT @ v / divisor)


def _attend_masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, divisor: int, seen: torch.Tensor) -> torch.Tensor:
    """The same over the tokens that each query sees, booleans (Q, T)."""
    return (q @ k.mT * seen) @ v / divisor


class LinearAttentionLayer(nn.Module):
    """Multi-head linear attention.

    Args:
        settings: Heads, and what they see.
        width: Features of a token, w.
    """

    def __init__(self, settings: LinearAttention, width: int) -> None:
        super().__init__()
        want_heads(settings.heads, width)
        self.settings = settings
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def initial(self, name: str, draw: torch.Tensor) -> torch.Tensor:
        """Initial weights; the output projection's a fifth of what fan-in alone would give.

        A stack of these layers emits a polynomial of degree 3^L, whose tails would otherwise drown the first thousand
        steps.

        Args:
            name: Of the parameter.
            draw: Standard normal, of its shape.

        Returns:
            The weights.
        """
        return by_fan_in(draw) * (0.2 if name == "out.weight" else 1.0)

    def forward(self, tokens: torch.Tensor, readers: slice = slice(None)) -> torch.Tensor:
        """Mix the tokens: (B, Q, w)."""
        settings, length = self.settings, tokens.shape[1]
        q, k, v = split(self.qkv(tokens), settings.heads)
        divisor = length if settings.normalise == "length" else 1
        if settings.causal:
            seen = visible(length, readers, causal=True, prefix=settings.prefix, device=tokens.device)
            mixed = _attend_masked(q[:, :, readers], k, v, divisor, seen)
        else:
            mixed = _attend(q[:, :, readers], k, v, divisor)
        y: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return y
