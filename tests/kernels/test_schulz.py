import itertools

import pytest
import torch

from solvers.fused.schulz import newton_schulz, newton_schulz_eager, newton_schulz_iterates

from .cases import SHAPES, U, misaligned, normal, strided

STEPS = 5


def problem(rng, batch, m, n):
    A = normal(rng, batch, m, n)
    return A, A.mT / torch.linalg.matrix_norm(A)[:, None, None] ** 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_its_reference(kernels, rng, shape):
    A, X0 = problem(rng, *shape)
    reference, ours = newton_schulz_eager(A, X0, STEPS), newton_schulz(A, X0, STEPS)
    # A step doubles an error and adds that of two products; ‖X A‖ < 1 throughout.
    size = torch.linalg.matrix_norm(reference).amax(dim=0)[:, None, None]
    assert ours.shape == reference.shape
    assert ((ours - reference).abs() <= 30 * sum(shape[1:]) * 3**STEPS * U * size).all()
    assert torch.equal(newton_schulz(A, X0, STEPS, every=False), ours[-1:])
    assert torch.equal(ours[0], X0)


def test_reaches_the_pseudo_inverse(kernels, rng):
    A, X0 = problem(rng, 9, 12, 4)
    X = newton_schulz_iterates(A, X0, 40, backend="fused")[-1]
    condition = torch.linalg.cond(A)[:, None, None]
    assert ((X @ A - torch.eye(4, dtype=torch.float64)).abs() <= 30 * 12 * U * condition**2).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_level_gives_the_same_bits_and_writes_all(kernels, rng, shape):
    A, X0 = problem(rng, *shape)
    for every in (False, True):
        expected = newton_schulz(A, X0, STEPS, every)
        for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
            guarded = torch.full((expected.numel() + 16,), float("nan"), dtype=torch.float64)
            out = guarded[8 : 8 + expected.numel()].view(expected.shape)
            kernels.schulz(A, X0.contiguous(), out, STEPS, threads, level)
            assert torch.equal(out, expected)
            assert torch.isnan(guarded[:8]).all()
            assert torch.isnan(guarded[8 + expected.numel() :]).all()


@pytest.mark.parametrize("lay", [strided, misaligned])
def test_layout_changes_no_bit(kernels, rng, lay):
    A, X0 = problem(rng, 9, 7, 3)
    assert torch.equal(newton_schulz(lay(A), lay(X0), STEPS), newton_schulz(A, X0, STEPS))


def test_registered_as_torch_wants(kernels, rng):
    A, X0 = problem(rng, 9, 6, 5)
    for every in (False, True):
        torch.library.opcheck(newton_schulz, (A, X0, 3, every))
