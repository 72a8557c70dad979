import itertools
import math

import pytest
import torch

import solvers
from solvers import Status, errors, problems, reference
from solvers.fused.householder import householder, householder_eager

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
    x, R, rows = householder(A, b)
    size = torch.linalg.matrix_norm(A)
    assert torch.equal(R, R.triu())
    # RᵀR = AᵀA says that R is a factor; it loses nothing, as both are rounded in products alone.
    assert ratio(torch.linalg.matrix_norm(R.mT @ R - A.mT @ A), size**2, m, n) < 30
    normal_residual = torch.einsum("bmn,bm->bn", A, b - torch.einsum("bmn,bn->bm", A, x)).norm(dim=-1)
    assert ratio(normal_residual, size * (b.norm(dim=-1) + size * x.norm(dim=-1)), m, n) < 30
    eager = householder_eager(A, b)
    assert torch.equal(rows, eager[2])
    assert ratio(torch.linalg.matrix_norm(R - eager[1]), size * _condition(A), m, n) < 30


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
        kernels.householder(A, b, *out, threads, level)
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
        for alone, part in zip(householder(A[i : i + 1], b[i : i + 1]), together, strict=True):
            assert torch.equal(alone[0], part[i])


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


def test_registered_as_torch_wants(kernels, rng):
    torch.library.opcheck(householder, (normal(rng, 9, 6, 5), normal(rng, 9, 6)))
