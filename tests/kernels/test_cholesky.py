import itertools

import pytest
import torch

import solvers
from solvers import Status, errors, problems, reference
from solvers._core.rank import condition_of
from solvers.fused.cholesky import cholesky_eager
from solvers.fused.cholesky import solve_by_cholesky as cholesky

from .cases import SHAPES, U, misaligned, normal, strided

TALL = [shape for shape in SHAPES if shape[1] > shape[2]] + [(9, 6, 5), (8, 40, 32), (3, 4, 1)]


def ratio(error, size, m, n):
    """LAPACK's test ratio: of order one for a stable method, failing at 30."""
    return (error / (max(m, n) * U * size)).max().item() if error.numel() else 0.0


@pytest.mark.parametrize("scale", [1e-60, 1.0, 1e60])
@pytest.mark.parametrize("shape", TALL, ids=str)
def test_factor_and_solution_are_stable(kernels, rng, shape, scale):
    A, b = scale * normal(rng, *shape), normal(rng, *shape[:2])
    _, m, n = shape
    x, R, (whole, least, condition, residual) = cholesky(A, b)
    G, size = A.mT @ A, torch.linalg.matrix_norm(A)
    assert torch.equal(R, R.triu())
    assert ratio(torch.linalg.matrix_norm(R.mT @ R - G), size**2, m, n) < 30
    squares = G.diagonal(dim1=-2, dim2=-1)
    assert ratio((whole - size).abs(), size, m, n) < 30
    assert ratio((least**2 - squares.amin(dim=-1)).abs(), size**2, m, n) < 30
    assert ratio((condition / condition_of(R) - 1).abs(), 1, m, n) < 30
    norms = (b - torch.einsum("bmn,bn->bm", A, x)).norm(dim=-1)
    assert ratio((residual - norms).abs(), b.norm(dim=-1) + size * x.norm(dim=-1), m, n) < 30
    for ours, eager in zip((whole, least, residual), cholesky_eager(A, b)[2][[0, 1, 3]], strict=True):
        assert ratio((ours - eager).abs(), eager + (1 + size) * _condition(A) ** 2 * b.norm(dim=-1), m, n) < 30
    rest = (torch.einsum("bnk,bk->bn", G, x) - torch.einsum("bmn,bm->bn", A, b)).norm(dim=-1)
    assert ratio(rest, size * (b.norm(dim=-1) + size * x.norm(dim=-1)), m, n) < 30


def _condition(A):
    return torch.linalg.cond(A) if len(A) else torch.zeros(0)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7])
def test_forward_error_is_that_of_lapack(kernels, rng, condition):
    given = problems.random_problem(20, 5, condition=condition, residual=0.1, batch=(40,), generator=rng)
    exact = torch.as_tensor(reference.solve(given.A, given.b))
    ours, lapack = ((solve(given.A, given.b)[0] - exact).norm(dim=-1).median() for solve in (cholesky, cholesky_eager))
    # Medians over 40 problems of two samples of rounding noise.
    assert ours <= 2 * lapack + U * exact.norm(dim=-1).median()


@pytest.mark.parametrize("shape", TALL, ids=str)
def test_every_level_gives_the_same_bits_and_writes_all(kernels, rng, shape):
    A, b = normal(rng, *shape), normal(rng, *shape[:2])
    expected = cholesky(A, b)
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        guarded = [torch.full((part.numel() + 16,), float("nan"), dtype=torch.float64) for part in expected]
        out = [g[8 : 8 + part.numel()].view(part.shape) for g, part in zip(guarded, expected, strict=True)]
        kernels.solve_by_cholesky(A, b, *out, threads, level)
        for whole, ours, part in zip(guarded, out, expected, strict=True):
            assert torch.equal(ours, part)
            assert torch.isnan(whole[:8]).all()
            assert torch.isnan(whole[8 + part.numel() :]).all()


@pytest.mark.parametrize("lay", [strided, misaligned])
@pytest.mark.parametrize("shape", [(9, 7, 3), (17, 20, 5), (8, 64, 16)], ids=str)
def test_layout_changes_no_bit(kernels, rng, shape, lay):
    A, b = normal(rng, *shape), normal(rng, *shape[:2])
    for ours, expected in zip(cholesky(lay(A), lay(b)), cholesky(A, b), strict=True):
        assert torch.equal(ours, expected)


def test_a_problem_does_not_depend_on_its_batch(kernels, rng, one_and_more_threads):
    A, b = normal(rng, 4099, 20, 5), normal(rng, 4099, 20)
    one_and_more_threads(2)
    together = cholesky(A, b)
    one_and_more_threads(1)
    for i in (0, 7, 8, 2050, 4098):
        ours, expected = (
            cholesky(A[i : i + 1], b[i : i + 1]),
            (together[0][i : i + 1], together[1][i : i + 1], together[2][:, i : i + 1]),
        )
        assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("backend", ["fused", "eager"])
def test_lost_pivots_are_judged_alike(kernels, rng, backend):
    A, b = normal(rng, 12, 20, 5), normal(rng, 12, 20)
    A[3, :, 2] = A[3, :, 0]
    A[7, :, 4] = 0
    A[8, :, 3] = A[8, :, 1] + 1e-10 * A[8, :, 3]  # κ beyond what squares can hold
    A[9] = A[9] * 2.0**-600
    result = solvers.get("cholesky", backend=backend).solve(A, b)
    expected = {3: Status.RANK_DEFICIENT, 7: Status.RANK_DEFICIENT, 8: Status.BREAKDOWN}
    assert torch.as_tensor(result.status).tolist() == [expected.get(i, Status.CONVERGED) for i in range(12)]
    fine = torch.tensor([i not in expected for i in range(12)])
    exact = torch.as_tensor(reference.solve(A[fine], b[fine]))
    assert float(errors.forward_error(result.x[fine], exact).max()) < 30 * 20 * U * float(
        torch.linalg.cond(A[fine]).max() ** 2
    )
