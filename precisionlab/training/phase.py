"""What a phase of training is to the loop that runs it: a small state machine on one vector of parameters.

Between two calls of `advance` a phase is fully described by `state()`, so a run can be stopped at any of those points
and continued bit for bit.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import torch

from precisionlab.training.objective import Objective


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
        """Do the smallest amount of work worth a row of metrics.

        Returns:
            The row: at least ``mse``, on the validation problems.
        """

    def state(self) -> State:
        """All that `restore` needs.

        Returns:
            Tensors and numbers by name.
        """

    def restore(self, state: State) -> None:
        """Continue from a state.

        Args:
            state: What `state` returned.
        """


class PhaseConfig(Protocol):
    """A phase's settings, which know how to start it."""

    @property
    def kind(self) -> str:
        """The phase's name."""

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> PhaseRun:
        """Begin.

        Args:
            objective: What is minimised.
            theta: Where to start from, (P,); not written to.
            place: Where in the run.

        Returns:
            The phase at work.
        """
