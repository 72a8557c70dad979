"""Every solver against its documented accuracy: LAPACK's ratios, forward errors, NIST's sets, rates."""

import numpy as np
import pytest
import torch

import solvers
from solvers import Status, errors, nist, reference
from solvers.problems import hilbert, lauchli, random_problem
from solvers.refinement import Refinement
from solvers.testing import Recipe

from .cases import CASES, STABLE
from .tolerance import forward, tolerance, unit

LAPACK_LIMIT = 30
SIZES = [1, 2, 3, 5, 10, 50]
DTYPES = [torch.float64, torch.float32]


def exact(problem):
    return tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))


def matrix_types(dtype):
    """LAPACK's: well and ill conditioned, nearly singular, near under- and overflow, and rank-deficient."""
    eps, info = torch.finfo(dtype).eps, torch.finfo(dtype)
    return {
        "well conditioned": (2.0, 1.0),
        "ill conditioned": (float(np.sqrt(0.1 / eps)), 1.0),
        "nearly singular": (0.1 / eps, 1.0),
        "near underflow": (2.0, info.tiny * 1e4),
        "near overflow": (2.0, info.max * 1e-4),
        "rank-deficient": (2.0, 1.0),
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", matrix_types(torch.float64))
@pytest.mark.parametrize("name", STABLE)
def test_lapack_ratios(name, kind, dtype, generator):
    condition, scale = matrix_types(dtype)[kind]
    solver = solvers.get(name)
    sizes = SIZES if name != "reference" else SIZES[:5]
    for m in sizes:
        for n in [n for n in sizes if n <= m]:
            residual = 1.0 if m > n else 0.0
            problem = random_problem(
                m, n, condition=condition, residual=residual, scale=scale, batch=(3,), dtype=dtype, generator=generator
            )
            A = problem.A
            if kind == "rank-deficient":
                A = A.clone()
                A[..., -1] = A[..., 0] if n > 1 else 0.0
            result = solver.solve(A, problem.b)
            if kind == "rank-deficient":
                assert bool((result.status == Status.RANK_DEFICIENT).all()), (m, n)
                if name != "svd":
                    continue  # no solution is singled out, and elimination may have met an exact zero
            assert float(errors.optimality_ratio(A, problem.b, result.x).max()) < LAPACK_LIMIT, (m, n)
            assert float((errors.backward_error(A, problem.b, result.x) / (max(m, n) * 2 * unit(dtype))).max()) < (
                LAPACK_LIMIT
            ), (m, n)
            if not residual and kind != "rank-deficient":
                assert float(errors.residual_ratio(A, problem.b, result.x).max()) < LAPACK_LIMIT, (m, n)


@pytest.mark.parametrize("residual", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_forward_error_at_the_documented_accuracy(case, dtype, residual, generator):
    largest = getattr(case, str(dtype).removeprefix("torch."))
    solver = solvers.get(case.name)
    for condition in (1.0, float(np.sqrt(largest)), largest):
        problem = random_problem(
            20, 5, condition=condition, residual=residual, batch=(10,), dtype=dtype, generator=generator
        )
        result = solver.solve(problem.A, problem.b)
        hi, lo = exact(problem)
        rho = float((residual / hi.norm(dim=-1)).max())
        assert bool((result.status == Status.CONVERGED).all()), condition
        worst = float(errors.forward_error(result.x, (hi, lo)).max())
        assert worst <= forward(solver, 20, 5, dtype, condition, rho), condition


@pytest.mark.parametrize("name", ["cgls", "lsqr", "lsmr", "newton-schulz", "cholesky", "qr", "svd"])
@pytest.mark.parametrize("scale", [1e-290, 1e-150, 1e150, 1e290])
def test_extreme_scales(name, scale, generator):
    problem = random_problem(10, 4, condition=100.0, residual=0.1, scale=scale, batch=(5,), generator=generator)
    solver = solvers.get(name)
    result = solver.solve(problem.A, problem.b)
    hi, lo = exact(problem)
    assert bool((result.status == Status.CONVERGED).all())
    rho = float((0.1 / hi.norm(dim=-1)).max())
    assert float(errors.forward_error(result.x, (hi, lo)).max()) <= forward(solver, 10, 4, torch.float64, 100.0, rho)


@pytest.mark.parametrize("name", STABLE)
def test_graded_columns_are_no_rank_deficiency(name, generator):
    problem = random_problem(10, 4, condition=10.0, batch=(5,), generator=generator)
    units = torch.tensor([2.0**-400, 1.0, 2.0**300, 2.0**-100], dtype=torch.float64)
    solver = solvers.get(name)
    plain, graded = solver.solve(problem.A, problem.b), solver.solve(problem.A * units, problem.b)
    assert graded.status.tolist() == plain.status.tolist() == [Status.CONVERGED] * 5
    back = graded.x * units
    assert float(errors.forward_error(back, plain.x).max()) <= tolerance(10, 4, torch.float64, condition=20.0)


def test_lauchli_tells_normal_equations_from_qr():
    problem = lauchli(4)
    for name in ("qr", "svd"):
        x = solvers.get(name).solve(problem.A, problem.b).x
        kappa = float(problem.condition)
        assert float(errors.forward_error(x, problem.x)) <= tolerance(5, 4, torch.float64, condition=kappa)
    assert int(solvers.get("cholesky").solve(problem.A, problem.b).status) == Status.BREAKDOWN


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_hilbert(n):
    problem = hilbert(n)
    expected = exact(problem)
    for name in STABLE:
        x = solvers.get(name).solve(problem.A, problem.b).x
        bound = tolerance(n, n, torch.float64, condition=float(problem.condition))
        assert float(errors.forward_error(x, expected)) <= bound


# Digits of an ordinary QR on the sets, to be matched or exceeded.
QR_DIGITS = {
    "NoInt1": 14.7,
    "NoInt2": 14.9,
    "Longley": 10.9,
    "Wampler1": 9.3,
    "Wampler2": 12.6,
    "Wampler3": 9.5,
    "Wampler4": 7.8,
    "Wampler5": 5.8,
}


@pytest.mark.parametrize("item", nist.problems(), ids=lambda item: item.name)
def test_nist_data_are_the_certified_ones(item):
    for got, certified in zip(reference.solve(item.A, item.b), item.certified, strict=True):
        # 15 digits are certified: the exact solution agrees to half a unit of the fifteenth.
        assert abs(got - certified) <= 0.51 * 10.0 ** (np.floor(np.log10(abs(certified))) - 14)


@pytest.mark.parametrize("item", nist.problems(), ids=lambda item: item.name)
def test_nist_digits(item):
    expected = nist.exact(item)

    def digits(solver):
        return float(errors.lre(solver.solve(item.A, item.b).x, expected))

    assert digits(solvers.get("reference")) >= 14.9
    assert digits(Refinement()) >= 14.9
    for qr in (solvers.get("qr"), solvers.get("qr", backend="eager")):
        assert digits(qr) >= QR_DIGITS.get(item.name, 11.0)
    if item.name in {"Longley", "Wampler5"}:
        assert digits(Refinement()) > digits(solvers.get("qr"))


@pytest.mark.parametrize("inner", ["qr", "cholesky", "lsqr"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_refinement_reaches_the_last_bit_whatever_the_residual(inner, dtype, generator):
    for condition in (10.0, float(unit(dtype) ** -0.4)):
        problem = random_problem(
            20, 5, condition=condition, residual=1.0, batch=(10,), dtype=dtype, generator=generator
        )
        solver = Refinement(solver=solvers.get(inner))
        result = solver.solve(problem.A, problem.b)
        assert bool((result.status == Status.CONVERGED).all())
        # No κ and no m·n: what is left is the rounding of x itself.
        assert float(errors.forward_error(result.x, exact(problem)).max()) <= 2 * unit(dtype)


# Of the inner solver's own reach: κ² iterations of gradient descent, κ of Chebyshev's.
INNER_CONDITION = {"gradient-descent": 8.0, "chebyshev": 30.0}


@pytest.mark.parametrize("mode", ["augmented", "residual"])
@pytest.mark.parametrize("inner", solvers.names())
def test_refinement_goes_around_every_method(inner, mode, generator):
    condition = INNER_CONDITION.get(inner, 1e3)
    consistent = mode == "residual"
    problem = random_problem(
        12, 4, condition=condition, residual=0.0 if consistent else 1.0, batch=(3,), generator=generator
    )
    solver = Refinement(solver=solvers.get(inner), mode=mode)
    assert solver.name == f"{inner}+refinement"
    result = solver.solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    plain = solvers.get(inner).solve(problem.A, problem.b)
    expected = exact(problem)
    error, before = (errors.forward_error(answer.x, expected) for answer in (result, plain))
    # Corrections of residuals are as good as the solver makes them, and b is consistent to u alone.
    limit = tolerance(12, 4, torch.float64) if consistent else 2 * unit(torch.float64)
    assert float(error.max()) <= limit
    assert float(error.max()) <= max(float(before.max()), limit)
    A, b = problem.A.clone(), problem.b
    A[1, :, 3] = A[1, :, 0]
    assert solver.solve(A, b).status.tolist() == [Status.CONVERGED, Status.RANK_DEFICIENT, Status.CONVERGED]


def test_residual_refinement_gains_where_problems_are_consistent(generator):
    problem = random_problem(20, 5, condition=1e6, batch=(10,), generator=generator)
    solver = Refinement(mode="residual")
    # b is rounded, so the problem is consistent only to u; what is left is κ u times that.
    error = errors.forward_error(solver.solve(problem.A, problem.b).x, exact(problem))
    assert float(error.max()) <= tolerance(20, 5, torch.float64)


def test_gradient_descent_contracts_at_its_rate(generator):
    condition = 5.0
    problem = random_problem(12, 4, condition=condition, residual=1.0, batch=(20,), generator=generator)
    result = solvers.get("gradient-descent", max_iterations=60).solve(problem.A, problem.b, record=True)
    distance = (result.trace - exact(problem)[0]).norm(dim=-1)
    rate = (condition**2 - 1) / (condition**2 + 1)
    assert bool((distance[1:] <= distance[:-1] * (rate + tolerance(12, 4, torch.float64, condition=25.0))).all())
    slowest = (distance[-1] / distance[-2]).max()
    assert abs(float(slowest) - rate) <= rate / 100  # after 60 steps the slow directions alone are left


@pytest.mark.parametrize("form", ["residual", "gram"])
def test_gradient_descent_sees_that_it_is_in_a_cycle(form):
    # At κ = 8 rounding keeps these iterates in a cycle of two, at a gradient above the level of rule R3.
    A = torch.tensor(
        [[-0.6894742701028287, 0.6361781393169549], [0.16186244154058613, -0.33064808473648966]], dtype=torch.float64
    )
    b = torch.tensor([-1.4404420271025697, 0.8877737027983655], dtype=torch.float64)
    solver = solvers.get("gradient-descent", form=form)
    result = solver.solve(A, b)
    assert int(result.status) == Status.CONVERGED
    # Five times what it takes from x0 = 0 to the last bit at the documented rate.
    assert int(result.iterations) <= 5 * 8**2 / 2 * np.log(1 / unit(torch.float64))
    expected = tuple(torch.as_tensor(part) for part in reference.solve_exact(A, b))
    assert float(errors.forward_error(result.x, expected)) <= forward(solver, 2, 2, torch.float64, 8.0)


def test_a_cycle_that_is_no_rest_is_not_called_one():
    # η = 2/σ₁² throws x from 0 to 2 and back for ever.
    result = solvers.get("gradient-descent", step_size=2.0, max_iterations=200).solve(np.ones((1, 1)), np.ones(1))
    assert int(result.status) == Status.MAX_ITERATIONS


def test_chebyshev_keeps_below_its_bound(generator):
    condition = 30.0
    problem = random_problem(12, 4, condition=condition, residual=1.0, batch=(20,), generator=generator)
    result = solvers.get("chebyshev", max_iterations=200).solve(problem.A, problem.b, record=True)
    distance = (result.trace - exact(problem)[0]).norm(dim=-1)
    q = (condition - 1) / (condition + 1)
    k = torch.arange(len(distance), dtype=torch.float64).unsqueeze(-1)
    bound = 2 * q**k / (1 + q ** (2 * k)) * distance[0]
    assert bool((distance <= bound * (1 + tolerance(12, 4, torch.float64, condition=condition, power=2))).all())


def test_newton_schulz_converges_quadratically(generator):

    from solvers.newton_schulz import exact_step

    problem = random_problem(12, 4, condition=10.0, batch=(5,), generator=generator)
    X = problem.A.mT / (problem.A.flatten(start_dim=1).norm(dim=-1)[:, None, None] ** 2)
    eye = torch.eye(4, dtype=torch.float64)
    before = torch.linalg.matrix_norm(eye - X @ problem.A, ord=2)
    for _ in range(12):
        X = exact_step(problem.A, X)
        after = torch.linalg.matrix_norm(eye - X @ problem.A, ord=2)
        assert bool((after <= before**2 + tolerance(12, 4, torch.float64, condition=10.0, power=2)).all())
        before = after


@pytest.mark.parametrize("name", ["cgls", "lsqr", "lsmr"])
def test_krylov_methods_end_within_n_steps_of_a_well_conditioned_problem(name, generator):
    problem = random_problem(30, 6, condition=3.0, residual=1.0, batch=(10,), generator=generator)
    assert int(solvers.get(name).solve(problem.A, problem.b).iterations.max()) <= 6 + 2


@pytest.mark.parametrize(("m", "n"), [(8, 4), (10, 2)])
@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_chebyshev_comes_to_rest_at_its_documented_condition(m, n, backend):
    # Among these are problems whose gradient rests at thirty times its level of rounding.
    recipes = [
        Recipe(kind="spectrum", m=m, n=n, condition=100.0, residual=r, seed=seed) for r in (0.0, 1.0) for seed in (0, 1)
    ]
    problems = [recipe.problem() for recipe in recipes]
    solver = solvers.get("chebyshev", backend=backend)
    result = solver.solve(torch.stack([p.A for p in problems]), torch.stack([p.b for p in problems]))
    assert bool((result.status == Status.CONVERGED).all())
    # Half as many again as the documented rate needs to reach the last bit.
    assert int(result.iterations.max()) <= 1.5 * 100 / 2 * np.log(2 / unit(torch.float64))


def test_cholesky_does_not_trust_pivots_that_are_rounding(generator):
    problem = random_problem(20, 5, condition=1e9, residual=1.0, batch=(40,), generator=generator)
    assert bool((solvers.get("cholesky").solve(problem.A, problem.b).status == Status.BREAKDOWN).all())


@pytest.mark.parametrize("condition", [1e5, 1e6])
def test_newton_schulz_refines_what_its_pseudo_inverse_lost(condition, generator):
    problem = random_problem(20, 5, condition=condition, batch=(40,), generator=generator)
    expected = exact(problem)
    ours, qr = (
        float(errors.forward_error(solvers.get(name).solve(problem.A, problem.b).x, expected).median())
        for name in ("newton-schulz", "qr")
    )
    assert ours <= 2 * qr


def test_lsmr_never_lets_the_gradient_grow(generator):
    problem = random_problem(30, 6, condition=50.0, residual=1.0, batch=(10,), generator=generator)
    trace = solvers.get("lsmr").solve(problem.A, problem.b, record=True).trace
    r = problem.b - (problem.A @ trace.unsqueeze(-1)).squeeze(-1)
    g = (problem.A.mT @ r.unsqueeze(-1)).squeeze(-1).norm(dim=-1)
    assert bool((g[1:] <= g[:-1] + tolerance(30, 6, torch.float64) * g[0]).all())
