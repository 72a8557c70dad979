"""What an experiment is: a task, a model and a recipe, as data."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.models import ModelConfig
from precisionlab.tasks import ExplicitGradient, NewtonSchulz
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.snap import Snap

Phase = Annotated[Adam | GaussNewton | Snap, Field(discriminator="kind")]
TaskConfig = Annotated[ExplicitGradient | NewtonSchulz, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Experiment:
    """A training run, but for its seed and device.

    Args:
        name: What it ships as: mixer/task.
        summary: One line.
        cost: What it takes, and on what.
        task: What the model is asked to emit.
        model: The model's shape.
        phases: The recipe, in order.
        attempts: Random starts it may take; a phase that stalls ends an attempt.
        dtype: Of the model and its data.
    """

    name: str
    summary: str
    cost: str
    task: TaskConfig
    model: ModelConfig
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    attempts: PositiveInt = 4
    dtype: Literal["float32", "float64"] = "float64"
