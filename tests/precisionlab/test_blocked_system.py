"""The Gauss–Newton system made by blocks of columns: the same step as the dense one, to rounding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import GaussNewton, Objective, blocked_system, gauss_newton
from precisionlab.training.blocked_system import BlockedSystem, columns, factorised, substituted
from precisionlab.training.gauss_newton import ScaledSystem
from precisionlab.training.objective import Stream
from precisionlab.training.phase import Place

DTYPES = [torch.float32, torch.float64]
DAMPING = 1e-2


def objective(dtype: torch.dtype = torch.float64) -> Objective:
    return Objective(
        ModelConfig(mixer=LinearAttention(heads=2), width=8),
        ExplicitGradient(n=2, rows=6),
        dtype=dtype,
        device="cpu",
        seed=0,
    )


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_system, "BLOCK", 20000)
    monkeypatch.setattr(blocked_system, "CHUNK", 100000)
    monkeypatch.setattr(blocked_system, "PANEL", 16)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 100), (17, 333), (560, 610)])
def test_columns_are_those_of_the_jacobian(first: int, last: int) -> None:
    problem = objective()
    theta, example = problem.initial(0), problem.batch(Stream.VALIDATION, 1, size=9)
    whole = problem.jacobian(theta, example)
    got = columns(problem, theta, example.prompt, first, last)
    # An entry goes through sums of at most 3 · 8 · 7 terms, in one order or another.
    assert (got - whole[:, first:last]).abs().max() <= 168 * torch.finfo(torch.float64).eps * whole.abs().max()


@given(size=st.integers(1, 70), damping=st.floats(1e-6, 1e3), seed=st.integers(0, 2**31))
def test_the_factor_solves_and_leaves_the_system_as_it_was(size: int, damping: float, seed: int) -> None:
    draw = torch.randn(size, size + 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    system, right = draw @ draw.mT, draw[:, 0].clone()
    kept = system.clone()
    for _ in range(2):  # a second factorisation starts from the same numbers
        corners = factorised(kept, damping)
        assert corners is not None
        y = substituted(kept, corners, right)
        damped = system + damping * torch.eye(size, dtype=torch.float64)
        # Higham, Accuracy and Stability, Theorem 10.4: the backward error of a solution by Cholesky.
        allowed = 10 * size**2 * torch.finfo(torch.float64).eps * torch.linalg.matrix_norm(damped) * y.norm()
        assert (damped @ y - right).norm() <= allowed
    assert torch.equal(kept.triu(), system.triu())


def test_an_indefinite_system_has_no_factor() -> None:
    assert factorised(-torch.eye(40, dtype=torch.float64), 1e-3) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_step_and_gradient_are_those_of_the_dense_system(dtype: torch.dtype) -> None:
    problem = objective(dtype)
    theta, example = problem.initial(0), problem.batch(Stream.TRAINING, 0, 0, 0, size=100)
    residual = problem.residual(theta, example)
    dense = ScaledSystem(problem.jacobian(theta, example).double(), residual)
    blocked = BlockedSystem(problem, theta, example)
    expected, got = dense.solve(DAMPING), blocked.solve(DAMPING)
    assert expected is not None
    assert got is not None
    # As for sums over the shares of several processes: R u, times the condition of the damped system.
    u, count = torch.finfo(dtype).eps / 2, len(residual)
    assert (got - expected).norm() <= count * u / DAMPING * expected.norm()
    twice = blocked.step(2 * residual)
    assert twice is not None
    assert (twice - 2 * got).norm() <= count * u / DAMPING * expected.norm()
    assert (blocked.gradient - dense.gradient).norm() <= count * u * dense.gradient.norm()
    assert blocked.finite


def test_a_system_that_is_not_finite_says_so() -> None:
    problem = objective()
    theta, example = problem.initial(0), problem.batch(Stream.TRAINING, 0, 0, 0, size=30)
    example.prompt[3, 0, 0] = torch.nan
    assert not BlockedSystem(problem, theta, example).finite


def test_it_is_chosen_by_size_or_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = objective()
    example = problem.batch(Stream.TRAINING, 0, 0, 0, size=20)

    def chosen(solver: str) -> type:
        config = GaussNewton(solver=solver)  # type: ignore[arg-type]
        return type(config.start(problem, problem.initial(0), Place(attempt=0, phase=0))._system(example))

    assert [chosen(solver) for solver in ("auto", "dense", "blocked")] == [ScaledSystem, ScaledSystem, BlockedSystem]
    monkeypatch.setattr(gauss_newton, "DENSE_JACOBIAN", 100)
    assert chosen("auto") is BlockedSystem
    assert chosen("dense") is ScaledSystem


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_resumes_bit_for_bit(dtype: torch.dtype) -> None:
    problem, config = objective(dtype), GaussNewton(steps=2, residuals=0.1, solver="blocked")
    whole, part = (config.start(problem, problem.initial(0), Place(attempt=0, phase=0)) for _ in range(2))
    rows = [whole.advance() for _ in range(2)]
    for row in rows:
        assert part.advance() == row
        state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in part.state().items()}
        part = config.start(problem, problem.initial(1), Place(attempt=0, phase=0))
        part.restore(state)
    assert torch.equal(part.theta, whole.theta)
