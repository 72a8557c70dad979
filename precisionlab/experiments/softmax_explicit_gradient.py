"""Softmax attention learns the least-squares gradient as far as it can: it emits no polynomial exactly.

The model is the paper's but for its width: three layers of attention, no perceptron, no LayerNorm, learned positions.
docs/softmax.md says why its loss has no zero.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig, SoftmaxAttention
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="softmax/explicit-gradient",
    cost="about 1 minute on one core",
    task=ExplicitGradient(n=5, rows=20),
    model=ModelConfig(mixer=SoftmaxAttention(heads=4), width=16, layers=3, positions="learned"),
    phases=(Adam(steps=1000, learning_rate=3e-3, schedule="cosine"), GaussNewton(steps=20, stall=10)),
    attempts=1,
)
