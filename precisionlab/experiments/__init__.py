"""One file per experiment; each bears the name of what it ships and exports a frozen configuration."""

from functools import cache

from precisionlab.config import near_miss
from precisionlab.experiments import (
    gated_conv_explicit_gradient,
    gradient_descent,
    linear_attention_chebyshev,
    linear_attention_explicit_gradient,
    linear_attention_heavy_ball,
    linear_attention_newton_schulz,
    linear_attention_sizes,
    paper,
    softmax_explicit_gradient,
)
from precisionlab.experiments.experiment import Experiment

_EXPERIMENTS = (
    gated_conv_explicit_gradient.EXPERIMENT,
    *gradient_descent.EXPERIMENTS,
    linear_attention_chebyshev.EXPERIMENT,
    linear_attention_explicit_gradient.EXPERIMENT,
    linear_attention_heavy_ball.EXPERIMENT,
    *linear_attention_newton_schulz.EXPERIMENTS,
    *linear_attention_sizes.EXPERIMENTS,
    *paper.EXPERIMENTS,
    softmax_explicit_gradient.EXPERIMENT,
)


@cache
def registry() -> dict[str, Experiment]:
    """The experiments.

    Returns:
        All of them, by name.
    """
    return {experiment.name: experiment for experiment in _EXPERIMENTS}


def get(name: str) -> Experiment:
    """An experiment by name.

    Args:
        name: Such as ``"linear-attention/explicit-gradient"``.

    Returns:
        Its configuration.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in registry():
        raise ValueError(f"unknown experiment {name!r}: {near_miss(name, sorted(registry()))}")
    return registry()[name]
