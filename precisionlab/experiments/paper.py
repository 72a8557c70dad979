"""The paper's experiments at the paper's size, each by its mixers: days on a GPU, float32, Adam throughout.

Gated convolution is the paper's BaseConv, of width 64 and without projections; attention has width 256 and 16 heads
where it emits a step, and is a Transformer of 12 layers and 8 heads where it emits a solution. x₀ is token 0, and the
answer is read at the last. In context, prompts of 6 points grow by one every thousand steps.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295.
"""

from typing import Any, Literal

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.tasks import (
    ExplicitGradient,
    GradientDescent,
    InContextLeastSquares,
    LeastSquares,
    Ode,
    Primitive,
    Task,
)
from precisionlab.training.adam import Adam, paper_adam

CONVOLUTION, LINEAR, SOFTMAX = (
    GatedConvolution(projections=False),
    LinearAttention(heads=16),
    SoftmaxAttention(heads=16),
)
CAUSAL = GatedConvolution(projections=False, causal=True)
TOKENWISE: dict[str, Mixer] = {"gated-conv": CONVOLUTION, "softmax": SOFTMAX}
STACKS: dict[str, Mixer] = {"gated-conv": CAUSAL, "linear-attention": LINEAR, "softmax": SOFTMAX}
READERS: dict[str, Mixer] = {"linear-attention": LinearAttention(heads=8), "softmax": SoftmaxAttention(heads=8)}
Operation = Literal["identity", "square", "multiply", "linear", "read"]
PRIMITIVES: tuple[Operation, ...] = ("identity", "square", "multiply", "linear", "read")
FEWEST, EVERY = 6, 1000


def _experiment(name: str, *, task: Task, model: ModelConfig, before: tuple[Adam, ...] = ()) -> Experiment:
    return Experiment(
        name=f"paper/{name}",
        cost="days on a GPU",
        task=task,
        model=model,
        phases=(*before, paper_adam(learning_rate=_rate(model.mixer))),
        attempts=1,
        dtype="float32",
    )


def _rate(mixer: Mixer) -> float:
    return 1e-2 if isinstance(mixer, GatedConvolution) else 5e-4


def _stack(mixer: Mixer, *, layers: int, **settings: Any) -> ModelConfig:
    """What emits a step: mixers alone."""
    width = 64 if isinstance(mixer, GatedConvolution) else 256
    return ModelConfig(mixer=mixer, width=width, layers=layers, positions="learned", **settings)


def _transformer(mixer: Mixer, **settings: Any) -> ModelConfig:
    """What emits a solution; a stack of polynomials of the same size has no perceptron and normalises nothing."""
    softmax = isinstance(mixer, SoftmaxAttention)
    sizes: dict[str, Any] = {"width": 256, "layers": 12, "mlp": 4 if softmax else 0, "layer_norm": softmax}
    return ModelConfig(mixer=mixer, **{"positions": "learned", **sizes, **settings})


EXPERIMENTS = (
    *(
        _experiment(f"{name}/explicit-gradient", task=ExplicitGradient(), model=_stack(mixer, layers=3, reads="last"))
        for name, mixer in STACKS.items()
    ),
    *(
        _experiment(
            f"{name}/gradient-descent-4",
            task=GradientDescent(steps=4, step_size=0.5),
            model=_stack(STACKS[name], layers=6, reads="last"),
        )
        for name in ("gated-conv", "linear-attention")
    ),
    *(
        _experiment(
            "end-to-end" + ("" if condition is None else f"-condition-{condition:g}"),
            task=LeastSquares(n=5, rows=20, condition=condition),
            model=_transformer(READERS["softmax"], reads="last"),
        )
        for condition in (None, 5.0)
    ),
    _experiment(
        "in-context",
        task=InContextLeastSquares(),
        model=_transformer(SoftmaxAttention(heads=8, causal=True)),
        before=tuple(
            paper_adam(learning_rate=5e-4, steps=EVERY, easier={"shown": shown}) for shown in range(FEWEST, 20)
        ),
    ),
    *(
        _experiment(f"{name}/ode", task=Ode(), model=_transformer(mixer, positions="token-type", reads="last"))
        for name, mixer in READERS.items()
    ),
    *(
        _experiment(
            f"{name}/primitive-{operation}",
            task=Primitive(operation=operation),
            model=_stack(mixer, layers=2),
        )
        for name, mixer in TOKENWISE.items()
        for operation in PRIMITIVES
    ),
)
