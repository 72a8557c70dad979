"""What a model is asked to emit."""

from precisionlab.tasks.explicit_gradient import ExplicitGradient
from precisionlab.tasks.gradient_descent import GradientDescent
from precisionlab.tasks.heavy_ball import HeavyBall
from precisionlab.tasks.newton_schulz import NewtonSchulz
from precisionlab.tasks.primitives import Primitive
from precisionlab.tasks.task import Emission, Example, SolverTask, Task

__all__ = [
    "Emission",
    "Example",
    "ExplicitGradient",
    "GradientDescent",
    "HeavyBall",
    "NewtonSchulz",
    "Primitive",
    "SolverTask",
    "Task",
]
