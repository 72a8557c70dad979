"""What a model is asked to emit."""

from precisionlab.tasks.explicit_gradient import ExplicitGradient
from precisionlab.tasks.heavy_ball import HeavyBall
from precisionlab.tasks.newton_schulz import NewtonSchulz
from precisionlab.tasks.task import Example, Task

__all__ = ["Example", "ExplicitGradient", "HeavyBall", "NewtonSchulz", "Task"]
