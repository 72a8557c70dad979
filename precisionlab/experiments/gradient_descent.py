"""k steps of gradient descent from one prompt, k = 1, 2, 4, 8: a block of layers, looped.

Nothing but x₀ is given: between two loops the model's own answer takes its place in the prompt. Training first learns
one step to the floor, then all k at once, judged by x_k alone.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, ModelConfig
from precisionlab.tasks import GradientDescent
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.prune import Prune

STEPS = (1, 2, 4, 8)
ONE_STEP = {"steps": 1}


def linear_attention(steps: int) -> Experiment:
    """Linear attention, k loops of two layers.

    Args:
        steps: k.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"linear-attention/gradient-descent-{steps}",
        cost="about 30 s on 2 cores",
        task=GradientDescent(n=5, rows=20, steps=steps),
        model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=2, looped=True),
        phases=(
            Adam(steps=1500, until=3e-3, easier=ONE_STEP),
            GaussNewton(easier=ONE_STEP),
            GaussNewton(damping=1e-12, steps=8),
        ),
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
        cost="about 7 min on one core",
        task=GradientDescent(n=5, rows=20, steps=steps),
        model=ModelConfig(
            mixer=GatedConvolution(causal=True),
            width=32,
            layers=2,
            first_last=True,
            positions="none",
            reads="last",
            looped=True,
        ),
        phases=(
            Adam(steps=2500, learning_rate=3e-3, schedule="cosine", easier={"active_rows": 4, **ONE_STEP}),
            GaussNewton(residuals=0.5, steps=14, easier=ONE_STEP),
            Prune(),
            GaussNewton(residuals=0.5, damping=1e-9, stall=4, keep_zeros=True, easier=ONE_STEP),
            GaussNewton(residuals=0.5, damping=1e-12, steps=1, keep_zeros=True),
        ),
        attempts=4,
    )


EXPERIMENTS = (*(linear_attention(steps) for steps in STEPS), *(gated_convolution(steps) for steps in STEPS))
