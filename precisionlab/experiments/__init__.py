"""One file per experiment; each bears the name of what it ships and exports a frozen configuration."""

from functools import cache
from importlib import import_module

from precisionlab.config import near_miss
from precisionlab.experiments import (
    gated_conv_explicit_gradient,
    gradient_descent,
    linear_attention_chebyshev,
    linear_attention_explicit_gradient,
    linear_attention_heavy_ball,
    linear_attention_newton_schulz,
    linear_attention_sizes,
    paper_gradients,
)
from precisionlab.experiments.experiment import Experiment

_RECIPES = (
    gated_conv_explicit_gradient.EXPERIMENT,
    *gradient_descent.EXPERIMENTS,
    linear_attention_chebyshev.EXPERIMENT,
    linear_attention_explicit_gradient.EXPERIMENT,
    linear_attention_heavy_ball.EXPERIMENT,
    *linear_attention_newton_schulz.EXPERIMENTS,
    *linear_attention_sizes.EXPERIMENTS,
    *paper_gradients.EXPERIMENTS,
)
_STUDIES = (
    "end_to_end",
    "in_context",
    "ode",
    "primitives",
    "prompt_repetition",
    "recipe_ablation",
    "softmax_explicit_gradient",
)
"""Modules that are commands as well: imported when asked for, since ``python -m`` warns of one that already is."""


@cache
def registry() -> dict[str, Experiment]:
    """The experiments.

    Returns:
        All of them, by name.
    """
    modules = (import_module(f"{__name__}.{name}") for name in _STUDIES)
    studied = (experiment for module in modules for experiment in module.EXPERIMENTS)
    return {experiment.name: experiment for experiment in (*_RECIPES, *studied)}


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
