"""Equivariant attention: one model for any number of unknowns and rows, trained in seconds on a few small problems.

End to end, a model reads (A, b) and emits x once. Eight hidden layers and a read-out, trained on both of the paper's
samplers; and one model each for condition numbers up to 10³, 10⁵ and 10⁷, trained on problems of a single unknown whose
size spans [1/(2κ), 1]: what holds for every eigenvalue holds for every matrix that has it, and the factor 2 is room for
scaling by a power of two. The explicit gradient and Newton–Schulz are one layer, and a linear problem once.
"""

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import EquivariantAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient, LeastSquares, NewtonSchulz
from precisionlab.training.layerwise import Layerwise

NAME = "equivariant-attention"


def _up_to(condition: float, name: str, *, layers: int, slack: float = 0.02) -> Experiment:
    return Experiment(
        name=f"{NAME}/end-to-end-{name}",
        cost="20 to 60 s on one core",
        task=LeastSquares(n=1, rows=4, condition=2 * condition, spectrum="free"),
        model=ModelConfig(mixer=EquivariantAttention(mean=False), width=2, layers=layers, positions="none"),
        phases=(Layerwise(batch=2048, slack=slack, margin=0.02),),
        attempts=1,
    )


EXPERIMENTS = (
    Experiment(
        name=f"{NAME}/end-to-end",
        cost="about 20 s on one core",
        task=LeastSquares(condition=5, spectrum="extremes", gaussian=0.8, axes=True, spread=0.25),
        model=ModelConfig(mixer=EquivariantAttention(), width=2, layers=9, positions="none"),
        phases=(Layerwise(batch=8000),),
        attempts=1,
    ),
    _up_to(1e3, "1e3", layers=16),
    _up_to(1e5, "1e5", layers=23),
    _up_to(1e7, "1e7", layers=30, slack=0.05),
    Experiment(
        name=f"{NAME}/explicit-gradient",
        cost="under a second on one core",
        task=ExplicitGradient(),
        model=ModelConfig(mixer=EquivariantAttention(), width=2, layers=1),
        phases=(Layerwise(batch=256, norm="mean"),),
        attempts=1,
    ),
    Experiment(
        name=f"{NAME}/newton-schulz",
        cost="under a second on one core",
        task=NewtonSchulz(),
        model=ModelConfig(
            mixer=EquivariantAttention(mean=False, numbers=0, ordered=True), width=2, layers=1, positions="none"
        ),
        phases=(Layerwise(batch=64, norm="mean"),),
        attempts=1,
    ),
)
