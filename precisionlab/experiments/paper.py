"""The paper's experiments at the paper's size, each by its mixers: days on a GPU, float32, Adam throughout.

Gated convolution is the paper's BaseConv, of width 64 and without projections; attention has width 256 and 16 heads
where it emits a step, and is a Transformer of 12 layers and 8 heads where it emits a solution. x₀ is token 0, and the
answer is read at the last.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295.
"""

from typing import Any, Literal

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig
from precisionlab.tasks import (
    ExplicitGradient,
    GradientDescent,
    InContextLeastSquares,
    LeastSquares,
    Ode,
    Primitive,
)
from precisionlab.training.adam import paper_adam

MIXERS = ("gated-conv", "linear-attention", "softmax")
PRIMITIVES: tuple[Literal["identity", "square", "multiply", "linear", "read"], ...] = (
    "identity",
    "square",
    "multiply",
    "linear",
    "read",
)


def _experiment(name: str, does: str, *, task: Any, model: ModelConfig) -> Experiment:
    return Experiment(
        name=f"paper/{name}",
        summary=f"{does}, as in the paper",
        cost="days on a GPU",
        task=task,
        model=model,
        phases=(paper_adam(learning_rate=1e-2 if model.mixer == "gated-conv" else 5e-4),),
        attempts=1,
        dtype="float32",
    )


def _stack(mixer: str, *, layers: int, **settings: Any) -> ModelConfig:
    """What emits a step: mixers alone."""
    convolution = mixer == "gated-conv"
    return ModelConfig(
        mixer=mixer,
        width=64 if convolution else 256,
        layers=layers,
        heads=1 if convolution else 16,
        positions="learned",
        projections=False,
        **settings,
    )


def _transformer(mixer: str = "softmax", **settings: Any) -> ModelConfig:
    """What emits a solution; a stack of polynomials of the same size has no perceptron and normalises nothing."""
    plain = mixer != "softmax"
    sizes: dict[str, Any] = {"width": 256, "layers": 12, "heads": 8, "mlp": 0 if plain else 4}
    return ModelConfig(mixer=mixer, layer_norm=not plain, **{"positions": "learned", **sizes, **settings})


EXPERIMENTS = (
    *(
        _experiment(
            f"{mixer}/explicit-gradient",
            f"{mixer} emits the least-squares gradient (n = 5, N = 20)",
            task=ExplicitGradient(),
            model=_stack(mixer, layers=3, reads="last", causal=mixer == "gated-conv"),
        )
        for mixer in MIXERS
    ),
    *(
        _experiment(
            f"{mixer}/gradient-descent-4",
            f"{mixer} emits the iterate 4 steps of gradient descent on (n = 5, N = 20)",
            task=GradientDescent(steps=4, step_size=0.5),
            model=_stack(mixer, layers=6, reads="last", causal=mixer == "gated-conv"),
        )
        for mixer in MIXERS[:2]
    ),
    *(
        _experiment(
            "end-to-end" + ("" if condition is None else f"-condition-{condition:g}"),
            "A Transformer of depth 12 emits the least-squares solution (n = 5, N = 20)",
            task=LeastSquares(n=5, rows=20, condition=condition),
            model=_transformer(reads="last"),
        )
        for condition in (None, 5.0)
    ),
    _experiment(
        "in-context",
        "A Transformer predicts each right-hand side from the points before it",
        task=InContextLeastSquares(fewest=6),
        model=_transformer(reads="all", causal=True),
    ),
    *(
        _experiment(
            f"{mixer}/ode",
            f"{mixer} emits an unknown operator's next answer (21 sensors, 25 points)",
            task=Ode(),
            model=_transformer(mixer, positions="token-type", reads="last"),
        )
        for mixer in MIXERS[1:]
    ),
    *(
        _experiment(
            f"{mixer}/primitive-{operation}",
            f"{mixer} learns the primitive {operation} (20 dimensions, 40 points)",
            task=Primitive(operation=operation),
            model=_stack(mixer, layers=2, reads="all"),
        )
        for mixer in (MIXERS[0], MIXERS[2])
        for operation in PRIMITIVES
    ),
)
