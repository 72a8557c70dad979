"""One layer of linear attention learns the Newton–Schulz step, and with it least squares in 2 log₂ κ steps.

Keys a_i, values x_i, query x_j, and 2 x_j by the residual path: the task is one layer of one head, exactly. Adam only
has to find the basin; Levenberg–Marquardt reaches the floor in some ten steps, and the snap phase turns what is at
rounding level into exact zeros, without which the iteration diverges at κ = 1e7. docs/newton-schulz.md has the account.

The sum over the rows is not divided by their number, so that what is learned holds for any number of rows.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import NewtonSchulz
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.snap import Snap


def _experiment(name: str, *, n: int, width: int, residuals: float, cost: str) -> Experiment:
    return Experiment(
        name=name,
        cost=cost,
        task=NewtonSchulz(n=n, rows=20),
        model=ModelConfig(mixer=LinearAttention(normalise="none"), width=width, layers=1, positions="none"),
        phases=(Adam(steps=500, batch=32), GaussNewton(residuals=residuals), Snap()),
        attempts=4,
    )


EXPERIMENTS = (
    _experiment("linear-attention/newton-schulz", n=5, width=12, residuals=2.0, cost="about 5 s on 2 cores"),
    _experiment("linear-attention/newton-schulz-16", n=16, width=32, residuals=0.8, cost="about 3 min on 2 cores"),
)
