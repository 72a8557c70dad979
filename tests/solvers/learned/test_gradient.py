"""A step function made into a solver: here the true gradient, exact or disturbed, so that no model is needed."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import errors, reference
from solvers.learned.gradient import LearnedGradient
from solvers.problems import random_problem
from solvers.result import Status

U = 2.0**-53


def true_gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (A.mT @ (A @ x.unsqueeze(-1) - b.unsqueeze(-1))).squeeze(-1)


def disturbed(size: float):
    """The gradient with an absolute error that is always the same, as a model's is where its input is."""

    def gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return true_gradient(A, b, x) + size * torch.cos(torch.arange(x.shape[-1], dtype=x.dtype))

    return gradient


def error_of(solver: LearnedGradient, A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(A, b))
    return torch.as_tensor(errors.forward_error(solver.solve(A, b).x, exact))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**31),
    m=st.integers(4, 12),
    condition=st.floats(1.0, 10.0),
    residual=st.sampled_from([0.0, 1.0]),
)
def test_converged_means_within_the_documented_error(seed: int, m: int, condition: float, residual: float) -> None:
    problem = random_problem(
        m, 3, condition=condition, residual=residual, batch=(4,), generator=torch.Generator().manual_seed(seed)
    )
    solver = LearnedGradient(true_gradient, max_iterations=30_000)
    result = solver.solve(problem.A, problem.b)
    assert (result.status == Status.CONVERGED).all()
    relative_residual = problem.residual_norm / (problem.singular_values[:, 0] * problem.x.norm(dim=-1))
    allowed = 32 * U * condition**2 * (1 + relative_residual)
    assert (error_of(solver, problem.A, problem.b) <= 2 * allowed).all()


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-12])
def test_refinement_turns_an_absolute_error_into_a_relative_one(size: float, generator: torch.Generator) -> None:
    problem = random_problem(20, 5, condition=3, batch=(10,), generator=generator)
    refined = LearnedGradient(disturbed(size), tolerance=0.0, max_iterations=400)
    plain = LearnedGradient(disturbed(size), tolerance=0.0, max_iterations=400, refinement=None)
    assert (error_of(plain, problem.A, problem.b) >= size / 100).all()
    assert (error_of(refined, problem.A, problem.b) <= 2 * U).all()


@pytest.mark.parametrize("exponent", [-900, -300, -1, 1, 300, 900])
@pytest.mark.parametrize("which", ["A", "b", "both"])
def test_a_power_of_two_changes_nothing_but_the_exponent(exponent: int, which: str, generator: torch.Generator) -> None:
    problem = random_problem(8, 3, batch=(5,), generator=generator)
    solver = LearnedGradient(disturbed(1e-9), max_iterations=50, tolerance=0.0)
    plain = solver.solve(problem.A, problem.b).x
    factor = 2.0**exponent
    A = problem.A * (1.0 if which == "b" else factor)
    b = problem.b * (1.0 if which == "A" else factor)
    expected = plain * {"A": 1 / factor, "b": factor, "both": 1.0}[which]
    assert torch.equal(torch.as_tensor(solver.solve(A, b).x), expected)


def test_a_given_step_size_means_the_callers_matrix(generator: torch.Generator) -> None:
    problem = random_problem(8, 3, batch=(1,), scale=1000.0, generator=generator)
    eta = 1e-6
    trace = LearnedGradient(true_gradient, step_size=eta, max_iterations=1, tolerance=0.0, refinement=None)
    x0 = torch.ones(1, 3, dtype=torch.float64)
    one = trace.solve(problem.A, problem.b, x0=x0).x
    expected = x0 - eta * true_gradient(problem.A, problem.b, x0)
    assert (one - expected).abs().max() <= 64 * U * expected.abs().max()


def test_the_trace_runs_from_the_start_to_the_answer(generator: torch.Generator) -> None:
    problem = random_problem(8, 3, condition=2, batch=(2, 3), generator=generator)
    x0 = torch.ones(2, 3, 3, dtype=torch.float64)
    result = LearnedGradient(true_gradient, max_iterations=25, tolerance=0.0).solve(
        problem.A, problem.b, x0=x0, record=True
    )
    assert result.trace.shape == (26, 2, 3, 3)
    assert torch.equal(result.trace[0], x0)
    assert torch.equal(result.trace[-1], result.x)
    assert (result.iterations == 25).all()
    assert (result.status == Status.MAX_ITERATIONS).all()


def test_each_problem_ends_in_its_own_way(generator: torch.Generator) -> None:
    easy, hard = (random_problem(8, 3, condition=kappa, generator=generator) for kappa in (1.5, 1e6))
    dependent = easy.A.clone()
    dependent[:, 2] = dependent[:, 1]
    A, b = torch.stack([easy.A, hard.A, dependent]), torch.stack([easy.b, hard.b, easy.b])
    result = LearnedGradient(true_gradient, max_iterations=200).solve(A, b)
    assert result.status.tolist() == [Status.CONVERGED, Status.MAX_ITERATIONS, Status.RANK_DEFICIENT]
    assert result.iterations[0] < result.iterations[1] == 200


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_a_breakdown(broken: float, generator: torch.Generator) -> None:
    problem = random_problem(8, 3, condition=2, batch=(3,), generator=generator)
    problem.A[-1, 0, 0] = 0

    def gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        emitted = true_gradient(A, b, x)
        emitted[A[:, 0, 0] == 0] = broken
        return emitted

    result = LearnedGradient(gradient).solve(problem.A, problem.b)
    assert result.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.BREAKDOWN]
    assert result.x.isfinite().all()


@pytest.mark.parametrize("refinement", [None, 10])
@pytest.mark.parametrize("growth", [2.0, 1e9, 1e100])
def test_growing_until_squares_overflow_is_no_convergence(
    refinement: int | None, growth: float, generator: torch.Generator
) -> None:
    problem = random_problem(20, 5, condition=4.0, batch=(8,), generator=generator)
    upwards = LearnedGradient(lambda A, b, x: -growth * true_gradient(A, b, x), refinement=refinement)
    result = upwards.solve(problem.A, problem.b)
    assert not torch.as_tensor(result.converged).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_zero_right_hand_side_has_a_zero_solution(dtype: torch.dtype, generator: torch.Generator) -> None:
    A = random_problem(8, 3, batch=(2,), dtype=dtype, generator=generator).A
    result = LearnedGradient(true_gradient).solve(A, torch.zeros(2, 8, dtype=dtype))
    assert (result.status == Status.CONVERGED).all()
    assert (result.x == 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step_size": "best"}, "step_size: got 'best', wants one of 'spectrum'"),
        ({"step_size": -1.0}, "step_size: got -1.0"),
        ({"max_iterations": -1}, "max_iterations: got -1"),
        ({"tolerance": 1.0}, "tolerance: got 1.0"),
        ({"refinement": 0}, "refinement: got 0"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        LearnedGradient(true_gradient, **options)
