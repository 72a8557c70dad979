"""k steps of gradient descent from one prompt, k = 1, 2, 4, 8: a block of layers, looped.

Nothing but x₀ is given: between two loops the model's own answer takes its place in the prompt. Training first learns
one step to the floor (`unroll`), then all k at once, judged by x_k alone.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig
from precisionlab.tasks import GradientDescent
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.prune import Prune

STEPS = (1, 2, 4, 8)


def linear_attention(steps: int) -> Experiment:
    """Linear attention, k loops of two layers.

    Args:
        steps: k.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"linear-attention/gradient-descent-{steps}",
        summary=_summary("Linear attention", steps),
        cost="about 30 s on 2 cores",
        task=GradientDescent(n=5, rows=20, steps=steps),
        model=ModelConfig(mixer="linear-attention", width=16, layers=2, heads=2, loops=steps),
        phases=(Adam(steps=1500, until=3e-3, unroll=1), GaussNewton(unroll=1), GaussNewton(damping=1e-12, steps=8)),
        attempts=8,
    )


def gated_convolution(steps: int) -> Experiment:
    """Gated convolution, k loops of two layers.

    Args:
        steps: k.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"gated-conv/gradient-descent-{steps}",
        summary=_summary("Gated convolution", steps),
        cost="about 7 min on one core",
        task=GradientDescent(n=5, rows=20, steps=steps),
        model=ModelConfig(
            mixer="gated-conv",
            width=32,
            layers=2,
            causal=True,
            first_last=True,
            positions="none",
            reads="last",
            loops=steps,
        ),
        phases=(
            Adam(steps=2500, learning_rate=3e-3, schedule="cosine", active_rows=4, unroll=1),
            GaussNewton(residuals=0.5, steps=14, unroll=1),
            Prune(),
            GaussNewton(residuals=0.5, damping=1e-9, stall=4, keep_zeros=True, unroll=1),
            GaussNewton(residuals=0.5, damping=1e-12, steps=1, keep_zeros=True),
        ),
        attempts=4,
    )


def _summary(mixer: str, steps: int) -> str:
    count = "1 step" if steps == 1 else f"{steps} steps"
    return f"{mixer}, looped, emits the iterate after {count} of gradient descent (n = 5, N = 20)"


EXPERIMENTS = (*(linear_attention(steps) for steps in STEPS), *(gated_convolution(steps) for steps in STEPS))
