"""Exact iterates in a model's place: the rates are those of the methods, at every scale."""

import pytest
import torch

from solvers import Status, errors, reference
from solvers.learned.base import LearnedSolver
from solvers.learned.iterates import (
    ExactDescent,
    ExactMomentum,
    LearnedChebyshev,
    LearnedDirect,
    LearnedIteration,
    LearnedMomentum,
    exact_chebyshev,
    exact_solution,
)
from solvers.problems import LstsqProblem, random_problem

from ..tolerance import tolerance, unit


def worst(solver: LearnedSolver, problem: LstsqProblem) -> torch.Tensor:
    """The largest error of a batch after each application, relative to ‖x*‖, which is that of x₀ = 0."""
    trace = torch.as_tensor(solver.solve(problem.A, problem.b, record=True).trace)
    expected = tuple(torch.from_numpy(part).expand_as(trace) for part in reference.solve_exact(problem.A, problem.b))
    return torch.as_tensor(errors.forward_error(trace, expected)).amax(dim=1)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 3e4, 1e300])
@pytest.mark.parametrize("condition", [2.0, 10.0, 30.0])
def test_chebyshev_keeps_below_its_bound(condition: float, scale: float, generator: torch.Generator) -> None:
    problem = random_problem(12, 4, condition=condition, residual=0.5, scale=scale, batch=(10,), generator=generator)
    error = worst(LearnedChebyshev(exact_chebyshev, tolerance=0.0, max_iterations=round(4 * condition)), problem)
    q, k = (condition - 1) / (condition + 1), torch.arange(len(error), dtype=torch.float64)
    rounding = tolerance(12, 4, torch.float64, condition=condition, power=2) * condition
    assert bool((error <= 2 * q**k / (1 + q ** (2 * k)) + rounding).all())


@pytest.mark.parametrize("scale", [1e-300, 1.0, 3e4])
def test_momentum_contracts_as_it_should(scale: float, generator: torch.Generator) -> None:
    problem = random_problem(12, 4, condition=10.0, scale=scale, batch=(10,), generator=generator)
    error = worst(LearnedMomentum(ExactMomentum(10.0), tolerance=0.0, max_iterations=80), problem)
    q, k = 9 / 11, torch.arange(len(error), dtype=torch.float64)
    assert bool((error <= (1 + 2 * k) * q**k + tolerance(12, 4, torch.float64, condition=10.0, power=2)).all())


@pytest.mark.parametrize("steps", [1, 4])
def test_k_steps_contract_whatever_the_size_of_a(steps: int, generator: torch.Generator) -> None:
    step, condition = ExactDescent(20, 0.5, steps), 3.0
    for scale in torch.logspace(0, 2, 17, base=2).tolist():
        problem = random_problem(12, 4, condition=condition, scale=scale, batch=(5,), generator=generator)
        size = float(torch.linalg.svdvals(problem.A)[0, 0])
        solver = LearnedIteration(step, tolerance=0.0, max_iterations=8)
        error = worst(solver, problem)
        # (η/N) σ₁² is brought to between 1.96/4 and 1.96.
        largest = 1.96 / 4 ** (torch.log2(torch.tensor((1.96 * 20 / 0.5) ** 0.5 / size)) % 1)
        rate = max(float((1 - largest / condition**2).abs()), float((1 - largest).abs()))
        allowed = rate ** (steps * torch.arange(len(error), dtype=torch.float64))
        assert bool((error <= allowed * (1 + 2.0**-20) + tolerance(12, 4, torch.float64, condition=9.0)).all())


def test_a_model_is_asked_for_the_solution_once_and_at_one_size(generator: torch.Generator) -> None:
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        asked.append((A, b))
        return exact_solution(A, b)

    for scale in (1e-250, 1e-3, 1.0, 1e250):
        problem = random_problem(20, 5, condition=1e3, scale=scale, batch=(6,), generator=generator)
        result = LearnedDirect(watched).solve(problem.A, problem.b, x0=problem.x, record=True)
        assert result.iterations.tolist() == [1] * 6
        assert result.status.tolist() == [Status.CONVERGED] * 6
        assert torch.equal(result.trace, torch.stack([torch.zeros_like(problem.x), result.x]))
        A, b = asked.pop()
        assert not asked
        size = A.square().mean(dim=(-2, -1)).sqrt()
        assert bool(((size >= 2**-0.5) & (size <= 2**0.5)).all())
        assert bool(((b.abs().amax(dim=-1) >= 2) & (b.abs().amax(dim=-1) < 4)).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_control_of_a_solution_is_that_of_qr(dtype: torch.dtype, generator: torch.Generator) -> None:
    problem = random_problem(20, 5, condition=10.0, residual=1.0, batch=(6,), dtype=dtype, generator=generator)
    x = exact_solution(problem.A, problem.b)
    expected = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
    assert x.dtype == dtype
    error = float(torch.as_tensor(errors.forward_error(x, expected)).max())
    assert unit(dtype) / 4 <= error <= tolerance(20, 5, dtype, condition=100.0)
