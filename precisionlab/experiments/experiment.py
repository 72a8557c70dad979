"""What an experiment is: a task, a model and a recipe, as data."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT
from precisionlab.models import Backbone, ModelConfig
from precisionlab.tasks import (
    Chebyshev,
    ExplicitGradient,
    GradientDescent,
    HeavyBall,
    InContextLeastSquares,
    LeastSquares,
    NewtonSchulz,
    Ode,
    Primitive,
)
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.prune import Prune
from precisionlab.training.snap import Snap

LARGEST_MODEL = 2**28
LARGEST_BATCH = 2**31
LARGEST_JACOBIAN = 2**34
"""Numbers in an array: a configuration that asks for more is a mistake or an attack, and is refused unallocated."""

Phase = Annotated[Adam | GaussNewton | Prune | Snap, Field(discriminator="kind")]
TaskConfig = Annotated[
    Chebyshev
    | ExplicitGradient
    | GradientDescent
    | HeavyBall
    | InContextLeastSquares
    | LeastSquares
    | NewtonSchulz
    | Ode
    | Primitive,
    Field(discriminator="kind"),
]


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

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*$", max_length=200)]
    summary: str
    cost: str
    task: TaskConfig
    model: ModelConfig
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    attempts: PositiveInt = 4
    dtype: Literal["float32", "float64"] = "float64"

    def __post_init__(self) -> None:
        if (self.task.emits == "all") != (self.model.reads == "all"):
            raise ValueError(
                f"the task emits at {self.task.emits}, which model.reads = {self.model.reads!r} does not give"
            )
        for phase in self.phases:
            if isinstance(phase, Adam):
                phase.eased(self.task)
        if self.model.loops > 1 and getattr(self.task, "steps", None) != self.model.loops:
            raise ValueError(f"a model of {self.model.loops} loops needs a task of as many steps")
        if not hasattr(self.task, "steps") and any(getattr(phase, "unroll", None) for phase in self.phases):
            raise ValueError(f"unroll: the task {self.task.kind!r} has no steps of which a phase could take fewer")
        batch = max(phase.batch if isinstance(phase, Adam) else 2048 for phase in self.phases)
        prompts = batch * self.task.tokens * max(self.task.in_features, self.model.width)
        if prompts > LARGEST_BATCH:
            raise ValueError(f"a batch would hold {prompts:.0e} numbers, want at most {LARGEST_BATCH:.0e}")
        if (parameters := self.parameters) > LARGEST_MODEL:
            raise ValueError(f"the model would have {parameters:.0e} parameters, want at most {LARGEST_MODEL:.0e}")
        shares = [phase.residuals for phase in self.phases if isinstance(phase, GaussNewton)]
        if (jacobian := max(shares, default=0.0) * parameters**2) > LARGEST_JACOBIAN:
            raise ValueError(f"a Jacobian would hold {jacobian:.0e} numbers, want at most {LARGEST_JACOBIAN:.0e}")

    @property
    def parameters(self) -> int:
        """The model's number of parameters, counted without allocating them."""
        with torch.device("meta"):
            model = Backbone(
                self.model,
                in_features=self.task.in_features,
                out_features=self.task.out_features,
                tokens=self.task.tokens,
            )
        return sum(parameter.numel() for parameter in model.parameters())
