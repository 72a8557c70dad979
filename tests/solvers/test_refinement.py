"""Refinement against what it says of itself: to the last bit where κ allows, and nowhere worse than what it began with.

`pytest --hypothesis-profile=nightly tests/solvers/test_refinement.py` draws the 5,000 problems of the documentation.
"""

import numpy as np
import pytest
import torch
from hypothesis import settings

import solvers
from solvers import errors, reference
from solvers.problems import hilbert, lauchli, random_problem
from solvers.refinement import Refinement
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

from .tolerance import tolerance, unit

NIGHTLY = settings.get_current_profile_name() == "nightly"
PROBLEMS = 5000 if NIGHTLY else 1000
BATCH = 10
U = unit(torch.float64)


def exact(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in reference.solve_exact(A, b))


def errors_of(solver: Solver, A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, LstsqResult]:
    """Of the inner solver's answer and of the refined one."""
    refined, expected = solver.solve(A, b), exact(A, b)
    first = solver.solver.solve(A, b)
    before, after = (torch.as_tensor(errors.forward_error(answer.x, expected)) for answer in (first, refined))
    return before.nan_to_num(float("inf")), after.nan_to_num(float("inf")), refined


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_never_worse_than_what_it_began_with(dtype: torch.dtype, residual: float) -> None:
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(5)
    u, largest = unit(dtype), 18 if dtype == torch.float64 else 9
    corrected = 0
    for _ in range(PROBLEMS // 4 // BATCH):
        n = int(rng.integers(1, 9))
        problem = random_problem(
            n + int(rng.integers(1 if residual else 0, 12)),
            n,
            condition=10 ** rng.uniform(0, largest if n > 1 else 0),
            residual=residual,
            batch=(BATCH,),
            dtype=dtype,
            generator=generator,
        )
        before, after, result = errors_of(Refinement(), problem.A, problem.b)
        assert bool((after <= torch.maximum(before, torch.tensor(2 * u))).all())
        corrected += int((result.iterations > 0).sum())
        if float(problem.condition.max()) * u <= 1e-8 * (u / U) ** 0.5:
            assert float(after.max()) <= 2 * u
    assert corrected >= PROBLEMS // 8, "most of the range is to be refined"


def test_a_residual_of_size_one_costs_next_to_nothing_at_a_condition_of_1e9(generator: torch.Generator) -> None:
    problem = random_problem(20, 5, condition=1e9, residual=1.0, batch=(100,), generator=generator)
    _, after, _ = errors_of(Refinement(), problem.A, problem.b)
    assert float(after.median()) <= U
    assert float(after.max()) <= 16 * U


def wilkinson(n: int) -> torch.Tensor:
    """I − triu(1, 1): κ grows as 2ⁿ n and no pivot shows it."""
    return torch.eye(n, dtype=torch.float64) - torch.ones(n, n, dtype=torch.float64).triu(1)


def kahan(n: int, angle: float = 1.2) -> torch.Tensor:
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return torch.diag(torch.tensor([s**k for k in range(n)])).double() @ (
        torch.eye(n, dtype=torch.float64) - c * torch.ones(n, n, dtype=torch.float64).triu(1)
    )


NAMED = {
    **{f"hilbert {n}": hilbert(n).A for n in (4, 8, 10, 11, 12, 13)},
    **{f"läuchli {e}": lauchli(4, epsilon=2.0**-e).A for e in (10, 27, 40, 45, 48, 50)},
    **{f"wilkinson {n}": wilkinson(n) for n in (10, 30, 40, 45, 50, 60)},
    **{f"kahan {n}": kahan(n) for n in (10, 30, 60, 90)},
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("tall", [False, True])
def test_named_matrices(name: str, tall: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    A = NAMED[name]
    if tall:
        Q = torch.linalg.qr(torch.randn(len(A) + 5, len(A), dtype=torch.float64, generator=generator))[0]
        A = Q @ A
    b = torch.randn(A.shape[0], dtype=torch.float64, generator=generator)
    try:
        before, after, result = errors_of(Refinement(), A, b)
    except (ValueError, ArithmeticError):
        pytest.fail("rank-deficient in exact arithmetic")
    assert float(after) <= max(float(before), 2 * U)
    assert int(result.status) == int(solvers.get("qr").solve(A, b).status)


def test_it_keeps_status_condition_and_residual_norm(generator: torch.Generator) -> None:
    problem = random_problem(12, 4, condition=1e5, residual=1.0, batch=(3,), generator=generator)
    A = problem.A.clone()
    A[1, :, 3] = A[1, :, 0]
    refined, qr = Refinement().solve(A, problem.b), solvers.get("qr").solve(A, problem.b)
    assert refined.status.tolist() == qr.status.tolist()
    assert refined.iterations.tolist()[1] == 0
    kappa = torch.as_tensor(refined.condition)[[0, 2]]
    assert bool(((kappa >= 0.99e5 / 4) & (kappa <= 4e5)).all())
    residual = torch.as_tensor(refined.residual_norm)[[0, 2]]
    assert bool(((residual - 1).abs() <= tolerance(12, 4, torch.float64, condition=1e5)).all())


class Silent(Solver):
    """QR that says nothing of κ, and promises nothing."""

    name = "silent"

    def _solve(self, A, b, x0, record):
        result = solvers.get("qr").solve(A, b)
        return LstsqResult(x=result.x, status=result.status, iterations=result.iterations)


def test_the_condition_is_that_which_the_first_answer_depends_on(generator: torch.Generator) -> None:
    problem = random_problem(12, 4, condition=1e3, batch=(3,), generator=generator)
    A = problem.A * torch.tensor([1.0, 2.0**20, 1.0, 2.0**-20]).double()
    standing = torch.linalg.cond(A)
    for inner, columnwise in ((solvers.get("qr"), True), (solvers.get("cgls"), False), (Silent(), False)):
        solver = Refinement(solver=inner)
        assert (Promise.COLUMNWISE in solver.promises) == columnwise
        ratio = torch.as_tensor(solver.solve(A, problem.b).condition) / (problem.condition if columnwise else standing)
        assert bool(((ratio > 1 / 8) & (ratio < 8)).all()), (solver.name, ratio)


def test_it_documents_what_a_first_answer_that_stands_is_off_by() -> None:
    for inner in (solvers.get("cholesky"), solvers.get("newton-schulz"), solvers.get("lsqr", tolerance=1e-6)):
        solver = Refinement(solver=inner)
        assert (solver.condition_power, solver.error_constant) == (inner.condition_power, inner.error_constant)
        assert solver.tolerance == getattr(inner, "tolerance", None)
        assert solver.promises == {Promise.EXACT_SCALING, Promise.COLUMNWISE} & inner.promises


def test_beyond_its_reach_not_a_bit_is_changed(generator: torch.Generator) -> None:
    problem = random_problem(20, 5, condition=1.5e14, residual=1.0, batch=(20,), generator=generator)
    refined, qr = Refinement().solve(problem.A, problem.b, record=True), solvers.get("qr").solve(problem.A, problem.b)
    beyond = torch.as_tensor(refined.condition) > 1 / (4 * 20 * 2 * U)
    assert int(beyond.sum()) >= 10
    assert torch.equal(refined.x[beyond], qr.x[beyond])
    assert bool((refined.iterations[beyond] == 0).all())
    assert torch.equal(refined.trace[-1], refined.x)


class Crude(Solver):
    """Six tenths of the solution: every correction leaves four tenths of what there was."""

    name = "crude"

    def _solve(self, A, b, x0, record):
        result = solvers.get("qr").solve(A, b)
        return LstsqResult(x=0.6 * result.x, status=result.status, iterations=result.iterations)


def test_it_stops_no_earlier_than_at_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    A = torch.randint(-9, 10, (50, 12, 4), generator=generator).double()
    x = torch.randint(-1000, 1000, (50, 4), generator=generator).double()
    b = (A @ x.unsqueeze(-1)).squeeze(-1)
    result = Refinement(solver=Crude(), mode="residual", max_iterations=100).solve(A, b / 3)
    # The last correction is at most u ‖x‖/2, and what it leaves ⅔ of that; the rest is the rounding of x.
    assert float(errors.forward_error(result.x, exact(A, b / 3)).max()) <= U
    capped = Refinement(solver=Crude(), mode="residual", max_iterations=3).solve(A, b / 3)
    assert float(errors.forward_error(capped.x, exact(A, b / 3)).max()) <= 0.4**4 * (1 + 2.0**-20)
    assert capped.iterations.tolist() == [3] * 50


class Adrift(Solver):
    """Right at first; and then corrections that lead away, by as much each time or by more."""

    name = "adrift"

    def __init__(self, growth: float) -> None:
        self.growth, self.calls = growth, 0

    def _solve(self, A, b, x0, record):
        self.calls += 1
        result = solvers.get("qr").solve(A, b)
        x = result.x if self.calls == 1 else torch.full_like(result.x, self.growth**self.calls)
        return LstsqResult(x=x, status=result.status, iterations=result.iterations)


@pytest.mark.parametrize("growth", [1.0, 3.0, float("nan")])
def test_corrections_that_lead_away_are_taken_back(growth: float, generator: torch.Generator) -> None:
    problem = random_problem(12, 4, condition=10.0, batch=(5,), generator=generator)
    for most in (1, 2, 20):
        result = Refinement(solver=Adrift(growth), mode="residual", max_iterations=most).solve(
            problem.A, problem.b, record=True
        )
        assert torch.equal(result.x, solvers.get("qr").solve(problem.A, problem.b).x)
        assert torch.equal(result.trace[-1], result.x)
