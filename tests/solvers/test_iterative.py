"""Iterations from any starting point: CONVERGED is said of b − A x, never of what a recurrence says of it."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import settings

import solvers
from solvers import Status, errors, reference
from solvers._core.loop import Held
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.problems import random_problem

from .cases import ITERATIVE
from .tolerance import tolerance, unit

KRYLOV = ["cgls", "lsqr", "lsmr"]
LARGEST = {"gradient-descent": 2.0, "chebyshev": 30.0}
"""κ beyond which thousands of iterations are needed; 1e6 elsewhere."""


@dataclass(frozen=True)
class Case:
    """A problem, its solution in two parts, and the error of a backward stable method."""

    A: torch.Tensor
    b: torch.Tensor
    hi: np.ndarray
    lo: np.ndarray
    condition: float
    allowed: float
    smallest: np.ndarray  # the last right singular vector

    def error(self, x):
        """In units of what a backward stable method may leave."""
        with np.errstate(over="ignore"):
            return float(np.linalg.norm((np.asarray(x, dtype=np.float64) - self.hi) - self.lo)) / self.allowed


def case(m, n, condition, residual, *, axes, dtype=torch.float64, seed=7):
    """Singular vectors drawn, or, which hides an error in one unknown from Aᵀr, along the axes."""
    generator = torch.Generator().manual_seed(seed)
    problem = random_problem(m, n, condition=condition, residual=residual, generator=generator)
    A, b = problem.A, problem.b
    if axes:
        A = torch.zeros_like(A)
        A[:n] = torch.diag(torch.logspace(0, -float(np.log10(condition)), n, dtype=torch.float64))
        b = A @ problem.x + residual * torch.cat([torch.zeros(n), torch.ones(m - n)]).double() / (m - n) ** 0.5
    A, b = A.to(dtype), b.to(dtype)
    hi, lo = reference.solve_exact(A, b)
    matrix = A.double().numpy()
    _, s, V = np.linalg.svd(matrix)
    kappa, rho = s[0] / s[-1], float(np.linalg.norm(b.double().numpy() - matrix @ hi)) / s[0]
    allowed = max(10, m * n) * unit(dtype) * (kappa * float(np.linalg.norm(hi)) + kappa**2 * rho)
    return Case(A, b, hi, lo, float(kappa), allowed, V[-1])


PROBLEMS = [
    case(m, n, condition, residual, axes=axes)
    for (m, n), condition, residual, axes in itertools.product(
        [(6, 3), (20, 5)], [2.0, 30.0, 1e6], [0.0, 1e-5, 1.0], [False, True]
    )
]
NOISE = np.random.default_rng(3).standard_normal(5)
STARTS = {
    "none": lambda c: None,
    "solution": lambda c: c.hi,
    "near": lambda c: c.hi * (1 + 1e-8 * NOISE[: len(c.hi)]),
    **{f"any, 1e{e}": lambda c, e=e: NOISE[: len(c.hi)] * 10.0**e for e in (0, 3, 10, 100, 300)},
    **{f"smallest direction, 1e{e}": lambda c, e=e: c.smallest * 10.0**e for e in (0, 3, 10, 100, 300)},
}


def held(solver, cases, starts):
    """The statuses, where answers that claim to have converged are as good as a backward stable method's."""
    x0 = None if starts[0] is None else torch.from_numpy(np.stack(starts)).to(cases[0].A.dtype)
    result = solver.solve(torch.stack([c.A for c in cases]), torch.stack([c.b for c in cases]), x0=x0)
    power = solver.condition_power if solver.name in LARGEST else 1
    for one, x, status in zip(cases, result.x.double(), result.status.tolist(), strict=True):
        assert status != Status.CONVERGED or one.error(x) <= one.condition ** (power - 1), one.condition
    return result.status.tolist()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("m", [6, 20])
