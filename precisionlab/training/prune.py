"""Prune: exact zeros for the weights that training has made small.

Where the factors of a product all have to vanish, the zero they lead to is of high multiplicity: Gauss–Newton
approaches it slowly, and ever more slowly as the singular values fall with the distance (docs/precision.md). One factor
set to zero ends that: the product is then zero whatever the others are, and what is left has simple zeros. A
`GaussNewton` phase with `keep_zeros` goes on from there.

Cost: none.
"""

from typing import Annotated, Any

import torch
from pydantic import Field

from precisionlab.training.objective import Objective
from precisionlab.training.phase import Outcome, Place, State, phase


@phase("prune")
class Prune:
    """Settings of the prune phase.

    Args:
        threshold: A weight below this fraction of the root mean square of its tensor is set to zero.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)] = 2e-3

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "PruneRun":
        """Begin."""
        del place
        return PruneRun(self, objective, theta)


class PruneRun:
    """The prune phase at work."""

    step: int
    outcome: Outcome | None

    def __init__(self, config: Prune, objective: Objective, theta: torch.Tensor) -> None:
        self.config, self.objective, self.theta = config, objective, theta.clone()
        self.step, self.outcome = 0, None

    def advance(self) -> dict[str, Any]:
        """Prune."""
        pieces = [self._pruned(weight).flatten() for weight in self.objective.named(self.theta).values()]
        self.theta = torch.cat(pieces)
        self.step, self.outcome = 1, Outcome.EXHAUSTED
        return {"mse": self.objective.validation_mse(self.theta), "pruned": int((self.theta == 0).sum())}

    def state(self) -> State:
        """All that `restore` needs."""
        return {"theta": self.theta, "step": self.step}

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self.theta, self.step = torch.as_tensor(state["theta"]).clone(), int(state["step"])

    def _pruned(self, weight: torch.Tensor) -> torch.Tensor:
        if not weight.numel():
            return weight
        return torch.where(weight.abs() < self.config.threshold * weight.square().mean().sqrt(), 0.0, weight)
