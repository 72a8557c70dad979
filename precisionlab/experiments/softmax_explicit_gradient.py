"""Softmax attention learns the least-squares gradient as far as it can: no finite stack emits a polynomial exactly.

The model is the paper's but for its width: three layers, no perceptron, no LayerNorm, learned positions.
docs/softmax.md has the account, reports/softmax other recipes.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="softmax/explicit-gradient",
    summary="Softmax attention emits the least-squares gradient Aᵀ(A x₀ − b)/N approximately (n = 5, N = 20)",
    cost="about 1 minute on one core",
    task=ExplicitGradient(n=5, rows=20),
    model=ModelConfig(mixer="softmax", width=16, layers=3, heads=4, positions="learned", reads="first"),
    phases=(Adam(steps=1000, learning_rate=3e-3, schedule="cosine"), GaussNewton(steps=20, stall=10)),
    attempts=1,
)