def test_no_starting_point_makes_a_wrong_answer_converge(name, start, m):
    cases = [one for one in PROBLEMS if len(one.b) == m and one.condition <= 1.01 * LARGEST.get(name, 1e6)]
    solver = solvers.get(name) if name not in LARGEST else solvers.get(name, max_iterations=2000)
    statuses = held(solver, cases, [STARTS[start](one) for one in cases])
    # From further away the iterations may run out; from an x0 of 1e10 they do not. CGLS's Aᵀr may rest above the rules.
    far = start.endswith(("1e100", "1e300"))
    for one, status in zip(cases, statuses, strict=True):
        ill = name == "cgls" and one.condition > 1e5
        assert status == Status.CONVERGED or (status == Status.MAX_ITERATIONS and (far or ill)), one.condition


@pytest.mark.parametrize("name", [*KRYLOV, "newton-schulz"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("exponent", [0, 1, 3, 10, 20, 35])
def test_a_large_start_costs_iterations_and_no_digit(name, dtype, exponent):
    one = case(12, 4, 2.0, 0.5, axes=False, dtype=dtype)
    assert held(solvers.get(name), [one], [NOISE[:4] * 10.0**exponent]) == [Status.CONVERGED]


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize(("size", "start"), [(1e200, 1e300), (1e-300, 1e300), (1e300, 1e-300)])
def test_a_start_whose_image_is_out_of_range(name, size, start):
    one = case(6, 3, 2.0, 0.5, axes=False)
    solver = solvers.get(name, max_iterations=1000)
    x0 = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64) * start
    result = solver.solve(one.A * size, one.b * size, x0=x0)
    if int(result.status) == Status.CONVERGED:
        assert one.error(result.x) <= 3  # κ^p for p = 2, and rounding of A times a size that is no power of two
    else:
        assert int(result.status) == Status.MAX_ITERATIONS
        assert name in {"gradient-descent", "chebyshev"}


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("exponent", [0, 10, 100])
def test_from_any_start_a_zero_right_hand_side_gives_zero_or_no_answer(name, exponent):
    one = case(6, 3, 2.0, 0.5, axes=False)
    solver = solvers.get(name, max_iterations=1000)
    result = solver.solve(one.A, torch.zeros_like(one.b), x0=torch.ones(3).double() * 10.0**exponent)
    assert int(result.status) in {Status.CONVERGED, Status.MAX_ITERATIONS}
    assert int(result.status) == Status.MAX_ITERATIONS or bool((result.x == 0).all())


@pytest.mark.parametrize("name", [*KRYLOV, "newton-schulz"])
def test_a_second_start_goes_on_with_counts_and_trace(name):
    one = case(12, 4, 2.0, 0.5, axes=False)
    x0 = torch.from_numpy(NOISE[:4] * 1e12)
    solver = solvers.get(name)
    whole = solver.solve(one.A, one.b, x0=x0, record=True)
    spent = int(whole.iterations)
    plain = int(solver.solve(one.A, one.b).iterations)
    assert spent > plain
    assert whole.trace.shape == (spent + 1, 4)
    assert torch.equal(whole.trace[0], x0)
    assert torch.equal(whole.trace[-1], whole.x)
    for cap in (plain - 1, plain, plain + 1, spent - 1):
        part = solvers.get(name, max_iterations=cap).solve(one.A, one.b, x0=x0)
        assert int(part.status) == Status.MAX_ITERATIONS
        assert int(part.iterations) == cap
        assert torch.equal(part.x, whole.trace[cap])
    distance = np.linalg.norm(whole.trace.numpy() - one.hi, axis=-1)
    noise = max(10, 12 * 4) * unit(torch.float64) * float(x0.norm())
    assert (distance[1:] <= distance[:-1] + noise).all()


@pytest.mark.parametrize("name", [*KRYLOV, "newton-schulz"])
def test_in_a_batch_only_those_begin_again_that_must(name):
    one = case(12, 4, 2.0, 0.5, axes=False)
    x0 = torch.from_numpy(np.outer([0.0, 1e12, 1.0, 1e100], NOISE[:4]))
    A, b = one.A.expand(4, -1, -1), one.b.expand(4, -1)
    result = solvers.get(name).solve(A, b, x0=x0, record=True)
    assert result.status.tolist() == [Status.CONVERGED] * 4
    assert max(one.error(x) for x in result.x) <= 1
    for i in range(4):
        assert torch.equal(result.trace[int(result.iterations[i]), i], result.x[i])
        assert int(result.iterations[i]) == int(solvers.get(name).solve(A[i], b[i], x0=x0[i]).iterations)
    assert int(result.iterations[0]) < int(result.iterations[1]) < int(result.iterations[3])


@pytest.mark.parametrize("name", ["gradient-descent", "chebyshev", *KRYLOV, "newton-schulz"])
def test_the_condition_is_that_of_A_as_it_stands(name):
    A = torch.eye(4, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0**-20, 1.0], dtype=torch.float64)
    result = solvers.get(name, max_iterations=60).solve(A, torch.ones(4, dtype=torch.float64))
    assert 2.0**20 <= float(result.condition) <= 3 * 2.0**20


