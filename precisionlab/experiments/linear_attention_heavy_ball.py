"""One layer of linear attention learns gradient descent with momentum: κ iterations instead of κ².

Step and momentum are those for κ = 10, or for another by ``--set task.condition=…``; `momentum_rates`, next to this
file, measures the rate of models trained for several against the theory. The snap phase is left out: the iterates
contract, so that a coefficient at the level of rounding stays there.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import HeavyBall
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="linear-attention/heavy-ball",
    cost="about 10 s on 2 cores",
    task=HeavyBall(n=5, rows=20, condition=10.0),
    model=ModelConfig(mixer=LinearAttention(normalise="none"), width=16, layers=1, positions="none"),
    phases=(Adam(steps=400), GaussNewton(residuals=1.0)),
    attempts=4,
)
"""One layer, one head, the width of a token."""
