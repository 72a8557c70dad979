"""The paper's settings for what the laboratory trains at its own: one gradient, and four steps of descent.

Gated convolution is the paper's BaseConv, of width 64 and without projections; linear attention has width 256 and 16
heads. Both are trained in float32 by Adam alone.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig
from precisionlab.tasks import ExplicitGradient, GradientDescent
from precisionlab.training.adam import paper_adam

MIXERS = ("gated-conv", "linear-attention")
COST = "days on a GPU"


def gradient(mixer: str) -> Experiment:
    """One gradient: three layers.

    Args:
        mixer: One of `MIXERS`.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"paper/{mixer}/explicit-gradient",
        summary=f"{mixer} emits the least-squares gradient, as in the paper (n = 5, N = 20)",
        cost=COST,
        task=ExplicitGradient(query="last"),
        model=_model(mixer, layers=3),
        phases=(paper_adam(learning_rate=_rate(mixer)),),
        attempts=1,
        dtype="float32",
    )


def iterates(mixer: str) -> Experiment:
    """Four steps of gradient descent of step size 1/2: six layers.

    Args:
        mixer: One of `MIXERS`.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"paper/{mixer}/gradient-descent-4",
        summary=f"{mixer} emits the iterate 4 steps of gradient descent on, as in the paper (n = 5, N = 20)",
        cost=COST,
        task=GradientDescent(steps=4, step_size=0.5, query="last"),
        model=_model(mixer, layers=6),
        phases=(paper_adam(learning_rate=_rate(mixer)),),
        attempts=1,
        dtype="float32",
    )


def _model(mixer: str, *, layers: int) -> ModelConfig:
    convolution = mixer == "gated-conv"
    return ModelConfig(
        mixer=mixer,
        width=64 if convolution else 256,
        layers=layers,
        heads=1 if convolution else 16,
        causal=convolution,
        positions="learned",
        reads="last",
        projections=False,
    )


def _rate(mixer: str) -> float:
    return 1e-2 if mixer == "gated-conv" else 5e-4


EXPERIMENTS = tuple(make(mixer) for make in (gradient, iterates) for mixer in MIXERS)