@pytest.mark.parametrize("condition", [1e5, 1e6, 1e7, 3e7, 1e8, 1e9, 1e10, 1e12])
@pytest.mark.parametrize("residual", [0.0, 1.0])
def test_newton_schulz_says_where_it_cannot_vouch_for_its_answer(condition, residual):
    for seed in range(3):
        one = case(20, 5, condition, residual, axes=False, seed=seed)
        result = solvers.get("newton-schulz").solve(one.A, one.b)
        lost = unit(torch.float64) * float(result.condition) ** 2 >= 1
        assert int(result.status) == (Status.BREAKDOWN if lost else Status.CONVERGED)
        assert lost or condition < 1e8
        assert lost or one.error(result.x) <= 1


def drawn(rng, dtype, largest):
    """A problem of any shape up to 150×24: spectra, graded rows or columns, small integers; or None, of poor rank."""
    n = int(rng.integers(1, 25)) if rng.integers(3) else int(rng.integers(1, 4))
    m = n + int(rng.choice([0, 0, 1, 2, rng.integers(0, 40), rng.integers(0, 127)]))
    condition, residual = float(largest ** rng.uniform()), float(rng.choice([0.0, 1e-8, 1e-4, 1.0, 1e3]))
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 30)))
    problem = random_problem(
        m, n, condition=condition if n > 1 else 1.0, residual=residual if m > n else 0.0, generator=generator
    )
    A, b = problem.A.numpy(), problem.b.numpy()
    kind = rng.choice(["spectrum", "columns", "rows", "integers", "in range"])
    if kind == "columns":
        A = A * 2.0 ** rng.integers(-3, 4, n)
    elif kind == "rows":
        A = A * 2.0 ** rng.integers(-6, 7, (m, 1))
    elif kind == "integers":
        A, b = rng.integers(-3, 4, (m, n)).astype(float), rng.integers(-5, 6, m).astype(float)
    elif kind == "in range":
        b = 3 * A[:, 0]
    A, b = torch.from_numpy(A).to(dtype), torch.from_numpy(b).to(dtype)
    s = np.linalg.svd(A.double().numpy(), compute_uv=False)
    return (A, b) if s[-1] * 1.5 * largest > s[0] else None


DRAWS = 500 if settings.get_current_profile_name() == "nightly" else 12


def held_to_its_constant(solver, A, b, starts):
    """The statuses, where answers that claim to have converged keep to the documented error, constant and all."""
    hi, lo = reference.solve_exact(A, b)
    matrix, size, statuses = A.double().numpy(), float(np.linalg.norm(hi)), []
    s = np.linalg.svd(matrix, compute_uv=False)
    kappa, r = s[0] / s[-1], float(np.linalg.norm(b.double().numpy() - matrix @ hi)) / s[0]
    c = solver.error_constant * sum(A.shape) ** 0.5 * unit(A.dtype)
    for x0 in starts(size, len(hi)):
        result = solver.solve(A, b, x0=None if x0 is None else torch.from_numpy(x0).to(A.dtype))
        statuses.append(int(result.status))
        if statuses[-1] == Status.CONVERGED:
            error = float(np.linalg.norm((result.x.double().numpy() - hi) - lo))
            assert error <= c * (kappa**solver.condition_power * size + kappa**2 * r), (x0, int(result.iterations))
    return statuses


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", ITERATIVE)
def test_the_documented_constant_holds_from_any_start(name, dtype):
    solver, rng = solvers.get(name), np.random.default_rng(11)
    largest = {"gradient-descent": 6.0}.get(name, 60.0 if name in LARGEST else unit(dtype) ** -0.4)

    def starts(size, n):
        return None, *(size * 10.0**e * rng.standard_normal(n) for e in (0, 3))

    for A, b in filter(None, (drawn(rng, dtype, largest) for _ in range(DRAWS))):
        held_to_its_constant(solver, A, b, starts)


