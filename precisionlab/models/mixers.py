"""The table of mixers. A new one is a file and a line here.

A mixer is a module that is called with tokens (B, T, w) and a slice of reading tokens, and returns (B, Q, w) for those.
Its entry makes it from the backbone's configuration and the number of tokens of a prompt. It may have a method
`initial(name, draw)` that turns standard normal numbers into the initial weights of its parameter of that name; without
one they are scaled to a variance of 1/fan-in.
"""

from collections.abc import Callable

from torch import nn

from precisionlab.config import near_miss
from precisionlab.models.config import ModelConfig
from precisionlab.models.gated_convolution import GatedConvolution
from precisionlab.models.linear_attention import LinearAttention
from precisionlab.models.softmax_attention import SoftmaxAttention

MIXERS: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "gated-conv": GatedConvolution.of,
    "linear-attention": LinearAttention.of,
    "softmax": SoftmaxAttention.of,
}


def build_mixer(config: ModelConfig, tokens: int) -> nn.Module:
    """A layer's mixer.

    Args:
        config: The backbone's shape.
        tokens: Tokens of a prompt.

    Returns:
        The module.

    Raises:
        ValueError: If there is no mixer of that name.
    """
    if config.mixer not in MIXERS:
        raise ValueError(f"unknown mixer {config.mixer!r}: {near_miss(config.mixer, sorted(MIXERS))}")
    return MIXERS[config.mixer](config, tokens)
