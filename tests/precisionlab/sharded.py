"""What each of several processes runs: the same sums alone and shared, and the differences as JSON."""

import json
import sys
from pathlib import Path

import torch

import precisionlab
from precisionlab import distributed
from precisionlab.training import Objective
from precisionlab.training.gauss_newton import ScaledSystem
from precisionlab.training.objective import Stream

DAMPING = 1e-2
PROBLEMS = {"dual": 31, "primal": 701}
"""Odd, so that the shares differ."""


def quantities(objective: Objective) -> dict[str, torch.Tensor]:
    """The loss, its gradient, the validation error, and Gauss–Newton steps of both forms."""
    theta = objective.initial(0).requires_grad_()
    example = objective.batch(Stream.TRAINING, 0, 0, 0, size=PROBLEMS["dual"])
    loss = objective.loss(theta, example)
    (gradient,) = torch.autograd.grad(loss, theta)
    theta = theta.detach()
    found = {
        "loss": distributed.total(loss.detach()),
        "gradient": distributed.total(gradient),
        "validation": torch.tensor(objective.validation_mse(theta)),
    }
    for form, size in PROBLEMS.items():
        part = objective.share(objective.batch(Stream.TRAINING, 0, 1, 0, size=size))
        residual = (objective.predict(theta, part.prompt) - part.target).flatten()
        step = ScaledSystem(objective.jacobian(theta, part.prompt), residual.detach()).solve(DAMPING)
        assert step is not None
        found[form] = step
    return found


def main(out: Path) -> None:
    experiment = precisionlab.load("linear-attention/explicit-gradient").experiment
    objective = Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=0)
    alone = quantities(objective)
    with distributed.joined("cpu"):
        shared = quantities(objective)
        differences = {name: float((shared[name] - alone[name]).norm() / alone[name].norm()) for name in alone} | {
            "processes": distributed.size()
        }
        everywhere, _ = distributed.gathered(torch.cat([value.reshape(-1) for value in shared.values()])[None])
        differences["spread"] = float((everywhere - everywhere[:1]).abs().max())
    if distributed.first():
        out.write_text(json.dumps(differences))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
