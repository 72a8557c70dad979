"""The prune phase, and Gauss–Newton going on from its zeros."""

from dataclasses import replace

import pytest
import torch

from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import GaussNewton, Objective
from precisionlab.training.phase import Outcome, Place
from precisionlab.training.prune import Prune

THRESHOLD = 0.25


@pytest.fixture
def objective() -> Objective:
    return Objective(
        ModelConfig(mixer=LinearAttention(heads=2), width=8),
        ExplicitGradient(n=2, rows=6),
        dtype=torch.float64,
        device="cpu",
        seed=0,
    )


def pruned(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    run = Prune(threshold=THRESHOLD).start(objective, theta, Place(attempt=0, phase=1))
    row = run.advance()
    assert run.outcome is Outcome.EXHAUSTED
    assert row["pruned"] == int((run.theta == 0).sum())
    assert row["mse"] == objective.validation_mse(run.theta)
    return run.theta


def test_small_weights_become_zero_and_others_stay(objective: Objective) -> None:
    theta = objective.initial(0)
    after = objective.named(pruned(objective, theta))
    for name, weight in objective.named(theta).items():
        small = weight.abs() < THRESHOLD * weight.square().mean().sqrt() if weight.numel() else weight == 0
        assert torch.equal(after[name], torch.where(small, 0.0, weight))


@pytest.mark.parametrize("keep", [True, False])
def test_gauss_newton_keeps_zeros_where_it_is_told_to(objective: Objective, keep: bool) -> None:
    theta = pruned(objective, objective.initial(0))
    config = replace(GaussNewton(residuals=1.5, damping=1.0), keep_zeros=keep)
    run = config.start(objective, theta, Place(attempt=0, phase=2))
    for _ in range(6):
        run.advance()
    assert not torch.equal(run.theta, theta)
    stayed = run.theta[theta == 0] == 0
    assert bool(stayed.all()) == keep
    # What was not zero is free in both.
    assert (run.theta[theta != 0] != theta[theta != 0]).any()


def test_a_pruned_run_is_restored_as_it_was(objective: Objective) -> None:
    place = Place(attempt=0, phase=1)
    run = Prune().start(objective, objective.initial(0), place)
    run.advance()
    again = Prune().start(objective, objective.initial(1), place)
    again.restore(run.state())
    assert torch.equal(again.theta, run.theta)
    assert again.step == run.step


def test_zeros_are_not_kept_by_blocks() -> None:
    with pytest.raises(ValueError, match="keep_zeros"):
        GaussNewton(keep_zeros=True, solver="blocked")
