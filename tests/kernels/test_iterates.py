import importlib
import itertools

import mpmath
import pytest
import torch

from solvers.fused.iterates import gradient_descent
from solvers.gradient_descent import iterates, iterates_eager

from .cases import SHAPES, U, misaligned, normal, strided

STEPS = 7


def problem(rng, batch, m, n):
    A, b, x0 = normal(rng, batch, m, n), normal(rng, batch, m), normal(rng, batch, n)
    sigma = torch.linalg.matrix_norm(A, 2) if batch else torch.ones(0, dtype=torch.float64)
    return A, b, x0, 1 / sigma**2


def form(gram):
    return "gram" if gram else "residual"


def bound(A, b, iterates):
    """First-order error of STEPS steps, each of which is a product with A and one with Aᵀ, both of norm at most ‖A‖."""
    m, n = A.shape[-2:]
    size = iterates.abs().amax(dim=(0, 2)) + b.norm(dim=-1) / torch.linalg.matrix_norm(A)
    return 4 * (m + n) * STEPS * 2**STEPS * U * size[None, :, None] * n


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_descent_is_its_reference(kernels, rng, shape, gram):
    A, b, x0, eta = problem(rng, *shape)
    reference = iterates_eager(A, b, x0, eta, STEPS, form=form(gram))
    ours = gradient_descent(A, b, x0, eta, STEPS, gram)
    assert ours.shape == reference.shape
    assert ((ours - reference).abs() <= bound(A, b, reference)).all()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps(kernels, rng, steps):
    A, b, x0, eta = problem(rng, 9, 6, 5)
    ours = gradient_descent(A, b, x0, eta, steps)
    assert ours.shape == (steps + 1, 9, 5)
    assert torch.equal(ours[0], x0)
    assert torch.equal(ours, gradient_descent(A, b, x0, eta, 3)[: steps + 1])


@pytest.mark.parametrize("lay", [strided, misaligned])
@pytest.mark.parametrize("shape", [(9, 7, 3), (17, 20, 5), (8, 64, 16)], ids=str)
def test_layout_changes_no_bit(kernels, rng, shape, lay):
    A, b, x0, eta = problem(rng, *shape)
    expected = gradient_descent(A, b, x0, eta, STEPS)
    assert torch.equal(gradient_descent(lay(A), lay(b), lay(x0), lay(eta), STEPS), expected)
    out = misaligned(torch.full_like(expected, float("nan")))
    kernels.gradient_descent(A, b, x0, eta, out, STEPS, False, 1)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("gram", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_level_gives_the_same_bits_and_writes_all(kernels, rng, shape, gram):
    A, b, x0, eta = problem(rng, *shape)
    expected = gradient_descent(A, b, x0, eta, STEPS, gram)
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        guarded = torch.full((expected.numel() + 16,), float("nan"), dtype=torch.float64)
        out = guarded[8 : 8 + expected.numel()].view(expected.shape)
        kernels.gradient_descent(A, b, x0, eta, out, STEPS, gram, threads, level)
        assert torch.equal(out, expected)
        assert torch.isnan(guarded[:8]).all()
        assert torch.isnan(guarded[8 + expected.numel() :]).all()


def test_threads_and_runs_change_no_bit_of_a_large_batch(kernels, rng, one_and_more_threads):
    A, b, x0, eta = problem(rng, 6001, 20, 5)  # the output is large enough to be written past the cache
    results = []
    for threads in (1, 2, 3, 8, 2):
        one_and_more_threads(threads)
        results.append(gradient_descent(A, b, x0, eta, 80))
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_a_problem_does_not_depend_on_its_batch(kernels, rng):
    A, b, x0, eta = problem(rng, 13, 9, 4)
    together = gradient_descent(A, b, x0, eta, STEPS)
    for i in range(13):
        one = slice(i, i + 1)
        assert torch.equal(gradient_descent(A[one], b[one], x0[one], eta[one], STEPS)[:, 0], together[:, i])


def test_a_nan_stays_in_its_problem(kernels, rng):
    A, b, x0, eta = problem(rng, 11, 9, 4)
    clean = gradient_descent(A, b, x0, eta, STEPS)
    A[2, 0, 0] = float("nan")
    hurt = gradient_descent(A, b, x0, eta, STEPS)
    others = torch.arange(11) != 2
    assert torch.equal(hurt[:, others], clean[:, others])
    assert torch.isnan(hurt[1:, 2]).all()


@pytest.mark.parametrize("gram", [False, True])
def test_error_is_no_larger_than_that_of_eager_code(kernels, rng, gram):
    A, b, x0, eta = problem(rng, 24, 12, 4)
    steps = 25
    exact = torch.stack([_exact_last(A[i], b[i], x0[i], eta[i], steps) for i in range(len(A))])
    ours = gradient_descent(A, b, x0, eta, steps, gram)[-1] - exact
    eager = iterates_eager(A, b, x0, eta, steps, form=form(gram))[-1] - exact
    # Two samples of rounding noise: one may exceed the other by chance, on 24 problems hardly by a quarter.
    assert ours.norm() <= 1.25 * eager.norm() + U * exact.norm()


def _exact_last(A, b, x, eta, steps):
    with mpmath.workdps(40):
        matrix, right, iterate = (mpmath.matrix(t.tolist()) for t in (A, b, x))
        for _ in range(steps):
            iterate = iterate - mpmath.mpf(float(eta)) * (matrix.T * (matrix * iterate - right))
        return torch.tensor([float(v) for v in iterate], dtype=torch.float64)


def test_registered_as_torch_wants(kernels, rng):
    A, b, x0, eta = problem(rng, 9, 6, 5)
    for gram in (False, True):
        torch.library.opcheck(gradient_descent, (A, b, x0, eta, 3, gram))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)], ids=str)
