"""Linear attention learns the gradient of larger problems: n = 10 and n = 20 unknowns, 2 n rows.

The width has to hold x₀, a_i and b_i side by side, 2 n + 1 channels, and some to spare. The number of parameters grows
with its square, the cost of a Levenberg–Marquardt step with its sixth power.

Adam trains on problems whose x₀ is twice as long, so that the error of a model that cannot tell x₀ from a row, which at
n = 20 is 2 (n + 2)/(2 n + 1)² = 0.026, is no place to rest. From its 1e-4 Levenberg–Marquardt falls to the floor.
docs/precision.md has the account.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton


def _experiment(n: int, *, width: int, cost: str) -> Experiment:
    return Experiment(
        name=f"linear-attention/explicit-gradient-{n}",
        cost=cost,
        task=ExplicitGradient(n=n, rows=2 * n),
        model=ModelConfig(mixer=LinearAttention(heads=2), width=width, layers=2),
        phases=(Adam(steps=1500, schedule="cosine", easier={"active_rows": n, "iterate_scale": 2.0}), GaussNewton()),
        attempts=4,
    )


EXPERIMENTS = (
    _experiment(10, width=26, cost="about 1 minute on one core"),
    _experiment(20, width=48, cost="12 to 18 minutes on one busy core"),
)
