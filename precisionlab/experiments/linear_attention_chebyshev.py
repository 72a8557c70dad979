"""Two layers of linear attention learn Chebyshev's method: its step for every weight and every condition number.

One layer cannot: the weight multiplies what is of degree three already. As with the explicit gradient, a first layer
has to be found: the error rests at 1.5 until it is. A start that has not fallen to ½ after 1,500 steps of Adam is given
up for another.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import Chebyshev
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

EXPERIMENT = Experiment(
    name="linear-attention/chebyshev",
    cost="some minutes on 2 cores",
    task=Chebyshev(n=5, rows=20),
    model=ModelConfig(mixer=LinearAttention(), width=18, layers=2, positions="none"),
    phases=(Adam(steps=1500, until=0.5), GaussNewton()),
    attempts=8,
)
