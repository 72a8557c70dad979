"""What an experiment is: a task, a model and a recipe, as data."""

from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from precisionlab.config import kind_of, plain, settings
from precisionlab.models import ModelConfig, Shape, build
from precisionlab.precision import DTYPES
from precisionlab.tasks import TASKS, Task
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.objective import VALIDATION_PROBLEMS, eased, loops_of, shape_of
from precisionlab.training.phase import PHASES, Phase

LARGEST_MODEL = 2**28
LARGEST_BATCH = 2**31
LARGEST_JACOBIAN = 2**34
"""Numbers in an array: a configuration that asks for more is a mistake or an attack, and is refused unallocated."""


@settings
class Experiment:
    """A training run, but for its seed and device.

    Args:
        name: Such as mixer/task.
        task: What the model is asked to emit.
        model: The model's shape.
        phases: The recipe, in order.
        attempts: Random starts it may take; a phase that stalls ends an attempt.
        dtype: Of the model and its data.
        cost: What it takes, and on what, as far as is known.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*$", max_length=200)]
    task: Annotated[Task, TASKS]
    model: ModelConfig
    phases: Annotated[tuple[Annotated[Phase, PHASES], ...], Field(min_length=1)]
    attempts: PositiveInt = 4
    dtype: Literal["float32", "float64"] = "float64"
    cost: str = ""

    def __post_init__(self) -> None:
        for phase in self.phases:
            if easier := getattr(phase, "easier", None):
                task = eased(self.task, easier)
                if shape_of(task) != self.shape:
                    raise ValueError(f"easier: {easier} changes the sizes of prompt or target")
        batch = max(getattr(phase, "batch", VALIDATION_PROBLEMS) for phase in self.phases)
        prompts = batch * self.shape.tokens * max(self.shape.in_features, self.model.width)
        if prompts > LARGEST_BATCH:
            raise ValueError(f"a batch would hold {prompts:.0e} numbers, want at most {LARGEST_BATCH:.0e}")
        if (parameters := self.parameters) > LARGEST_MODEL:
            raise ValueError(f"the model would have {parameters:.0e} parameters, want at most {LARGEST_MODEL:.0e}")
        shares = [phase.residuals for phase in self.phases if isinstance(phase, GaussNewton)]
        if (jacobian := max(shares, default=0.0) * parameters**2) > LARGEST_JACOBIAN:
            raise ValueError(f"a Jacobian would hold {jacobian:.0e} numbers, want at most {LARGEST_JACOBIAN:.0e}")

    @property
    def summary(self) -> str:
        """What it is in one line, made of its settings."""
        given = ", ".join(f"{name} = {value}" for name, value in plain(self.task).items() if name != "kind")
        asked = getattr(self.task, "summary", None) or f"{kind_of(self.task)} ({given})"
        return f"{kind_of(self.model.mixer)}{', looped,' * self.model.looped} emits {asked}"

    @cached_property
    def shape(self) -> Shape:
        """What the model reads and emits."""
        return shape_of(self.task)

    @cached_property
    def parameters(self) -> int:
        """The model's number of parameters, counted without allocating them."""
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in self.backbone().parameters())

    def backbone(self) -> torch.nn.Module:
        """The model, its weights as they come."""
        return build(self.model, self.shape, loops=loops_of(self.model, self.task), dtype=DTYPES[self.dtype])
