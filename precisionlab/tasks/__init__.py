"""What a model is asked to emit."""

from precisionlab.tasks.chebyshev import Chebyshev
from precisionlab.tasks.explicit_gradient import ExplicitGradient
from precisionlab.tasks.gradient_descent import GradientDescent
from precisionlab.tasks.heavy_ball import HeavyBall
from precisionlab.tasks.in_context_least_squares import InContextLeastSquares
from precisionlab.tasks.least_squares import LeastSquares
from precisionlab.tasks.newton_schulz import NewtonSchulz
from precisionlab.tasks.ode import Ode
from precisionlab.tasks.primitives import Primitive
from precisionlab.tasks.task import TASKS, Example, PairTask, SolverTask, Task, task

__all__ = [
    "TASKS",
    "Chebyshev",
    "Example",
    "ExplicitGradient",
    "GradientDescent",
    "HeavyBall",
    "InContextLeastSquares",
    "LeastSquares",
    "NewtonSchulz",
    "Ode",
    "PairTask",
    "Primitive",
    "SolverTask",
    "Task",
    "task",
]
