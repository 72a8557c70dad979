"""Softmax attention: what a Transformer mixes tokens with, and not a polynomial of them.

    y_t = W_O concat_h [ Σ_s p_ts v_s ],   p_t = softmax_s( q_t · k_s / √d )

with q, k, v affine in the tokens, d the features of a head and s running over the tokens that token t sees. An average
with weights that sum to one: what a head emits is bounded by its values, so a single layer cannot square an unbounded
input, and no finite stack emits a polynomial exactly (docs/softmax.md). Cost: O(T² w) for width w.

Reference: Vaswani et al., NeurIPS 2017, arXiv 1706.03762.
"""

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn

from precisionlab.models.mixer import mixer
from precisionlab.models.visibility import split, visible, want_heads, want_prefix


@mixer("softmax")
class SoftmaxAttention:
    """Settings of softmax attention.

    Args:
        heads: Number of heads; divides the width.
        causal: Whether a token sees only those up to itself and those of the prefix.
        prefix: Tokens at the start that all may see.
    """

    heads: PositiveInt = 1
    causal: bool = False
    prefix: NonNegativeInt = 0

    def __post_init__(self) -> None:
        want_prefix(self.prefix, causal=self.causal)

    def build(self, *, width: int, tokens: int) -> "SoftmaxAttentionLayer":
        """Make a layer."""
        del tokens
        return SoftmaxAttentionLayer(self, width)


class SoftmaxAttentionLayer(nn.Module):
    """Multi-head softmax attention.

    Args:
        settings: Heads, and what they see.
        width: Features of a token, w.
    """

    def __init__(self, settings: SoftmaxAttention, width: int) -> None:
        super().__init__()
        want_heads(settings.heads, width)
        self.settings = settings
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, readers: slice = slice(None)) -> torch.Tensor:
        """Mix the tokens: (B, Q, w)."""
        settings = self.settings
        q, k, v = split(self.qkv(tokens), settings.heads)
        seen = visible(tokens.shape[1], readers, causal=settings.causal, prefix=settings.prefix, device=tokens.device)
        scores = q[:, :, readers] @ k.mT / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        y: torch.Tensor = self.out((weights @ v).transpose(1, 2).flatten(-2))
        return y
