"""The scale of initial weights."""

import math

import torch


def by_fan_in(draw: torch.Tensor) -> torch.Tensor:
    """Weights of variance 1/fan-in, so that a layer's output is of the order of its input.

    Args:
        draw: Standard normal, of the parameter's shape; its last dimension is the fan-in.

    Returns:
        The same, scaled.
    """
    return draw * (1 / math.sqrt(draw.shape[-1]))
