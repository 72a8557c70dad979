"""One file per experiment; each bears the name of what it ships and exports a frozen configuration."""

from precisionlab.config import near_miss
from precisionlab.experiments import (
    gated_conv_explicit_gradient,
    gradient_descent,
    linear_attention_chebyshev,
    linear_attention_explicit_gradient,
    linear_attention_heavy_ball,
    linear_attention_newton_schulz,
    linear_attention_sizes,
)
from precisionlab.experiments.experiment import Experiment

_ALL = (
    gated_conv_explicit_gradient.EXPERIMENT,
    *gradient_descent.EXPERIMENTS,
    linear_attention_chebyshev.EXPERIMENT,
    linear_attention_explicit_gradient.EXPERIMENT,
    linear_attention_heavy_ball.EXPERIMENT,
    *linear_attention_newton_schulz.EXPERIMENTS,
    *linear_attention_sizes.EXPERIMENTS,
)
REGISTRY: dict[str, Experiment] = {experiment.name: experiment for experiment in _ALL}


def get(name: str) -> Experiment:
    """An experiment by name.

    Args:
        name: Such as ``"linear-attention/explicit-gradient"``.

    Returns:
        Its configuration.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in REGISTRY:
        raise ValueError(f"unknown experiment {name!r}: {near_miss(name, sorted(REGISTRY))}")
    return REGISTRY[name]
