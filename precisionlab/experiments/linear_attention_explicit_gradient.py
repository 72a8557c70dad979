"""Linear attention learns the least-squares gradient to the float64 floor.

Token 0 holds x₀ and so adds x₀‖x₀‖² to its own sum, until a first layer learns to tell it from the rows. Adam trains on
problems whose x₀ is twice as long, where that term is no place to rest (on the paper's problems it is one, at an MSE
of 3.2e-2), and hands over at 3e-2 of these. From there Levenberg–Marquardt falls to the floor in 10 to 30 steps.
docs/precision.md has the account.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="linear-attention/explicit-gradient",
    cost="about 15 s on 2 cores",
    task=ExplicitGradient(n=5, rows=20),
    model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=2),
    phases=(Adam(steps=3000, until=3e-2, easier={"iterate_scale": 2.0}), GaussNewton()),
    attempts=8,
)