@pytest.mark.parametrize("seed", [4, 5])
def test_chebyshev_does_not_take_a_slow_beat_for_rest(seed):
    # In float32 the spectrum is widened by more than its gaps, and ‖g‖ swings on its way down.
    generator = torch.Generator().manual_seed(seed)
    problem = random_problem(136, 2, condition=37.0, residual=1.0, generator=generator)
    A, b = problem.A.float(), problem.b.float()
    statuses = held_to_its_constant(solvers.get("chebyshev"), A, b, lambda _, n: (10 * np.ones(n), 1000 * np.ones(n)))
    assert statuses == [Status.CONVERGED] * 2


@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_chebyshev_waits_a_whole_beat_before_it_rests(backend):
    # ‖g‖ beats with a period of about κ steps: whoever rests after 30 of them loses a digit at κ = 100.
    problem = random_problem(12, 4, condition=100.0, batch=(256,), generator=torch.Generator().manual_seed(3))
    result = solvers.get("chebyshev", backend=backend).solve(problem.A, problem.b)
    error = norm(result.x - problem.x) / norm(problem.x)
    assert float(error.max()) <= tolerance(12, 4, torch.float64, condition=100.0)


@pytest.mark.parametrize("form", ["residual", "gram"])
def test_gradient_descent_steps_by_the_genuine_singular_values(form):
    A = torch.diag(torch.tensor([2.0, 1.0, 1e-17], dtype=torch.float64))
    x = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    trace = solvers.get("gradient-descent", form=form, max_iterations=1).solve(A, A @ x, record=True).trace
    eta = 2 / (2.0**2 + 1.0**2)
    torch.testing.assert_close(trace[1][:2], eta * torch.tensor([4.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("name", KRYLOV)
def test_the_sizes_of_a_recurrence_are_those_of_r_and_its_gradient(name, generator):
    problem = random_problem(20, 6, condition=4.0, residual=1.0, batch=(10,), generator=generator)
    solver = solvers.get(name)
    state = solver._begun(*Held.of(problem.A, problem.b, None))
    for _ in range(4):
        state = solver._step(state)
        r = state.problem.b - matvec(state.problem.A, state.x)
        true = norm(r), norm(rmatvec(state.problem.A, r))
        scale = state.problem.b_norm, state.problem.A_norm * state.problem.b_norm
        for said, size, whole in zip(solver._sizes(state), true, scale, strict=True):
            assert bool(((said - size).abs() <= tolerance(20, 6, torch.float64, condition=4.0) * whole).all())


@pytest.mark.parametrize("backend", ["eager", "fused"])
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7])
def test_newton_schulz_accelerated_takes_half_the_steps(condition, backend):
    problem = random_problem(40, 5, condition=condition, batch=(30,), generator=torch.Generator().manual_seed(0))
    exact = tuple(map(torch.as_tensor, reference.solve_exact(problem.A, problem.b)))
    plain, fast = (
        solvers.get("newton-schulz", backend=backend, accelerate=accelerate).solve(problem.A, problem.b)
        for accelerate in (False, True)
    )
    assert bool((fast.status == Status.CONVERGED).all())
    assert int(fast.iterations.max()) <= 0.62 * int(plain.iterations.max())
    errors_of = [errors.forward_error(result.x, exact).median() for result in (fast, plain)]
    assert errors_of[0] <= 3 * errors_of[1] + 2.0**-52
