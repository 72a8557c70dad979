"""What all learned solvers share, with exact and with broken steps in the model's place.

`pytest --hypothesis-profile=nightly tests/solvers/learned/test_base.py` attacks the solvers with 20,000 problems.
"""

import inspect
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import settings

import solvers
from solvers import Status, errors, reference
from solvers._core.scaling import exponent, ldexp
from solvers.learned.base import LearnedSolver, in_dtype
from solvers.learned.gradient import LearnedGradient, exact_gradient
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
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.newton_schulz import exact_step
from solvers.problems import random_problem

from ..tolerance import unit

Step = Callable[..., torch.Tensor]
NIGHTLY = settings.get_current_profile_name() == "nightly"
PROBLEMS = 20_000 if NIGHTLY else 1_600
BATCH = 6
DTYPES = [torch.float64, torch.float32]

# What makes a solver of a step, and the exact step.
METHODS: dict[str, tuple[Callable[[Step], LearnedSolver], Step]] = {
    "gradient": (lambda step: LearnedGradient(step, max_iterations=300), exact_gradient),
    "gradient, alone": (lambda step: LearnedGradient(step, max_iterations=300, refinement=None), exact_gradient),
    "iteration": (lambda step: LearnedIteration(step, max_iterations=60), ExactDescent(20, 0.5, 4)),
    "momentum": (lambda step: LearnedMomentum(step, max_iterations=200), ExactMomentum(10.0)),
    "chebyshev": (lambda step: LearnedChebyshev(step, max_iterations=300), exact_chebyshev),
    "direct": (LearnedDirect, exact_solution),
    "newton-schulz": (LearnedNewtonSchulz, exact_step),
    "newton-schulz, alone": (lambda step: LearnedNewtonSchulz(step, refinement=None), exact_step),
}
EXACT = {name: make(step) for name, (make, step) in METHODS.items()}


class Instead:
    """What a model might emit in the place of a step; a step of descent says of how many rows and what size."""

    rows, step_size = 20, 0.5

    def __init__(self, emitted: Step) -> None:
        self._emitted = emitted

    def __call__(self, *given: torch.Tensor) -> torch.Tensor:
        return self._emitted(*given)


