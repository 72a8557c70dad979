"""Plain linear attention, from random weights, reads (A, b) and emits x.

Ten hidden layers and a read-out of two heads each, dense in all coordinates, trained layer by layer on emitted x alone.
Problems are those of both of the paper's samplers, their scales spread beyond them: outside of what was trained the
composite polynomial explodes. docs/end-to-end.md has the account.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import LeastSquares
from precisionlab.training.headwise import Headwise

EXPERIMENT = Experiment(
    name="linear-attention/end-to-end",
    cost="about 2 min on one core",
    task=LeastSquares(condition=5, spectrum="extremes", gaussian=0.8, axes=True),
    model=ModelConfig(mixer=LinearAttention(heads=2), width=16, layers=11, positions="none"),
    phases=(Headwise(easier={"spread": 0.4}),),
    attempts=1,
)
