"""Gated convolution learns the least-squares gradient to the float64 floor.

Two layers are enough: the first forms the products a_d a_e and a_d b at every token, the second sums them over the rows
and multiplies by x₀. Adam trains on problems with four active rows, without which it rests at 0.3, the error of taking
AᵀA/N for the identity. From its 1e-2 Levenberg–Marquardt falls to the floor. docs/precision.md has the account.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.prune import Prune

EXPERIMENT = Experiment(
    name="gated-conv/explicit-gradient",
    cost="about 4 minutes on 2 cores",
    task=ExplicitGradient(n=5, rows=20),
    model=ModelConfig(
        mixer=GatedConvolution(causal=True), width=32, layers=2, first_last=True, positions="none", reads="last"
    ),
    phases=(
        Adam(steps=2500, learning_rate=3e-3, schedule="cosine", easier={"active_rows": 4}),
        GaussNewton(residuals=0.5, steps=14),
        Prune(),
        GaussNewton(residuals=0.5, damping=1e-9, stall=4, keep_zeros=True),
    ),
    attempts=4,
)
