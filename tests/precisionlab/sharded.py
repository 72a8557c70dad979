"""What each of several processes runs: the same sums alone and shared, and the differences as JSON."""

import json
import sys
from pathlib import Path

import torch

import precisionlab
from precisionlab.training import Objective, distributed
from precisionlab.training.blocked_system import BlockedSystem
from precisionlab.training.gauss_newton import ScaledSystem
from precisionlab.training.objective import Stream
from precisionlab.training.phase import Outcome
from precisionlab.training.snap import Snap

from . import test_snap

DAMPING = 1e-2
PROBLEMS = {"dual": 31, "primal": 701}
"""Odd, so that the shares differ."""
FEW = 3
"""Fewer than four processes."""


def quantities(objective: Objective) -> dict[str, torch.Tensor]:
    """The loss, its gradient, the validation error, and Gauss–Newton steps of both forms."""
    theta = objective.initial(0).requires_grad_()
    example = objective.batch(Stream.TRAINING, 0, 0, 0, size=PROBLEMS["dual"])
    loss = objective.loss(theta, example)
    (gradient,) = torch.autograd.grad(loss, theta)
    theta = theta.detach()
    found = {
        "loss": loss.detach(),
        "gradient": gradient,
        "validation": torch.tensor(objective.validation_mse(theta)),
    }
    for form, size in PROBLEMS.items():
        batch = objective.batch(Stream.TRAINING, 0, 1, 0, size=size)
        step = ScaledSystem(objective.jacobian(theta, batch), objective.residual(theta, batch)).solve(DAMPING)
        assert step is not None
        found[form] = step
    few = objective.batch(Stream.TRAINING, 0, 2, 0, size=FEW)
    found["few"] = objective.jacobian(theta, few)
    blocked = BlockedSystem(objective, theta, few).solve(DAMPING)
    assert blocked is not None
    found["blocked"] = blocked
    found["snap"] = snapped()
    return found


def snapped() -> torch.Tensor:
    """The snap phase's parameters at its end."""
    subject = test_snap.objective()
    run = Snap().start(subject, test_snap.mixed_solution(subject, noise=1e-11), test_snap.PLACE)
    while run.outcome is None:
        run.advance()
    assert run.outcome is Outcome.REACHED
    return run.theta


def main(out: Path) -> None:
    experiment = precisionlab.load("linear-attention/explicit-gradient").experiment
    objective = Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=0)
    alone = quantities(objective)
    with distributed.joined("cpu"):
        shared = quantities(objective)
        differences = {name: float((shared[name] - alone[name]).norm() / alone[name].norm()) for name in alone} | {
            "processes": distributed.size()
        }
        everywhere = distributed.gathered(torch.cat([value.reshape(-1) for value in shared.values()])[None])
        differences["spread"] = float((everywhere - everywhere[:1]).abs().max())
    if distributed.first():
        out.write_text(json.dumps(differences))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
