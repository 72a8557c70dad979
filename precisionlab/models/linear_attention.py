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
from torch import nn

from precisionlab.models.config import ModelConfig
from precisionlab.models.initial import by_fan_in
from precisionlab.models.visibility import visible

Normaliser = Literal["length", "none"]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, divisor: int) -> torch.Tensor:
    """Each query against the sum over all tokens, in this order.

    The scores first, (q kᵀ) v, is the same function and another algorithm: the iterates of
    a learned Newton–Schulz step, (X A) X, then lose twice the digits, as normal equations do.

    Args:
        q: Queries, (B, h, Q, d); Q may be fewer than T.
        k: Keys, (B, h, T, d).
        v: Values, (B, h, T, d).
        divisor: What the sum is divided by.

    Returns:
        (B, h, Q, d).
    """
    return q @ (k.mT @ v / divisor)


def attend_masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, divisor: int, seen: torch.Tensor) -> torch.Tensor:
    """Each query against the sum over the tokens that it sees.

    Args:
        q: Queries, (B, h, Q, d).
        k: Keys, (B, h, T, d).
        v: Values, (B, h, T, d).
        divisor: What the sum is divided by.
        seen: Which tokens each query sees, booleans, (Q, T).

    Returns:
        (B, h, Q, d).
    """
    return (q @ k.mT * seen) @ v / divisor


class LinearAttention(nn.Module):
    """Multi-head linear attention.

    Args:
        width: Features of a token, w.
        heads: Number of heads; divides the width.
        causal: Whether a token sees only those up to itself and those of the prefix.
        prefix: Tokens at the start that all may see.
        normalise: "length" divides the sum by the number of tokens, "none" leaves it.

    Raises:
        ValueError: If heads does not divide width.
    """

    def __init__(
        self, width: int, *, heads: int = 1, causal: bool = False, prefix: int = 0, normalise: Normaliser = "length"
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width, got heads={heads} and width={width}")
        self.heads, self.causal, self.prefix, self.normalise = heads, causal, prefix, normalise
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    @classmethod
    def of(cls, config: ModelConfig, tokens: int) -> "LinearAttention":
        """The layer of a backbone.

        Args:
            config: The backbone's shape.
            tokens: Tokens of a prompt; not used: the layer takes any number.

        Returns:
            The layer.
        """
        del tokens
        return cls(
            config.width,
            heads=config.heads,
            causal=config.causal,
            prefix=config.prefix,
            normalise=config.normalise,
        )

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
        """Mix the tokens.

        Args:
            tokens: (B, T, w).
            readers: Which tokens' outputs are wanted.

        Returns:
            (B, Q, w), Q being the number of readers.
        """
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        length = tokens.shape[1]
        divisor = length if self.normalise == "length" else 1
        if self.causal:
            seen = visible(length, readers, causal=True, prefix=self.prefix, device=tokens.device)
            mixed = attend_masked(q[:, :, readers], k, v, divisor, seen)
        else:
            mixed = attend(q[:, :, readers], k, v, divisor)
        y: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return y
