import itertools
import math

import pytest
import torch

import solvers
from solvers import Status, errors, problems, reference
from solvers._core.rank import condition_of
from solvers.fused.cholesky import solve_by_cholesky as cholesky
from solvers.fused.householder import householder_eager
from solvers.fused.householder import solve_by_householder as householder

from .cases import SHAPES, U, misaligned, normal, strided

TALL = [shape for shape in SHAPES if shape[1] >= shape[2]] + [(9, 5, 5), (8, 32, 32), (3, 4, 1)]


def ratio(error, size, m, n):
    """LAPACK's test ratio: of order one for a stable method, failing at 30."""
    return (error / (max(m, n) * U * size)).max().item() if error.numel() else 0.0


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize("shape", TALL, ids=str)
def test_factor_and_solution_are_stable(kernels, rng, shape, scale):
    A, b = scale * normal(rng, *shape), normal(rng, *shape[:2])
    _, m, n = shape
    x, R, measures = householder(A, b)
    size = torch.linalg.matrix_norm(A)
    assert torch.equal(R, R.triu())
    # RᵀR = AᵀA says that R is a factor; it loses nothing, as both are rounded in products alone.
    assert ratio(torch.linalg.matrix_norm(R.mT @ R - A.mT @ A), size**2, m, n) < 30
    normal_residual = torch.einsum("bmn,bm->bn", A, b - torch.einsum("bmn,bn->bm", A, x)).norm(dim=-1)
    assert ratio(normal_residual, size * (b.norm(dim=-1) + size * x.norm(dim=-1)), m, n) < 30
    eager = householder_eager(A, b)
    condition, residual = measures[4:]
    assert torch.equal(measures[:2], eager[2][:2])
    smallest = torch.linalg.vector_norm(A, dim=-2).amin(dim=-1)
    for said in (measures, eager[2]):
        assert ratio((said[2] - size).abs(), size, m, n) < 30
        assert ratio((said[3] - smallest).abs(), size, m, n) < 30
    # ‖R⁻¹‖ changes by no more than κ times its share where R changes by u.
    assert ratio((condition / condition_of(R) - 1).abs(), condition, m, n) < 30
    rest = (b - torch.einsum("bmn,bn->bm", A, x)).norm(dim=-1)
    assert ratio((residual - rest).abs(), b.norm(dim=-1) + size * x.norm(dim=-1), m, n) < 30
    assert ratio((residual - eager[2][5]).abs(), b.norm(dim=-1) + size * x.norm(dim=-1), m, n) < 30
    assert ratio(torch.linalg.matrix_norm(R - eager[1]), size * _condition(A), m, n) < 30


