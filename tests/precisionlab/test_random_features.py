"""Random features: coordinates, weights of a wider distribution, and stacks at the limit of their depth."""

import pytest
import torch

from precisionlab.inspect import limits
from precisionlab.models import EquivariantAnswer, EquivariantAttention, ModelConfig
from precisionlab.tasks import LeastSquares
from precisionlab.training import Objective, Place
from precisionlab.training.random_features import RandomFeatures, independent, stretched

GAUSSIAN, FIXED = LeastSquares(), LeastSquares(condition=5.0, spectrum="extremes")
PLACE = Place(attempt=0, phase=0)


def objective(task: LeastSquares, layers: int) -> Objective:
    mixer = EquivariantAnswer(answers=layers - 1)
    model = ModelConfig(mixer=mixer, width=layers, layers=layers, positions="none")
    return Objective(model, task, dtype=torch.float64, device="cpu", seed=0)


def trained(task: LeastSquares, layers: int, phase: RandomFeatures) -> float:
    """Mean squared error on fresh problems."""
    subject = objective(task, layers)
    run = phase.start(subject, subject.initial(0), PLACE)
    while run.outcome is None:
        run.advance()
    assert run.step == layers
    return subject.test_mse(run.theta, 20_000)


@pytest.mark.parametrize("layers", [2, 3])
def test_a_stack_reaches_the_limit_of_its_depth(layers: int) -> None:
    A = FIXED.sample(20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64).prompt[..., :-1]
    limit = limits.mean_square_of(torch.linalg.svdvals(A).square(), limits.degree(layers))
    assert 0.8 * limit <= trained(FIXED, layers, RandomFeatures(batch=1000)) <= 1.25 * limit


def test_beyond_the_sample_stretched_problems_hold_it() -> None:
    limit = float(limits.mean_square(limits.gaussian_moments(20, 5, 27), 13))
    stretches = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
    assert trained(GAUSSIAN, 3, RandomFeatures(batch=4000, stretches=stretches)) <= 2 * limit
    # Without, what is small on the sample is huge beyond it.
    assert trained(GAUSSIAN, 3, RandomFeatures(batch=1000)) > 2 * limit


def test_a_run_goes_on_where_it_was_stopped() -> None:
    subject, phase = objective(FIXED, 3), RandomFeatures(batch=200)
    whole, first = (phase.start(subject, subject.initial(0), PLACE) for _ in range(2))
    first.advance()
    rest = phase.start(subject, torch.zeros_like(first.theta), PLACE)
    rest.restore(first.state())
    for run in (whole, rest):
        while run.outcome is None:
            run.advance()
    assert torch.equal(whole.theta, rest.theta)


def test_sums_are_of_one_size_and_independent() -> None:
    generator = torch.Generator().manual_seed(0)
    terms = torch.randn(1000, 3, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 1e3, 1e-3])
    terms = torch.cat([terms, terms[:, :1], torch.zeros(1000, 1)], dim=1)  # one twice, and one that is nothing
    coefficients, count = independent(torch.eye(5, dtype=torch.float64)[:3], terms.T @ terms, 1e-6)
    sums = terms @ coefficients.T
    assert count == 3
    torch.testing.assert_close(sums.T @ sums, torch.eye(3, dtype=torch.float64))


def test_weights_bring_means_back_to_those_of_normal_matrices() -> None:
    A = torch.randn(200_000, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wider, weight = stretched(A, (1.0, 1.3, 1.6), seed=1)
    values = torch.linalg.svdvals(wider).square()
    for k, moment in enumerate((1, 4, 4 * (4 + 2 + 1))):
        drawn = weight * values.pow(k).mean(dim=1)
        assert abs(drawn.mean() - moment) <= 5 * drawn.std() / len(drawn) ** 0.5


def test_what_it_cannot_train_is_refused() -> None:
    with pytest.raises(ValueError, match="stretches"):
        RandomFeatures(stretches=(1.0, 1.5)).start(objective(FIXED, 2), torch.zeros(18), PLACE)
    model = ModelConfig(mixer=EquivariantAttention(), width=2, layers=2, positions="none")
    other = Objective(model, GAUSSIAN, dtype=torch.float64, device="cpu", seed=0)
    with pytest.raises(ValueError, match="answer token"):
        RandomFeatures().start(other, other.initial(0), PLACE)