def test_backends_of_the_public_function_agree(kernels, rng, batch):
    A, b, x0 = normal(rng, *batch, 7, 3), normal(rng, *batch, 7), normal(rng, *batch, 3)
    fused_ones, eager_ones = (iterates(A, b, x0, 0.01, 5, backend=backend) for backend in ("fused", "eager"))
    assert fused_ones.shape == eager_ones.shape == (6, *batch, 3)
    assert ((fused_ones - eager_ones).abs() <= 30 * 10 * 5 * U * (1 + eager_ones.abs())).all()


def test_auto_takes_what_the_kernel_cannot_to_eager_code(kernels, rng):
    A, b, x0, eta = problem(rng, 4, 6, 3)
    assert torch.equal(iterates(A, b, x0, eta, 3), gradient_descent(A, b, x0, eta, 3))
    wide = normal(rng, 2, 40, 33)
    for arguments in [
        (A.float(), b.float(), x0.float(), 0.01),
        (A.clone().requires_grad_(), b, x0, eta),
        (wide, normal(rng, 2, 40), normal(rng, 2, 33), 0.001),
    ]:
        assert torch.equal(iterates(*arguments, 3), iterates_eager(*arguments, 3))
        with pytest.raises(RuntimeError, match="'fused', but"):
            iterates(*arguments, 3, backend="fused")


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [(1, (9, 5)), (2, (9, 4)), (3, (8,)), (4, (4, 9, 5)), (4, (8, 9, 4)), (4, (8, 8, 5))],
)
def test_shapes_that_do_not_fit_are_refused(kernels, rng, argument, wrong):
    A, b, x0, eta = problem(rng, 9, 6, 5)
    arguments = [A, b, x0, eta, torch.empty(8, 9, 5, dtype=torch.float64)]
    arguments[argument] = torch.zeros(wrong, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"does not fit|one a problem|one an iterate"):
        kernels.gradient_descent(*arguments, STEPS, False, 1)


def test_an_output_that_would_be_copied_is_refused(kernels, rng):
    A, b, x0, eta = problem(rng, 9, 6, 5)
    out = strided(torch.zeros(STEPS + 1, 9, 5, dtype=torch.float64))
    with pytest.raises(TypeError):
        kernels.gradient_descent(A, b, x0, eta, out, STEPS, False, 1)


def test_the_limits_agree(kernels):
    assert kernels.MAX_COLUMNS == importlib.import_module("solvers.fused").MAX_COLUMNS
