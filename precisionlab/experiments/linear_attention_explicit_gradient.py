"""Linear attention learns the least-squares gradient to the float64 floor.

Adam ends when it has left the plateau at an MSE of 3.2e-2, which is the error of the one-layer solution: token 0 holds
x₀ and so contributes x₀‖x₀‖² to its own sum, until a first layer learns to tell it from the rows. A start that has not
left it after 1,500 steps is given up for another. From there Levenberg–Marquardt falls to the floor in 10 to 40 steps.
docs/precision.md has the account.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="linear-attention/explicit-gradient",
    cost="about 20 s on 2 cores",
    task=ExplicitGradient(n=5, rows=20),
    model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=2),
    phases=(Adam(steps=1500, until=1e-2), GaussNewton()),
    attempts=8,
)
