"""Snapping: rounding-level terms become exact zeros, needed ones stay, and what cannot be snapped is not passed off."""

import pytest
import torch

import precisionlab
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.models.polynomial import extract
from precisionlab.tasks import NewtonSchulz
from precisionlab.training import Objective
from precisionlab.training.phase import Outcome, Place
from precisionlab.training.snap import Snap, plain_weights, pruned

PLACE = Place(attempt=0, phase=2)
N, WIDTH = 3, 7


def objective() -> Objective:
    model = ModelConfig(mixer=LinearAttention(normalise="none"), width=WIDTH, layers=1, positions="none")
    return Objective(model, NewtonSchulz(n=N, rows=6), dtype=torch.float64, device="cpu", seed=0)


def mixed_solution(subject: Objective, *, noise: float, last: float = 1.0) -> torch.Tensor:
    """Exact weights of the step in a random basis, off by noise: what training to the floor leaves.

    With last other than 1 the last term of a · x has a wrong coefficient.
    """
    generator = torch.Generator().manual_seed(5)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    basis = torch.linalg.qr(random(WIDTH, WIDTH)).Q  # z = basis [a, x, 0]
    keys, values = torch.linalg.qr(random(WIDTH, WIDTH)).Q, torch.linalg.qr(random(WIDTH, WIDTH)).Q
    eye = torch.eye(WIDTH, dtype=torch.float64)
    pick_a, pick_x = eye[:N].clone(), eye[N : 2 * N]
    pick_a[-1] *= last
    weights = {name: torch.zeros_like(p) for name, p in subject.model.named_parameters()}
    weights["read_in.weight"] = basis[:, : 2 * N]
    query, key, value = weights["mixers.0.qkv.weight"].chunk(3)
    query.copy_(keys[:, :N] @ pick_x @ basis.T)
    key.copy_(keys[:, :N] @ pick_a @ basis.T)
    value.copy_(values[:, :N] @ pick_x @ basis.T)
    weights["mixers.0.out.weight"] = -basis @ pick_x.T @ values[:, :N].T / 2
    weights["read_out.weight"] = 2 * pick_x @ basis.T
    theta = torch.cat([weights[name].flatten() for name, _ in subject.model.named_parameters()])
    return theta + noise * random(len(theta))


def advanced(config: Snap, subject: Objective, theta: torch.Tensor) -> tuple[Outcome | None, torch.Tensor, list[int]]:
    run = config.start(subject, theta, PLACE)
    kept = []
    while run.outcome is None:
        kept.append(run.advance()["kept"])
    return run.outcome, run.theta, kept


def test_rounding_becomes_exact_zeros() -> None:
    subject = objective()
    theta = mixed_solution(subject, noise=1e-11)
    outcome, snapped, kept = advanced(Snap(), subject, theta)
    assert outcome is Outcome.REACHED
    assert kept == [3 * N] * len(kept)  # n scores, n values, n linear coefficients
    subject.model.load_state_dict(subject.named(snapped))
    polynomial = extract(subject.model)
    assert int((polynomial.cubic() != 0).sum()) == 2 * N * N
    assert int((polynomial.linear != 0).sum()) == N
    assert not bool(polynomial.constant.any())
    # The noise was far above the floor: it is the polish that reaches it.
    assert subject.validation_mse(snapped) < 1e-6 * subject.validation_mse(theta)


def test_a_term_that_was_needed_is_missed() -> None:
    subject = objective()
    theta = mixed_solution(subject, noise=0.0)
    outcome, _, _ = advanced(Snap(), subject, theta)
    assert outcome is Outcome.REACHED
    named = subject.named(theta.clone())
    named["read_out.weight"][0] *= 1e-9  # the first answer's coefficients sink below the threshold
    theta = torch.cat([named[name].flatten() for name, _ in subject.model.named_parameters()])
    assert advanced(Snap(), subject, theta)[0] is Outcome.STALLED


def test_a_coefficient_taken_for_rounding_is_missed_by_the_polish() -> None:
    subject = objective()
    outcome, _, kept = advanced(Snap(), subject, mixed_solution(subject, noise=0.0, last=1e-9))
    assert kept == [3 * N - 1] * len(kept)
    assert outcome is Outcome.STALLED
    # One that is merely wrong is kept, and set right.
    assert advanced(Snap(), subject, mixed_solution(subject, noise=0.0, last=1.001))[0] is Outcome.REACHED


def test_a_model_far_from_a_solution_is_not_snapped() -> None:
    subject = objective()
    run = Snap().start(subject, subject.initial(0), PLACE)
    row = run.advance()
    assert (run.outcome, row["kept"]) == (Outcome.STALLED, 0)
    assert torch.equal(run.theta, subject.initial(0))


def test_plain_weights_emit_the_same() -> None:
    subject = objective()
    theta = mixed_solution(subject, noise=0.0)
    prompt = subject.task.sample(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64).prompt
    before = subject.predict(theta, prompt)
    subject.model.load_state_dict(subject.named(theta))
    weights = plain_weights(pruned(extract(subject.model), 1e-12), subject.model)
    assert weights is not None
    after = subject.predict(
        torch.cat([weights[name].flatten() for name, _ in subject.model.named_parameters()]), prompt
    )
    assert (after - before).abs().max() <= 64 * WIDTH**2 * torch.finfo(torch.float64).eps * before.abs().max()


def test_a_narrow_or_many_headed_model_has_no_plain_form() -> None:
    model = precisionlab.load("linear-attention/newton-schulz").model
    polynomial = extract(model)
    assert plain_weights(polynomial, model) is not None
    doubled = type(polynomial)(
        constant=polynomial.constant,
        linear=polynomial.linear,
        values=polynomial.values.repeat(2, 1, 1),
        scores=polynomial.scores.repeat(2, 1, 1),
    )
    assert plain_weights(doubled, model) is None


def test_a_snap_resumes_bit_for_bit() -> None:
    subject = objective()
    theta = mixed_solution(subject, noise=1e-11)
    whole = Snap().start(subject, theta, PLACE)
    whole.advance()
    resumed = Snap().start(subject, theta, PLACE)
    resumed.restore(whole.state())
    while whole.outcome is None:
        assert whole.advance() == resumed.advance()
    assert torch.equal(whole.theta, resumed.theta)
    assert whole.outcome is resumed.outcome


@pytest.mark.parametrize("seed", [1, 2])
def test_training_finds_the_algorithm_from_random_weights(seed: int) -> None:
    run = precisionlab.train(
        "linear-attention/newton-schulz", seed=seed, progress=False, **{"task.n": 2, "task.rows": 6, "width": 6}
    )
    assert run.card.ended == "reached"
    polynomial = extract(run.model)
    assert int((polynomial.cubic() != 0).sum()) == 2 * 2 * 2
    assert int((polynomial.linear != 0).sum()) == 2
