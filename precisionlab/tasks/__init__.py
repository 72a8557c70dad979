"""What a model is asked to emit."""

from precisionlab.tasks.explicit_gradient import ExplicitGradient
from precisionlab.tasks.newton_schulz import NewtonSchulz
from precisionlab.tasks.task import Example, Task

__all__ = ["Example", "ExplicitGradient", "NewtonSchulz", "Task"]
