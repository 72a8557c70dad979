"""One file per experiment; each bears the name of what it ships and exports a frozen configuration."""

from functools import cache

from precisionlab import plugins
from precisionlab.config import near_miss
from precisionlab.experiments import (
    equivariant_attention,
    gated_conv_explicit_gradient,
    gradient_descent,
    linear_attention_chebyshev,
    linear_attention_end_to_end,
    linear_attention_explicit_gradient,
    linear_attention_heavy_ball,
    linear_attention_newton_schulz,
    linear_attention_sizes,
    paper,
    softmax_explicit_gradient,
)
from precisionlab.experiments.experiment import Experiment

__all__ = ["Experiment", "get", "names", "registry"]

_EXPERIMENTS = (
    *equivariant_attention.EXPERIMENTS,
    gated_conv_explicit_gradient.EXPERIMENT,
    *gradient_descent.EXPERIMENTS,
    linear_attention_chebyshev.EXPERIMENT,
    linear_attention_end_to_end.EXPERIMENT,
    linear_attention_explicit_gradient.EXPERIMENT,
    linear_attention_heavy_ball.EXPERIMENT,
    *linear_attention_newton_schulz.EXPERIMENTS,
    *linear_attention_sizes.EXPERIMENTS,
    *paper.EXPERIMENTS,
    softmax_explicit_gradient.EXPERIMENT,
)


@cache
def registry() -> dict[str, Experiment]:
    """The experiments that ship.

    Returns:
        All of them, by name.
    """
    return {experiment.name: experiment for experiment in _EXPERIMENTS}


def names() -> list[str]:
    """The experiments that `precisionlab.train` knows by name.

    Returns:
        Their names.
    """
    return sorted(registry())


def get(name: str) -> Experiment:
    """An experiment by name.

    Args:
        name: One of `names`, or ``path/to/file.py:NAME`` or ``module:NAME`` for one of your own.

    Returns:
        Its configuration.

    Raises:
        ValueError: If there is none of that name.
    """
    if name in registry():
        return registry()[name]
    place, colon, attribute = name.rpartition(":")
    if not colon:
        known = f"{near_miss(name, names())}; one of your own is path/to/file.py:NAME"
        raise ValueError(f"unknown experiment {name!r}: {known}")
    module = plugins.use(place)
    own = {key: value for key, value in vars(module).items() if isinstance(value, Experiment)}
    if attribute not in own:
        raise ValueError(f"{place}: no experiment {attribute!r}; {near_miss(attribute, sorted(own))}")
    return own[attribute]
