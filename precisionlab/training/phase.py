"""What a phase of training is to the loop that runs it: a small state machine on one vector of parameters.

Between two calls of `advance` a phase is fully described by `state()`, so a run can be stopped at any of those points
and continued bit for bit. A class becomes the settings of a phase by ``@phase("its-kind")``, which makes it a frozen,
strict, keyword-only dataclass that files can name.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar, dataclass_transform

import torch
from pydantic import Field

from precisionlab.config import Registry
from precisionlab.training.objective import Objective

T = TypeVar("T")

PHASES = Registry("phase")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def phase(kind: str) -> Callable[[type[T]], type[T]]:
    """Register a class as the settings of a phase.

    Args:
        kind: What files and metrics call it.

    Returns:
        A decorator that makes the class a frozen, strict, keyword-only dataclass.
    """
    return PHASES.register(kind)


class Outcome(StrEnum):
    """How a phase ended.

    REACHED: the error it was asked for, or the floor of the arithmetic.
    STALLED: no progress, above what it was asked for; another start may do better.
    EXHAUSTED: its steps are used up.
    """

    REACHED = "reached"
    STALLED = "stalled"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in a run a phase stands; the key of its data.

    Args:
        attempt: Which start of the run.
        phase: Which phase of the recipe.
    """

    attempt: int
    phase: int


State = dict[str, torch.Tensor | float | int]


class PhaseRun(Protocol):
    """A phase at work."""

    step: int
    outcome: Outcome | None

    @property
    def theta(self) -> torch.Tensor:
        """The parameters the phase stands by, (P,)."""

    def advance(self) -> dict[str, Any]:
        """Do the smallest amount of work worth a row of metrics: at least ``mse``, on the validation problems."""

    def state(self) -> State:
        """All that `restore` needs: tensors and numbers by name."""

    def restore(self, state: State) -> None:
        """Continue from what `state` returned."""


Easier = Mapping[str, bool | int | float | str]
"""Settings of a task that differ while a phase lasts."""


class Phase(Protocol):
    """Settings of a phase, which know how to start it.

    One that has ``easier``, settings of the task and the values they take meanwhile, trains on that task, and is judged
    by it as long as it lasts; the rows of its metrics have the error on the whole task all the same.
    """

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> PhaseRun:
        """Begin at parameters theta (P,), which are not written to, and at a place of the run."""