def wrong(step: Step) -> dict[str, Step]:
    def off(size: float) -> Step:
        def emitted(*given: torch.Tensor) -> torch.Tensor:
            exact = step(*given)
            wave = torch.cos(7.3 * torch.arange(exact.numel(), dtype=exact.dtype)).reshape(exact.shape)
            return exact * (1 + size * wave)

        return emitted

    def unchanged(A: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        iterates = [part for part in rest[-1:] + rest[1:] if part.shape == step(A, *rest).shape]
        return iterates[-1] if iterates else A[:, 0]

    return {
        "exact": step,
        "in float32": in_dtype(step, torch.float32),
        "in bfloat16": lambda *given: step(*given).bfloat16().to(given[0].dtype),
        "off by 1e-6": off(1e-6),
        "off by 1e-14": off(1e-14),
        "zeros": lambda *given: torch.zeros_like(step(*given)),
        "unchanged": unchanged,
        "half": lambda *given: 0.5 * step(*given),
    }


def drawn(rng: np.random.Generator, generator: torch.Generator, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """A batch of hard problems of size 1: A, b, x0 or nothing, and the exponents of A's and b's scale."""
    n = int(rng.integers(1, 6))
    m, largest = n + int(rng.integers(0, 10)), 16 if dtype == torch.float64 else 8
    parts = [
        random_problem(
            m,
            n,
            condition=10 ** rng.uniform(0, rng.choice([1, largest])) if n > 1 else 1.0,
            residual=float(rng.choice([0.0, 1e-6, 1.0])) if m > n else 0.0,
            generator=generator,
        )
        for _ in range(BATCH)
    ]
    A, b = torch.stack([part.A for part in parts]), torch.stack([part.b for part in parts])
    kind, x0 = rng.integers(0, 6), torch.empty(0)
    limit = 1000 if dtype == torch.float64 else 110
    if kind == 1:  # columns of very different size
        A = A * torch.from_numpy(2.0 ** rng.integers(-60 * limit // 1000, 60 * limit // 1000, size=(BATCH, 1, n)))
    elif kind == 2:  # a rank-deficient neighbour
        A[0, :, -1] = A[0, :, 0] / 2 if n > 1 else 0.0
    elif kind == 3:
        x0 = torch.randn(BATCH, n, generator=generator, dtype=torch.float64) * 10 ** rng.uniform(0, 10)
    matrix = int(rng.integers(-limit, limit)) if kind > 3 else 0
    right = int(np.clip(rng.integers(-limit, limit), matrix - limit, matrix + limit)) if kind == 5 else matrix
    return A.to(dtype), b.to(dtype), x0.to(dtype), torch.tensor(matrix), torch.tensor(right)


def excess(solver: LearnedSolver, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, u: float) -> float:
    """The error of an answer by what is documented of it, which is the bound, and a digit."""
    A, b, x = A.double(), b.double(), x.double()
    if isinstance(solver, LearnedNewtonSchulz):  # its bound is that of columns of one size
        columns = exponent(A, -2)
        A, x = ldexp(A, -columns), ldexp(x, columns)
    hi, lo = (torch.from_numpy(part) for part in reference.solve_exact(A, b))
    s = torch.linalg.svdvals(A)
    kappa, size, slope = float(s[0] / s[-1]), float(hi.norm()), float((b - A @ hi).norm() / s[0])
    error = float(((x - hi) - lo).norm())
    share = solver.error_constant * max(A.shape) * u
    bound = share * (kappa**solver.condition_power * size + kappa**2 * slope)
    return error / min(bound, 0.34 * (size + slope)) if error else 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_converged_is_never_said_of_an_error_above_what_is_documented(name: str, dtype: torch.dtype) -> None:
    rng, generator = np.random.default_rng(len(name)), torch.Generator().manual_seed(len(name))
    make, exact = METHODS[name]
    steps = wrong(exact)
    converged = dict.fromkeys(steps, 0)
    for _ in range(PROBLEMS // (len(METHODS) * len(DTYPES) * len(steps) * BATCH)):
        for kind, step in steps.items():
            solver = make(Instead(step))
            A, b, x0, matrix, right = drawn(rng, generator, dtype)
            start = ldexp(x0, right - matrix) if x0.numel() else None
            result = solver.solve(ldexp(A, matrix), ldexp(b, right), x0=start)
            x = ldexp(torch.as_tensor(result.x).double(), matrix - right)
            for i in torch.nonzero(torch.as_tensor(result.converged)).flatten().tolist():
                converged[kind] += 1
                assert excess(solver, A[i], b[i], x[i], unit(dtype)) <= 1, (kind, A[i], b[i])
    assert converged["exact"] >= 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_the_shapes_and_zeros_that_a_solver_must_take(name: str, dtype: torch.dtype, generator) -> None:
    solver = EXACT[name]
    for m, n in ((7, 1), (1, 1), (3, 3), (20, 5)):
        problem = random_problem(m, n, condition=2.0 if n > 1 else 1.0, batch=(3,), dtype=dtype, generator=generator)
        result = solver.solve(problem.A, problem.b, record=True)
        assert result.x.dtype == dtype
        assert result.status.tolist() == [Status.CONVERGED] * 3, (m, n)
        expected = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
        assert float(errors.forward_error(result.x, expected).max()) <= 16 * max(m, n) * unit(dtype) * 4
        assert result.trace.shape == (int(result.iterations.max()) + 1, 3, n)
        assert torch.equal(result.trace[-1], result.x)
        nothing = solver.solve(problem.A, torch.zeros_like(problem.b))
        assert nothing.status.tolist() == [Status.CONVERGED] * 3
        assert bool((nothing.x == 0).all())
        empty = solver.solve(torch.zeros_like(problem.A), problem.b)
        assert empty.status.tolist() == [Status.RANK_DEFICIENT] * 3
        assert empty.iterations.tolist() == [0] * 3


@pytest.mark.parametrize("name", [name for name in METHODS if name != "direct"])
@pytest.mark.parametrize("size", [1.0, 1e10])
def test_a_start_is_where_the_trace_begins_and_no_claim_is_false_for_it(name: str, size: float, generator) -> None:
    problem = random_problem(12, 4, condition=2.0, residual=1.0, batch=(10,), generator=generator)
    x0 = size * torch.randn(10, 4, dtype=torch.float64, generator=generator)
    result = EXACT[name].solve(problem.A, problem.b, x0=x0, record=True)
    assert torch.equal(result.trace[0], x0)
    expected = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
    error = torch.as_tensor(errors.forward_error(result.x, expected))
    claimed = torch.as_tensor(result.converged)
    assert bool((error[claimed] <= 16 * 12 * 8 * unit(torch.float64)).all())
    # A large x0 costs a model alone its digits, and momentum, slow where κ is below its own, more steps than it has.
    if size == 1.0 or ("alone" not in name and name != "momentum"):
        assert bool(claimed.all())


def test_a_start_that_is_the_solution_takes_no_step(generator) -> None:
    problem = random_problem(12, 4, condition=2.0, batch=(3,), generator=generator)
    x = torch.from_numpy(reference.solve_exact(problem.A, problem.b)[0])
    for name in ("gradient", "gradient, alone", "iteration", "momentum", "chebyshev"):
        result = EXACT[name].solve(problem.A, problem.b, x0=x)
        assert result.iterations.tolist() == [0] * 3
        assert torch.equal(result.x, x)


def deficient_or_not() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    A = torch.randn(9, 4, dtype=torch.float64, generator=generator)
    tall = torch.linalg.qr(torch.randn(70, 60, dtype=torch.float64, generator=generator))[0]
    twice, zero = A.clone(), A.clone()
    twice[:, 3], zero[:, 1] = twice[:, 0], 0.0
    eye, ones = torch.eye(60, dtype=torch.float64), torch.ones(60, 60, dtype=torch.float64)
    return {
        "full": A,
        "twice the same column": twice,
        "a column of zeros": zero,
        "graded": torch.diag(torch.tensor([1.0, 2.0**-60], dtype=torch.float64)),
        "units": A * torch.tensor([2.0**-300, 1.0, 2.0**200, 2.0**9], dtype=torch.float64),
        "wilkinson": tall @ (eye - ones.triu(1)),
    }


@pytest.mark.parametrize("matrix", deficient_or_not())
@pytest.mark.parametrize("name", METHODS)
def test_rank_is_that_of_every_solver(name: str, matrix: str) -> None:
    A = deficient_or_not()[matrix]
    b = torch.ones(len(A), dtype=torch.float64)
    ours, qr = EXACT[name].solve(A, b), solvers.get("qr").solve(A, b)
    assert (int(ours.status) == Status.RANK_DEFICIENT) == (int(qr.status) == Status.RANK_DEFICIENT)
    assert ours.condition is not None
    # Where a column is as good as not there, an answer without it is not one.
    assert int(ours.status) != Status.CONVERGED or matrix in {"full"} or "newton" in name


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_not_finite_is_a_breakdown_at_the_iterate_before(name: str, broken: float, generator) -> None:
    problem = random_problem(8, 3, condition=2.0, batch=(3,), generator=generator)
    problem.A[-1, 0, 0] = 0.0
    make, exact = METHODS[name]

    def emitted(A: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        value = exact(A, *rest)
        value[A[:, 0, 0] == 0] = broken
        return value

    result = make(Instead(emitted)).solve(problem.A, problem.b, record=True)
    assert result.status.tolist() == [Status.CONVERGED, Status.CONVERGED, Status.BREAKDOWN]
    assert int(result.iterations[-1]) == 1
    assert bool(torch.as_tensor(result.x).isfinite().all())
    assert torch.equal(result.trace[-1], result.x)


@pytest.mark.parametrize("name", ["gradient", "gradient, alone", "iteration", "momentum", "chebyshev"])
@pytest.mark.parametrize("growth", [2.0, 1e9, 1e100])
def test_growing_until_squares_overflow_is_no_convergence(name: str, growth: float, generator) -> None:
    problem = random_problem(20, 5, condition=4.0, batch=(8,), generator=generator)
    make, exact = METHODS[name]
    # A gradient in the wrong direction, or an iterate that leads away.
    sign = -growth if "gradient" in name else growth
    result = make(Instead(lambda *given: sign * exact(*given))).solve(problem.A, problem.b)
    assert not bool(torch.as_tensor(result.converged).any())


def test_alone_is_the_step_and_nothing_else(generator) -> None:
    """Bit for bit what five lines make of the same step: no digit comes from anywhere else."""
    problem = random_problem(20, 5, condition=3.0, batch=(4,), generator=generator)
    A, b = problem.A, problem.b
    s = torch.linalg.svdvals(A)
    eta = float(2 / (s[0, 0] ** 2 + s[0, -1] ** 2))
    solver = LearnedGradient(exact_gradient, step_size=eta, refinement=None, max_iterations=25, tolerance=0.0)
    x = torch.zeros_like(problem.x)
    for _ in range(25):
        x = x - eta * exact_gradient(A, b, x)
    assert torch.equal(solver.solve(A, b).x, x)
    X = A.mT / 4
    for _ in range(20):
        X = exact_step(A, X)
    grown = LearnedNewtonSchulz(exact_step, refinement=None, max_iterations=40).solve(A, b)
    plain = (X @ b.unsqueeze(-1)).squeeze(-1)
    assert float((grown.x - plain).abs().max()) <= 64 * unit(torch.float64) * float(plain.abs().max())


def test_a_step_in_another_dtype_keeps_its_attributes(generator) -> None:
    step = ExactDescent(20, 0.5, 4)
    short = in_dtype(step, torch.float32)
    assert (short.rows, short.step_size) == (20, 0.5)
    A, b, x = (torch.randn(2, *s, dtype=torch.float64, generator=generator) for s in ((8, 3), (8,), (3,)))
    assert short(A, b, x).dtype == torch.float64
    assert torch.equal(short(A, b, x).float(), step(A.float(), b.float(), x.float()))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_iterations": -1}, "max_iterations: got -1"),
        ({"max_iterations": 2.5}, "max_iterations: got 2.5"),
        ({"tolerance": -1.0}, "tolerance: got -1.0"),
        ({"tolerance": 1.0}, "tolerance: got 1.0"),
        ({"refinement": 10}, "refinement: got 10, wants None"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(says)):
        LearnedMomentum(ExactMomentum(10.0), **options)
    assert LearnedMomentum(ExactMomentum(10.0), refinement=None, name="mine").name == "mine"


@pytest.mark.parametrize("name", METHODS)
def test_every_option_but_the_step_goes_by_its_name(name: str) -> None:
    parameters = list(inspect.signature(type(EXACT[name])).parameters.values())
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == ["step"]
    assert {"name", "refinement"} <= {p.name for p in parameters}
    assert ("max_iterations" in {p.name for p in parameters}) == (name != "direct")
