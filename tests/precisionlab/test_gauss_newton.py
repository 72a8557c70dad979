"""The damped Gauss–Newton step against its formula, and what takes the phase to the floor."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import Adam, GaussNewton, Objective
from precisionlab.training.objective import Stream
from precisionlab.training.phase import Outcome, PhaseRun, Place
from precisionlab.training.scaled_system import SHORTEST, ScaledSystem

EPS = torch.finfo(torch.float64).eps


def by_the_formula(J: torch.Tensor, r: torch.Tensor, damping: float) -> torch.Tensor:
    """S⁻¹ times the minimiser of ‖Jₛ d − r‖² + λ‖d‖², by QR of [Jₛ; √λ I]."""
    lengths = J.norm(dim=0)
    lengths = lengths.clamp_min(SHORTEST * float(lengths.max()))
    columns = J.shape[1]
    stacked = torch.cat([J / lengths, damping**0.5 * torch.eye(columns, dtype=J.dtype)])
    right = torch.cat([r, torch.zeros(columns, dtype=J.dtype)])
    step: torch.Tensor = torch.linalg.lstsq(stacked, right.unsqueeze(-1), driver="gels").solution.squeeze(-1) / lengths
    return step


@given(
    residuals=st.integers(1, 12),
    parameters=st.integers(1, 12),
    damping=st.floats(1e-6, 1e3),
    spread=st.integers(0, 100),
    seed=st.integers(0, 2**31),
)
def test_both_forms_of_the_system_are_the_formula(
    residuals: int, parameters: int, damping: float, spread: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(residuals, parameters, dtype=torch.float64, generator=generator)
    J *= 10.0 ** (-spread * torch.linspace(0, 1, parameters, dtype=torch.float64) / 10)
    r = torch.randn(residuals, dtype=torch.float64, generator=generator)
    expected = by_the_formula(J, r, damping)
    scale = J.norm(dim=0)
    step = ScaledSystem(J.clone(), r).solve(damping)
    assert step is not None
    # Scaled by S, the system has condition number at most 1 + residuals · parameters / λ.
    condition = 1 + residuals * parameters / damping
    bound = 40 * (residuals + parameters) * EPS * condition * (scale * expected).norm() + EPS**2
    assert ((step - expected) * scale).norm() <= bound


@given(residuals=st.integers(1, 6), parameters=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_sharpening_undoes_the_damping(residuals: int, parameters: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    J = torch.randn(residuals, parameters, dtype=torch.float64, generator=generator)
    r = torch.randn(residuals, dtype=torch.float64, generator=generator)
    lengths = J.norm(dim=0)
    system = ScaledSystem(J.clone(), r)
    assert system.factorise(0.5)
    step = system.sharpened()
    assert step is not None
    exact = torch.linalg.lstsq(J / lengths, r.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
    # More iterations than singular values: what is left is rounding, relative to the smallest of these squared.
    smallest = torch.linalg.svdvals(J / lengths).min()
    assert (step * lengths - exact).norm() <= 1000 * EPS * (1 + r.norm()) / smallest**4


def test_a_parameter_that_does_nothing_stays_where_it_is() -> None:
    J = torch.randn(6, 4, dtype=torch.float64)
    J[:, 2] = 0
    step = ScaledSystem(J, torch.randn(6, dtype=torch.float64)).solve(1e-9)
    assert step is not None
    assert step[2] == 0
    assert step.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_step_comes_out_of_a_system_that_is_not_finite(bad: float) -> None:
    J = torch.randn(6, 4, dtype=torch.float64)
    J[0, 0] = bad
    assert ScaledSystem(J, torch.randn(6, dtype=torch.float64)).solve(1e-3) is None


def objective(seed: int = 0, dtype: torch.dtype = torch.float64) -> Objective:
    return Objective(
        ModelConfig(mixer=LinearAttention(heads=2), width=8),
        ExplicitGradient(n=2, rows=6),
        dtype=dtype,
        device="cpu",
        seed=seed,
    )


def run_to_the_end(phase: PhaseRun) -> list[dict[str, float]]:
    rows = []
    while phase.outcome is None:
        rows.append(phase.advance())
    return rows


def warmed_up(problem: Objective) -> torch.Tensor:
    adam = Adam(steps=3000, until=1e-2).start(problem, problem.initial(0), Place(attempt=0, phase=0))
    run_to_the_end(adam)
    assert adam.outcome is Outcome.REACHED
    return adam.theta


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_floor_is_that_of_the_dtype(dtype: torch.dtype) -> None:
    problem = objective(dtype=dtype)
    phase = GaussNewton().start(problem, warmed_up(problem), Place(attempt=0, phase=1))
    run_to_the_end(phase)
    assert phase.outcome is Outcome.REACHED
    u = torch.finfo(dtype).eps / 2
    assert problem.test_mse(phase.theta, 1000) <= 2 * (16 * u) ** 2 * problem.target_mean_square()


def test_the_jacobian_is_that_of_the_prediction() -> None:
    problem = objective()
    theta, example = problem.initial(0), problem.batch(Stream.VALIDATION, 1, size=4)
    prompt = example.prompt
    weights = torch.randn(4, 2, dtype=torch.float64)
    theta.requires_grad_()
    (expected,) = torch.autograd.grad((problem.predict(theta, prompt) * weights).sum(), theta)
    rows = problem.jacobian(theta.detach(), example)
    # Each entry of the product sums 8 terms, of which each went through sums of at most 3 · 8 · 7.
    allowed = 8 * 168 * EPS * (weights.flatten().abs() @ rows.abs()).max()
    assert (weights.flatten() @ rows - expected).abs().max() <= allowed


def test_batches_depend_on_their_place_and_on_nothing_else() -> None:
    one, two = objective(), objective()
    stream = Stream.TRAINING
    first = one.batch(stream, 0, 1, 2, size=5).prompt
    one.batch(stream, 0, 1, 3, size=5)
    assert torch.equal(first, two.batch(stream, 0, 1, 2, size=5).prompt)
    assert not torch.equal(first, two.batch(stream, 0, 1, 3, size=5).prompt)
    assert not torch.equal(first, objective(seed=1).batch(stream, 0, 1, 2, size=5).prompt)


@pytest.mark.parametrize("kind", ["adam", "gauss-newton"])
def test_a_restored_phase_goes_on_bit_for_bit(kind: str) -> None:
    problem, place = objective(), Place(attempt=0, phase=0)
    config = Adam(steps=400) if kind == "adam" else GaussNewton(steps=8)
    whole = config.start(problem, problem.initial(0), place)
    part = config.start(problem, problem.initial(0), place)
    for _ in range(3):
        part.advance()
    state = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in part.state().items()}
    resumed = config.start(problem, problem.initial(0), place)
    resumed.restore(state)
    rows = run_to_the_end(whole)
    assert rows[3:] == run_to_the_end(resumed)
    assert torch.equal(whole.theta, resumed.theta)
