"""The direct methods on hard input, ends of the range, graded rows, bad neighbours; and what a result says of itself.

Truth is rational arithmetic on the entries as they are.
"""

from fractions import Fraction
from math import sqrt

import pytest
import torch

import solvers
from solvers import Promise, Status
from solvers._core.scaling import ldexp
from solvers.problems import random_problem
from solvers.reference import solve_exact
from solvers.testing import Recipe

from .tolerance import tolerance, unit

DIRECT = [("qr", "auto"), ("qr", "eager"), ("svd", None), ("cholesky", "auto"), ("cholesky", "eager")]
direct = pytest.mark.parametrize(("name", "backend"), DIRECT, ids=[f"{n}-{b}" if b else n for n, b in DIRECT])
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def made(name, backend):
    return solvers.get(name) if backend is None else solvers.get(name, backend=backend)


def rational_residual(A, b, x):
    """‖b − A x‖² exactly."""
    total = Fraction(0)
    for row, right in zip(A.tolist(), b.tolist(), strict=True):
        total += (Fraction(right) - sum(Fraction(a) * Fraction(v) for a, v in zip(row, x.tolist(), strict=True))) ** 2
    return total


def shifted(values, e):
    return ldexp(values, torch.tensor(e))


def ends(dtype):
    """Exponents at and near both ends: entries of [1/2, 1) become subnormal, or the largest there are."""
    high, low = (1023, -1060) if dtype == torch.float64 else (127, -140)
    return (0, high, high // 2, -high // 2, -high + 3, low)


@direct
@DTYPES
def test_every_end_of_the_range(name, backend, dtype, generator):
    solver = made(name, backend)
    tiny = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    for of_A in ends(dtype):
        for of_b in ends(dtype):
            if abs(of_b - of_A) > ends(dtype)[1] - 4:
                continue  # x itself is out of range
            part = random_problem(9, 4, condition=3.0, residual=0.5, generator=generator)
            A, b = (shifted(v / v.abs().max() * 0.9, e).to(dtype) for v, e in ((part.A, of_A), (part.b, of_b)))
            result = solver.solve(A, b)
            assert int(result.status) == Status.CONVERGED, (of_A, of_b)
            exact = torch.from_numpy(solve_exact(A, b)[0])
            error = (result.x.double() - exact).abs().max()
            assert float(error) <= tolerance(9, 4, dtype, condition=9.0, power=2) * float(exact.abs().max()) + tiny
            rest = rational_residual(A, b, result.x)
            told = Fraction(float(result.residual_norm))
            slack = Fraction(10 * 9 * 4 * unit(dtype)) * told + Fraction(4 * tiny)
            assert (told - slack) ** 2 <= rest <= (told + slack) ** 2 or told < slack, (of_A, of_b)


@direct
@pytest.mark.parametrize("right", [-1038, -1060, 1000])
def test_b_alone_at_an_end_has_the_bits_of_any_other_scale(name, backend, right):
    p = Recipe(kind="spectrum", m=20, n=6, condition=2.0, residual=1.0, right_exponent=right).problem()
    solver = made(name, backend)
    # The solution of an A that is as small or as large is of ordinary size.
    A = shifted(p.A, right // 2)
    x, expected = solver.solve(A, p.b).x, solver.solve(p.A, shifted(p.b, -right)).x
    assert torch.equal(x, shifted(expected, right - right // 2))


@pytest.mark.parametrize("backend", ["auto", "eager"])
@DTYPES
def test_sorting_does_not_depend_on_the_scale(backend, dtype, generator):
    # Graded rows, and columns of nearly one size: sums of rounded logarithms change places with the scale.
    solver = solvers.get("qr", backend=backend)
    for _ in range(20):
        A = 1 + 1e-6 * torch.rand(11, 10, dtype=dtype, generator=generator)
        A *= torch.randn(11, 10, dtype=dtype, generator=generator).sign() * grades(11, dtype)
        b = torch.randn(11, dtype=dtype, generator=generator)
        for e in (-40, -7, 1, 20):
            assert torch.equal(solver.solve(shifted(A, e), shifted(b, e)).x, solver.solve(A, b).x)


def grades(m, dtype):
    return torch.exp2(-2.0 * torch.arange(m, dtype=dtype))[:, None]


def neighbours(dtype, generator):
    """Problems of which each is at the edge of something, between plain ones."""
    parts = [random_problem(8, 3, condition=4.0, residual=1.0, dtype=dtype, generator=generator) for _ in range(9)]
    A, b = torch.stack([p.A for p in parts]), torch.stack([p.b for p in parts])
    big = 2.0 ** (1000 if dtype == torch.float64 else 120)
    A[1, :, 2] = A[1, :, 0]
    A[2] = 0
    A[3], b[3] = A[3] / big, b[3] * big
    A[4], b[4] = A[4] * big, b[4] * big
    b[5] = 0
    A[6] *= grades(8, dtype)
    A[7, 4] = 0
    return A, b


@pytest.mark.parametrize("name", solvers.names())
@DTYPES
def test_no_neighbour_changes_an_answer(name, dtype, generator):
    A, b = neighbours(dtype, generator)
    solver = solvers.get(name)
    together = solver.solve(A, b)
    for i in range(len(A)):
        alone = solver.solve(A[i], b[i])
        assert int(alone.status) == int(together.status[i]), i
        if int(alone.status) == Status.CONVERGED:
            apart, size = float((alone.x - together.x[i]).abs().max()), float(alone.x.abs().max())
            assert apart <= tolerance(8, 3, dtype, condition=100.0, power=2) * size, i


@pytest.mark.parametrize("size", [(5, 2), (20, 5), (40, 12), (50, 20)])
def test_a_promise_of_exact_batches_is_kept(size, generator):
    pytest.importorskip("precisionlab_kernels", reason="the promise is that of the kernel")
    solver = solvers.get("qr", backend="fused")
    assert Promise.EXACT_BATCH in solver.promises
    assert Promise.EXACT_BATCH not in solvers.get("qr").promises
    parts = [random_problem(*size, condition=1e3, residual=1.0, generator=generator) for _ in range(19)]
    for A, b in (
        neighbours(torch.float64, generator),
        (torch.stack([p.A for p in parts]), torch.stack([p.b for p in parts])),
    ):
        together = solver.solve(A, b)
        for i in range(len(A)):
            alone = solver.solve(A[i], b[i])
            for key in ("x", "status", "condition"):
                assert torch.equal(getattr(alone, key).nan_to_num(), getattr(together, key)[i].nan_to_num())


@direct
@DTYPES
def test_condition_is_at_least_the_spread_and_at_most_n_times_that(name, backend, dtype, generator):
    for n, kappa in ((1, 1.0), (2, 3.0), (5, 50.0), (12, 200.0)):
        A = random_problem(16, n, condition=kappa, batch=(4,), dtype=dtype, generator=generator).A
        said = made(name, backend).solve(A, A.sum(dim=-1)).condition.double()
        scaled = A.double() / torch.exp2(torch.frexp(A.abs().amax(dim=-2, keepdim=True).double()).exponent)
        spread = torch.linalg.cond(scaled)
        slack = 1 + tolerance(16, n, dtype, condition=kappa**2)
        # R's columns and A's have their largest entries in different powers of two.
        assert bool((said * slack * 2 * sqrt(16) >= spread).all())
        assert bool((said <= slack * 2 * sqrt(16) * n * spread).all())


def test_condition_where_there_are_more_unknowns_than_rows(generator):
    A = random_problem(9, 4, condition=30.0, batch=(3,), generator=generator).A.mT
    said = solvers.get("svd").solve(A, A.sum(dim=-1)).condition
    assert float((said / 30.0 - 1).abs().max()) <= tolerance(9, 4, torch.float64, condition=30.0)


@direct
@pytest.mark.parametrize("tiny", [-300, -530, -800, -1000])
def test_one_column_in_tiny_units_keeps_its_digits(name, backend, tiny, generator):
    p = random_problem(8, 3, condition=10.0, residual=1.0, batch=(5,), generator=generator)
    units = 2.0 ** torch.tensor([0.0, 0.0, tiny], dtype=torch.float64)
    result = made(name, backend).solve(p.A * units, p.b)
    plain = made(name, backend).solve(p.A, p.b)
    assert bool(result.converged.all())
    allowed = tolerance(8, 3, torch.float64, condition=10.0, power=2) * plain.x.norm(dim=-1)
    assert bool(((result.x * units - plain.x).norm(dim=-1) <= allowed).all())


@direct
def test_a_result_warns_of_what_it_cannot_vouch_for(name, backend, generator):
    # The error keeps to c u (κ^p + κ² ‖r‖/(‖A‖ ‖x‖)) with the κ and ‖r‖ of the result, up to where that says nothing.
    solver = made(name, backend)
    vouched = 0
    for kappa in (1e2, 1e5, 1e7, 1e10, 1e14, 1e15):
        p = random_problem(15, 5, condition=kappa, residual=1e-6, batch=(20,), generator=generator)
        result = solver.solve(p.A, p.b)
        exact = torch.from_numpy(solve_exact(p.A, p.b)[0])
        error = (result.x - exact).norm(dim=-1) / exact.norm(dim=-1)
        rest = result.residual_norm / (torch.linalg.matrix_norm(p.A, 2) * result.x.norm(dim=-1))
        known = result.condition**solver.condition_power + result.condition**2 * rest
        fine = result.converged
        assert bool((error <= tolerance(15, 5, torch.float64) * known)[fine].all()), kappa
        vouched += int(fine.sum())
    assert vouched >= 40


@pytest.mark.parametrize("name", solvers.names())
def test_x_that_is_not_finite_has_an_infinite_residual(name, generator):
    problem = random_problem(6, 3, condition=2.0, residual=1.0, batch=(2,), generator=generator)
    size = torch.tensor([1.0, 1e-200], dtype=torch.float64)
    A, b = problem.A * size[:, None, None], problem.b / size[:, None]
    result = solvers.get(name).solve(A, b)
    assert result.status.tolist() == [Status.CONVERGED, Status.BREAKDOWN]
    assert torch.isinf(result.residual_norm).tolist() == [False, True]
    empty = solvers.get(name).solve(torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3))
    assert empty.residual_norm.shape == empty.condition.shape == (2, 0)


@DTYPES
def test_svd_leaves_out_what_the_rule_of_rank_calls_rounding(dtype):
    # LAPACK's own cut-off is eps, whatever the shape.
    A = torch.zeros(2, 8, dtype=dtype)
    A[0, 0], A[1, 1] = 1.0, 3 * torch.finfo(dtype).eps
    result = solvers.get("svd").solve(A, torch.ones(2, dtype=dtype))
    assert int(result.status) == Status.RANK_DEFICIENT
    assert result.x.tolist() == [1.0] + [0.0] * 7


@DTYPES
def test_svd_measures_the_least_norm_in_the_units_of_the_unknowns(dtype):
    A = torch.tensor([[1.0, 2.0**10]] * 3, dtype=dtype)
    result = solvers.get("svd").solve(A, torch.ones(3, dtype=dtype))
    assert int(result.status) == Status.RANK_DEFICIENT
    expected = torch.tensor([1.0, 2.0**10], dtype=dtype) / (1 + 2.0**20)
    torch.testing.assert_close(result.x, expected, rtol=tolerance(3, 2, dtype), atol=0.0)


@DTYPES
@pytest.mark.parametrize("n", range(2, 9))
def test_a_zero_among_singular_values_has_no_sign(n, dtype, generator):
    # LAPACK gives -0 for some: κ is then no less infinite.
    A = torch.randn(20, n - 1, n, dtype=dtype, generator=generator)
    A[:, 0] = 0.0
    result = solvers.get("svd").solve(A, torch.ones(20, n - 1, dtype=dtype))
    assert (result.status == Status.RANK_DEFICIENT).all()
    assert (result.condition * n * torch.finfo(dtype).eps >= 1).all()
