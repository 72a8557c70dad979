"""Gated convolution against its reference, forward, backward and twice backward."""

import itertools

import mpmath
import pytest
import torch

from precisionlab.models.fused.convolution import (
    convolve,
    gated_convolution,
    gated_convolution_backward,
    gated_convolution_eager,
)

from .cases import U, misaligned, normal, strided

CONVOLUTION = [
    # batch, tokens, width, taps, first lag
    (0, 3, 4, 3, 0),
    (1, 1, 1, 1, 0),
    (3, 5, 7, 5, 0),
    (33, 9, 8, 4, 0),
    (70, 21, 64, 21, 0),
    (2, 6, 13, 9, 0),
    (65, 7, 20, 1, 0),
    (9, 5, 7, 9, -4),  # the whole sequence, both ways
    (3, 4, 8, 2, -3),  # into the future alone
    (2, 3, 5, 9, -6),  # taps that meet no token
]


def convolution_problem(rng, batch, tokens, width, taps, first=0):
    return (
        normal(rng, batch, tokens, width),
        normal(rng, batch, tokens, width),
        normal(rng, taps, width),
        normal(rng, width),
    )


def backends(function, inputs, rng, **options):
    """Output and gradients of both backends, and the same of the sums of magnitudes, which bound the rounding."""
    results, seed = [], None
    for backend, values in [("fused", inputs), ("eager", inputs), ("eager", [t.abs() for t in inputs])]:
        leaves = [t.clone().requires_grad_() for t in values]
        y = function(*leaves, backend=backend, **options)
        seed = normal(rng, *y.shape) if seed is None else seed
        results.append((
            y,
            *torch.autograd.grad(y, leaves, seed if backend != "eager" or values is inputs else seed.abs()),
        ))
    return results


def assert_equal_to_rounding(ours, reference, magnitudes, terms):
    for a, b, size in zip(ours, reference, magnitudes, strict=True):
        assert a.shape == b.shape
        assert ((a - b).abs() <= 4 * terms * U * size).all()


@pytest.mark.parametrize("shape", CONVOLUTION, ids=str)
def test_convolution_is_its_reference(kernels, rng, shape):
    results = backends(convolve, convolution_problem(rng, *shape), rng, first=shape[4])
    assert_equal_to_rounding(*results, terms=shape[0] * shape[1] + shape[3] + 2)


@pytest.mark.parametrize("first", [0, -2])
def test_convolution_can_be_differentiated_twice(kernels, rng, first):
    inputs = [t.requires_grad_() for t in convolution_problem(rng, 2, 4, 3, 3)]
    assert torch.autograd.gradcheck(lambda *t: gated_convolution(*t, first), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: gated_convolution(*t, first), inputs)


@pytest.mark.parametrize("lay", [strided, misaligned, lambda t: t.mT.contiguous().mT])
def test_layout_changes_no_bit(kernels, rng, lay):
    *inputs, bias = convolution_problem(rng, 5, 6, 11, 4)
    dy = normal(rng, 5, 6, 11)
    laid = *map(lay, inputs), bias
    assert torch.equal(gated_convolution(*laid, -1), gated_convolution(*inputs, bias, -1))
    back, expected = gated_convolution_backward(lay(dy), *laid, -1), gated_convolution_backward(dy, *inputs, bias, -1)
    assert all(map(torch.equal, back, expected))


def poisoned(*shape):
    return torch.full(shape, float("nan"), dtype=torch.float64)


@pytest.mark.parametrize("shape", CONVOLUTION, ids=str)
def test_every_level_gives_the_same_convolution(kernels, rng, shape):
    batch, tokens, width, taps, first = shape
    inputs = convolution_problem(rng, *shape)
    dy = normal(rng, batch, tokens, width)
    y = gated_convolution(*inputs, first)
    du, dgate, dweights, dbias = gated_convolution_backward(dy, *inputs, first)
    sums = torch.cat([dweights, dbias[None]])
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        out = [*(poisoned(*y.shape) for _ in range(3)), poisoned(*sums.shape)]
        partials = poisoned(-(-batch // kernels.CONVOLUTION_CHUNK), taps + 1, width)
        kernels.convolution(*inputs, first, out[0], threads, level)
        kernels.convolution_backward(*inputs, first, dy, *out[1:3], partials, out[3], threads, level)
        assert all(map(torch.equal, out, (y, du, dgate, sums)))


def test_threads_and_runs_change_no_bit_of_the_gradients(kernels, rng, one_and_more_threads):
    inputs, dy = convolution_problem(rng, 300, 21, 64, 41, -20), normal(rng, 300, 21, 64)
    results = []
    for threads in (1, 2, 3, 2):
        one_and_more_threads(threads)
        results.append(gated_convolution_backward(dy, *inputs, -20))
    for others in results[1:]:
        assert all(map(torch.equal, results[0], others))


@pytest.mark.parametrize("first", [0, -5])
def test_error_of_convolution_is_no_larger_than_that_of_eager_code(kernels, rng, first):
    inputs = u, gate, weights, bias = convolution_problem(rng, 1, 6, 3, 6)
    exact = torch.zeros_like(u)
    with mpmath.workdps(40):
        for t, feature in itertools.product(range(6), range(3)):
            lags = [(k, t - first - k) for k in range(6) if 0 <= t - first - k < 6]
            z = mpmath.fsum(mpmath.mpf(float(weights[k, feature])) * float(u[0, s, feature]) for k, s in lags)
            exact[0, t, feature] = float((z + float(bias[feature])) * float(gate[0, t, feature]))
    ours, eager = gated_convolution(*inputs, first) - exact, gated_convolution_eager(*inputs, first) - exact
    assert ours.norm() <= 1.25 * eager.norm() + U * exact.norm()


def test_what_lies_outside_the_tokens_is_refused(rng):
    with pytest.raises(ValueError, match="lag of 0 or less"):
        convolve(*convolution_problem(rng, 1, 3, 2, 2), first=1)


def test_registered_as_torch_wants(kernels, rng):
    inputs = convolution_problem(rng, 3, 4, 5, 3)
    for grad in (False, True):
        torch.library.opcheck(gated_convolution, (*(t.requires_grad_(grad) for t in inputs), -1))
    torch.library.opcheck(gated_convolution_backward, (normal(rng, 3, 4, 5), *(t.detach() for t in inputs), 0))


def test_transforms_go_to_eager_code(kernels, rng):
    u, gate, weights, bias = convolution_problem(rng, 3, 4, 5, 3)
    jacobian = torch.func.jacrev(lambda w: convolve(u, gate, w, bias).sum(dim=(0, 1)))(weights)
    expected = torch.func.jacrev(lambda w: convolve(u, gate, w, bias, backend="eager").sum(dim=(0, 1)))(weights)
    assert torch.equal(jacobian, expected)
