"""Softmax attention: what a Transformer mixes tokens with, and not a polynomial of them.

    y_t = W_O concat_h [ Σ_s p_ts v_s ],   p_t = softmax_s( q_t · k_s / √d )

with q, k, v affine in the tokens, d the features of a head and s running over the tokens that token t sees. An average
with weights that sum to one: what a head emits is bounded by its values, so a single layer cannot square an unbounded
input, and no finite stack emits a polynomial exactly (docs/softmax.md). Cost: O(T² w) for width w.

Reference: Vaswani et al., NeurIPS 2017, arXiv 1706.03762.
"""

import torch
from torch import nn

from precisionlab.models.config import ModelConfig
from precisionlab.models.visibility import visible


class SoftmaxAttention(nn.Module):
    """Multi-head softmax attention.

    Args:
        width: Features of a token, w.
        heads: Number of heads; divides the width.
        causal: Whether a token sees only those up to itself and those of the prefix.
        prefix: Tokens at the start that all may see.

    Raises:
        ValueError: If heads does not divide width.
    """

    def __init__(self, width: int, *, heads: int = 1, causal: bool = False, prefix: int = 0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide width, got heads={heads} and width={width}")
        self.heads, self.causal, self.prefix = heads, causal, prefix
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    @classmethod
    def of(cls, config: ModelConfig, tokens: int) -> "SoftmaxAttention":
        """The layer of a backbone.

        Args:
            config: The backbone's shape.
            tokens: Tokens of a prompt; not used: the layer takes any number.

        Returns:
            The layer.
        """
        del tokens
        return cls(config.width, heads=config.heads, causal=config.causal, prefix=config.prefix)

    def forward(self, tokens: torch.Tensor, readers: slice = slice(None)) -> torch.Tensor:
        """Mix the tokens.

        Args:
            tokens: (B, T, w).
            readers: Which tokens' outputs are wanted.

        Returns:
            (B, Q, w), Q being the number of readers.
        """
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        seen = visible(tokens.shape[1], readers, causal=self.causal, prefix=self.prefix, device=tokens.device)
        scores = q[:, :, readers] @ k.mT / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        y: torch.Tensor = self.out((weights @ v).transpose(1, 2).flatten(-2))
        return y