def hard_factors(n):
    """Triangular matrices that an estimate from the diagonal, or a careless inverse, gets wrong."""
    upper = torch.ones(n, n, dtype=torch.float64).triu(1)
    eye, powers = torch.eye(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
    c, s = math.cos(1.2), math.sin(1.2)
    zero_column, zero_pivot, not_finite = (eye + upper for _ in range(3))
    zero_column[:, n // 2] = 0
    zero_pivot[n - 1, n - 1] = 0
    not_finite[0, n - 1] = math.inf
    return torch.stack([
        eye - upper,
        s ** powers[:, None] * (eye - c * upper),  # Kahan's
        (eye - upper) * torch.exp2(80 * torch.sin(powers).round()),  # columns in units of their own
        (eye - upper) * torch.exp2(-3 * powers),
        zero_column,
        zero_pivot,
        not_finite,
        eye + 2.0**60 * upper,
        eye + 2.0**250 * eye.roll(1, dims=1).triu(1),  # the inverse overflows from n = 6 on
    ])


@pytest.mark.parametrize("n", [2, 5, 8, 12, 20, 32])
def test_condition_is_that_of_the_rank_rule(kernels, n):
    R = hard_factors(n)
    for solve, place in ((householder, 4), (cholesky, 2)):
        # A triangular matrix is its own factor, up to signs, and so is that of its Gram matrix.
        _, factor, measures = solve(R, torch.ones(len(R), n, dtype=torch.float64))
        expected = condition_of(factor)
        whole = torch.isfinite(expected)
        assert torch.equal(torch.isfinite(measures[place]), whole), solve
        ours, theirs = measures[place][whole], expected[whole]
        assert ((ours - theirs).abs() <= 30 * n * U * theirs).all(), solve
        assert bool((measures[place][~whole] == math.inf).all())
    assert int(whole.sum()) >= 1


@pytest.mark.parametrize("size", [0.0, 5e-324, 2.0**-1070, 1e-200, 1.0, 1e200, 2.0**1022])
def test_residual_norm_of_any_size(kernels, rng, size):
    A = torch.zeros(9, 7, 2, dtype=torch.float64)
    A[:, 0, 0] = A[:, 1, 1] = 1
    b = torch.zeros(9, 7, dtype=torch.float64)
    b[:, 2:5] = size
    x, _, measures = householder(A, b)
    exact = math.hypot(size, size, size)
    assert not x.any()
    assert ((measures[5] - exact).abs() <= 4 * U * exact).all()


def _condition(A):
    return torch.linalg.cond(A) if len(A) else torch.zeros(0)


@pytest.mark.parametrize("condition", [1e1, 1e5, 1e10, 1e14])
def test_forward_error_is_that_of_lapack(kernels, rng, condition):
    m, n = 20, 5
    given = problems.random_problem(m, n, condition=condition, residual=0.1, batch=(40,), generator=rng)
    exact = torch.as_tensor(reference.solve(given.A, given.b))
    ours, lapack = (
        (solve(given.A, given.b)[0] - exact).norm(dim=-1).median() for solve in (householder, householder_eager)
    )
    # Medians over 40 problems of two samples of rounding noise.
    assert ours <= 2 * lapack + U * exact.norm(dim=-1).median()


@pytest.mark.parametrize("shape", TALL, ids=str)
def test_every_level_gives_the_same_bits_and_writes_all(kernels, rng, shape):
    A, b = normal(rng, *shape), normal(rng, *shape[:2])
    expected = householder(A, b)
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        guarded = [torch.full((part.numel() + 16,), float("nan"), dtype=torch.float64) for part in expected]
        out = [g[8 : 8 + part.numel()].view(part.shape) for g, part in zip(guarded, expected, strict=True)]
        kernels.solve_by_householder(A, b, *out, threads, level)
        for whole, ours, part in zip(guarded, out, expected, strict=True):
            assert torch.equal(ours, part)
            assert torch.isnan(whole[:8]).all()
            assert torch.isnan(whole[8 + part.numel() :]).all()


@pytest.mark.parametrize("lay", [strided, misaligned])
@pytest.mark.parametrize("shape", [(9, 7, 3), (17, 20, 5), (8, 64, 16)], ids=str)
def test_layout_changes_no_bit(kernels, rng, shape, lay):
    A, b = normal(rng, *shape), normal(rng, *shape[:2])
    for ours, expected in zip(householder(lay(A), lay(b)), householder(A, b), strict=True):
        assert torch.equal(ours, expected)


def test_a_problem_does_not_depend_on_its_batch(kernels, rng, one_and_more_threads):
    A, b = normal(rng, 4099, 20, 5), normal(rng, 4099, 20)
    one_and_more_threads(2)
    together = householder(A, b)
    one_and_more_threads(1)
    for i in (0, 7, 8, 2050, 4098):
        ours, expected = (
            householder(A[i : i + 1], b[i : i + 1]),
            (together[0][i : i + 1], together[1][i : i + 1], together[2][:, i : i + 1]),
        )
        assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("backend", ["fused", "eager"])
def test_rank_is_judged_alike(kernels, rng, backend):
    A, b = normal(rng, 12, 20, 5), normal(rng, 12, 20)
    A[3, :, 2] = A[3, :, 0]
    A[7, :, 4] = 0
    A[9] = A[9] * math.ldexp(1, -900)
    A[10, 5] = A[10, 5] * 1e12
    result = solvers.get("qr", backend=backend).solve(A, b)
    bad = torch.tensor([i in {3, 7} for i in range(12)])
    assert torch.equal(torch.as_tensor(result.status) == Status.RANK_DEFICIENT, bad)
    exact = torch.as_tensor(reference.solve(A[~bad], b[~bad]))
    error = errors.forward_error(result.x[~bad], exact)
    assert float(error.max()) < 30 * 20 * U * float(torch.linalg.cond(A[~bad]).median())
