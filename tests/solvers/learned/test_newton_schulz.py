"""A Newton–Schulz step made into a solver: the true step, exact or disturbed, so that no model is needed."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from solvers import Status, errors, reference
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.problems import random_problem
from solvers.testing import check_solver

from ..tolerance import tolerance, unit

U = unit(torch.float64)


def true_step(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    return 2 * X - (X @ A) @ X


def spurious_cubic(size: float):
    """The step, and a term cubic in X that the algorithm does not have."""
    return lambda A, X: true_step(A, X) + size * (X @ X.mT) @ X


def error_of(solver: LearnedNewtonSchulz, problem: object) -> torch.Tensor:
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    return torch.as_tensor(errors.forward_error(solver.solve(problem.A, problem.b).x, exact))


def test_it_is_what_every_solver_is() -> None:
    check_solver(LearnedNewtonSchulz(true_step), max_condition=1e7, max_examples=150)


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 8), extra=st.integers(1, 30), digits=st.floats(0, 9))
def test_correct_to_the_last_bit_whatever_the_residual(seed: int, n: int, extra: int, digits: float) -> None:
    problem = random_problem(
        n + extra,
        n,
        condition=10**digits,
        residual=1.0,
        batch=(2,),
        generator=torch.Generator().manual_seed(seed),
    )
    solver = LearnedNewtonSchulz(true_step)
    result = solver.solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    assert int(result.iterations.max()) <= 4 * math.log2(10**digits) + 20
    # In theory to u while u κ is small; the pair that holds r has 2⁻¹⁰⁴ κ² to give.
    assert float(error_of(solver, problem).max()) <= 2 * U + 8 * 2.0**-104 * 100**digits


def test_steps_are_quadratic_and_few() -> None:
    for condition in (1e1, 1e4, 1e8):
        problem = random_problem(50, 6, condition=condition, batch=(5,), generator=torch.Generator().manual_seed(0))
        result = LearnedNewtonSchulz(true_step, refinement=None).solve(problem.A, problem.b)
        # From λ >= 1/(n^¼ κ²) to ½ by doubling, then squaring to the level of rounding, and two to notice it.
        doubling = 2 * math.log2(condition) + math.log2(6) / 4 + 1
        assert int(result.iterations.max()) <= doubling + math.log2(53) + 2


@pytest.mark.parametrize(("condition", "most"), [(1e1, 9), (1e3, 15), (1e5, 22), (1e7, 29), (1e9, 37)])
@pytest.mark.parametrize(("m", "n"), [(20, 2), (20, 5), (80, 20)])
def test_acceleration_halves_the_steps_and_keeps_the_digits(m: int, n: int, condition: float, most: int) -> None:
    problem = random_problem(m, n, condition=condition, batch=(50,), generator=torch.Generator().manual_seed(2))
    plain = LearnedNewtonSchulz(true_step, refinement=None)
    fast = LearnedNewtonSchulz(true_step, refinement=None, accelerate=True)
    result = fast.solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    assert int(result.iterations.max()) <= most
    assert float(error_of(fast, problem).median()) <= 2 * float(error_of(plain, problem).median())


def test_an_accelerated_solver_is_what_every_solver_is() -> None:
    check_solver(LearnedNewtonSchulz(true_step, accelerate=True), max_condition=1e7, max_examples=25)


@pytest.mark.parametrize("balance", [False, True])
def test_a_spurious_cubic_term_is_what_breaks_it_and_balancing_what_delays_it(balance: bool) -> None:
    size = 2.0**-50
    medians = []
    for condition in (1e2, 1e3, 1e4):
        problem = random_problem(20, 5, condition=condition, batch=(20,), generator=torch.Generator().manual_seed(1))
        solver = LearnedNewtonSchulz(spurious_cubic(size), balance=balance, refinement=None)
        medians.append(float(error_of(solver, problem).median()))
    rates = [math.log10(after / before) for before, after in pairwise(medians)]
    # ε ‖X‖³ beside ‖X‖ = κ: a decade in κ costs two in error. Balanced, ε κ^1.5 beside κ^0.5: one, as rounding does.
    assert all(abs(rate - (1 if balance else 2)) <= 0.4 for rate in rates)


def test_an_unstable_step_is_a_breakdown_and_never_a_silent_answer() -> None:
    problem = random_problem(20, 5, condition=1e3, batch=(10,), generator=torch.Generator().manual_seed(1))
    for step in (spurious_cubic(1.0), lambda A, X: 3 * X, lambda A, X: X * float("nan")):
        result = LearnedNewtonSchulz(step).solve(problem.A, problem.b)
        assert bool((result.status == Status.BREAKDOWN).all())
    stuck = LearnedNewtonSchulz(lambda A, X: X, max_iterations=50).solve(problem.A, problem.b)
    assert bool((stuck.status == Status.MAX_ITERATIONS).all())
    assert stuck.iterations.tolist() == [50] * 10


def test_the_step_is_given_matrices_of_one_size() -> None:
    ratios = []

    def watched(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        ratios.extend((X.flatten(1).norm(dim=1) / A.flatten(1).norm(dim=1)).tolist())
        return true_step(A, X)

    problem = random_problem(20, 5, condition=1e8, batch=(4,), generator=torch.Generator().manual_seed(1))
    solved = LearnedNewtonSchulz(watched).solve(problem.A, problem.b)
    assert 0.5 <= min(ratios) <= max(ratios) <= 2
    # Powers of two commute with the true step: balancing changes no bit.
    plain = LearnedNewtonSchulz(true_step, balance=False).solve(problem.A, problem.b)
    assert torch.equal(solved.x, plain.x)


def test_the_step_is_given_columns_of_length_one() -> None:
    lengths = []

    def watched(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        lengths.extend(torch.linalg.vector_norm(A, dim=-2).flatten().tolist())
        return true_step(A, X)

    A = torch.ones(400, 3, dtype=torch.float64) + torch.eye(400, 3, dtype=torch.float64)
    LearnedNewtonSchulz(watched, balance=False).solve(A, A.sum(dim=-1))
    assert 2**-0.5 - 1e-9 <= min(lengths) <= max(lengths) <= 2**0.5 + 1e-9


@settings(deadline=None)
@given(exponents=st.lists(st.integers(-300, 300), min_size=4, max_size=4), scale=st.integers(-300, 300))
def test_units_change_nothing(exponents: list[int], scale: int) -> None:
    problem = random_problem(10, 4, condition=1e4, residual=0.5, generator=torch.Generator().manual_seed(2))
    units = torch.tensor([2.0**e for e in exponents], dtype=torch.float64)
    solver = LearnedNewtonSchulz(true_step)
    plain, moved = solver.solve(problem.A, problem.b), solver.solve(problem.A * units, problem.b * 2.0**scale)
    assert torch.equal(moved.x * units, plain.x * 2.0**scale)
    assert torch.equal(moved.iterations, plain.iterations)


def test_rank_deficiency_is_said_before_a_step_is_taken() -> None:
    A = torch.randn(3, 10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A[1, :, 2] = A[1, :, 0]
    b = torch.ones(3, 10, dtype=torch.float64)
    result = LearnedNewtonSchulz(true_step).solve(A, b, record=True)
    assert result.status.tolist() == [Status.CONVERGED, Status.RANK_DEFICIENT, Status.CONVERGED]
    assert int(result.iterations[1]) == 0
    assert torch.equal(result.trace[-1], result.x)
    assert result.trace.shape[0] == int(result.iterations.max()) + 1


def test_a_float32_problem_is_answered_to_float32() -> None:
    problem = random_problem(
        30, 5, condition=1e5, residual=1.0, batch=(10,), dtype=torch.float32, generator=torch.Generator().manual_seed(0)
    )
    solver = LearnedNewtonSchulz(true_step)
    assert solver.solve(problem.A, problem.b).x.dtype == torch.float32
    assert float(error_of(solver, problem).max()) <= 2 * unit(torch.float32)


def test_a_step_in_float32_is_refined_to_float64() -> None:
    """A step of half the precision finds X to its own u κ, and the refinement does the rest."""

    def short(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        return true_step(A.float(), X.float()).double()

    problem = random_problem(
        20, 5, condition=1e4, residual=1.0, batch=(20,), generator=torch.Generator().manual_seed(0)
    )
    assert float(error_of(LearnedNewtonSchulz(short), problem).max()) <= 2 * U
    unrefined = error_of(LearnedNewtonSchulz(short, refinement=None), problem)
    assert float(unrefined.median()) >= unit(torch.float32)
    # Where κ is beyond it, it says so.
    hard = random_problem(20, 5, condition=1e6, residual=1.0, batch=(20,), generator=torch.Generator().manual_seed(0))
    assert bool((LearnedNewtonSchulz(short).solve(hard.A, hard.b).status == Status.MAX_ITERATIONS).all())


def test_a_start_that_is_the_solution_stays() -> None:
    problem = random_problem(20, 5, condition=1e3, batch=(5,), generator=torch.Generator().manual_seed(0))
    exact = torch.as_tensor(reference.solve_exact(problem.A, problem.b)[0])
    trace = LearnedNewtonSchulz(true_step).solve(problem.A, problem.b, x0=exact, record=True).trace
    assert torch.equal(trace[0], exact)
    assert float(errors.forward_error(trace, exact.expand_as(trace)).max()) <= tolerance(
        20, 5, torch.float64, condition=1e3
    )


def test_qr_is_left_behind() -> None:
    problem = random_problem(
        50, 8, condition=1e8, residual=1.0, batch=(20,), generator=torch.Generator().manual_seed(0)
    )
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    qr = errors.forward_error(solvers.get("qr").solve(problem.A, problem.b).x, exact)
    assert float(error_of(LearnedNewtonSchulz(true_step), problem).max()) < float(qr.min())


@pytest.mark.parametrize("options", [{"max_iterations": -1}, {"max_iterations": 2.5}])
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises((ValueError, TypeError), match="max_iterations"):
        LearnedNewtonSchulz(true_step, **options)
