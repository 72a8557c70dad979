"""Linear attention and gated convolution against their references, forward, backward and twice backward."""

import itertools

import pytest
import torch

from solvers.fused.attention import attend, linear_attention, linear_attention_backward
from solvers.fused.convolution import convolve, gated_convolution, gated_convolution_backward

from .cases import U, misaligned, normal, strided

ATTENTION = [
    # batch, heads, queries, tokens, width
    (0, 1, 3, 3, 4),
    (1, 1, 1, 1, 1),
    (2, 3, 5, 5, 4),
    (3, 2, 1, 9, 7),
    (5, 1, 21, 21, 64),
    (2, 4, 13, 17, 8),
    (2, 1, 33, 33, 40),
    (3, 2, 7, 8, 19),
]
CONVOLUTION = [
    # batch, tokens, width, taps
    (0, 3, 4, 3),
    (1, 1, 1, 1),
    (3, 5, 7, 5),
    (33, 9, 8, 4),
    (70, 21, 64, 21),
    (2, 6, 13, 9),
    (65, 7, 20, 1),
]


def attention_problem(rng, batch, heads, queries, tokens, width):
    return tuple(normal(rng, batch, heads, count, width) for count in (queries, tokens, tokens))


def convolution_problem(rng, batch, tokens, width, taps):
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


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", ATTENTION, ids=str)
def test_attention_is_its_reference(kernels, rng, shape, causal):
    results = backends(attend, attention_problem(rng, *shape), rng, causal=causal)
    assert_equal_to_rounding(*results, terms=shape[3] + 2 * shape[4])


@pytest.mark.parametrize("shape", CONVOLUTION, ids=str)
def test_convolution_is_its_reference(kernels, rng, shape):
    results = backends(convolve, convolution_problem(rng, *shape), rng)
    assert_equal_to_rounding(*results, terms=shape[0] * shape[1] + shape[3] + 2)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_can_be_differentiated_twice(kernels, rng, causal):
    inputs = [t.requires_grad_() for t in attention_problem(rng, 2, 2, 3, 4, 3)]
    assert torch.autograd.gradcheck(lambda *t: linear_attention(*t, causal), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: linear_attention(*t, causal), inputs)


def test_convolution_can_be_differentiated_twice(kernels, rng):
    inputs = [t.requires_grad_() for t in convolution_problem(rng, 2, 4, 3, 3)]
    assert torch.autograd.gradcheck(gated_convolution, inputs)
    assert torch.autograd.gradgradcheck(gated_convolution, inputs)


@pytest.mark.parametrize("lay", [strided, misaligned, lambda t: t.mT.contiguous().mT])
def test_layout_changes_no_bit(kernels, rng, lay):
    q, k, v = attention_problem(rng, 3, 2, 7, 9, 11)
    dy = normal(rng, *q.shape)
    assert torch.equal(linear_attention(lay(q), lay(k), lay(v), True), linear_attention(q, k, v, True))
    laid = linear_attention_backward(lay(dy), lay(q), lay(k), lay(v), True)
    assert all(map(torch.equal, laid, linear_attention_backward(dy, q, k, v, True)))
    u, gate, weights, bias = convolution_problem(rng, 5, 6, 11, 4)
    assert torch.equal(
        gated_convolution(lay(u), lay(gate), lay(weights), bias), gated_convolution(u, gate, weights, bias)
    )


def poisoned(*shape):
    return torch.full(shape, float("nan"), dtype=torch.float64)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", ATTENTION, ids=str)
def test_every_level_gives_the_same_attention(kernels, rng, shape, causal):
    q, k, v = attention_problem(rng, *shape)
    dy = normal(rng, *q.shape)
    expected = linear_attention(q, k, v, causal), *linear_attention_backward(dy, q, k, v, causal)
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        out = [poisoned(*t.shape) for t in expected]
        kernels.attention(q, k, v, out[0], [], causal, threads, level)
        kernels.attention(q, k, v, dy, out[1:], causal, threads, level)
        assert all(map(torch.equal, out, expected))


@pytest.mark.parametrize("shape", CONVOLUTION, ids=str)
def test_every_level_gives_the_same_convolution(kernels, rng, shape):
    inputs = convolution_problem(rng, *shape)
    dy = normal(rng, *shape[:3])
    y = gated_convolution(*inputs)
    du, dgate, dweights, dbias = gated_convolution_backward(dy, *inputs)
    chunks = -(-shape[0] // kernels.CONVOLUTION_CHUNK)
    for level, threads in itertools.product(kernels.levels(), [1, 2, 3]):
        out = [poisoned(*y.shape) for _ in range(3)]
        partials = poisoned(chunks, shape[3] + 1, shape[2])
        kernels.convolution(*inputs, out[0], threads, level)
        kernels.convolution_backward(*inputs, dy, out[1], out[2], partials, threads, level)
        assert all(map(torch.equal, out, (y, du, dgate)))
        sums = torch.zeros(shape[3] + 1, shape[2], dtype=torch.float64)
        for partial in partials:
            sums += partial
        assert torch.equal(sums, torch.cat([dweights, dbias[None]]))


def test_registered_as_torch_wants(kernels, rng):
    q, k, v = attention_problem(rng, 2, 2, 3, 4, 3)
    inputs = convolution_problem(rng, 3, 4, 5, 3)
    for grad in (False, True):
        torch.library.opcheck(linear_attention, (*(t.requires_grad_(grad) for t in (q, k, v)), True))
        torch.library.opcheck(gated_convolution, tuple(t.requires_grad_(grad) for t in inputs))
    dy = normal(rng, 2, 2, 3, 3)
    torch.library.opcheck(linear_attention_backward, (dy, q.detach(), k.detach(), v.detach(), False))
    torch.library.opcheck(gated_convolution_backward, (normal(rng, 3, 4, 5), *(t.detach() for t in inputs)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # of torch.func.jvp itself
def test_transforms_go_to_eager_code(kernels, rng):
    q, k, v = attention_problem(rng, 2, 2, 3, 4, 3)
    whole = attend(q, k, v, backend="eager")
    assert torch.equal(torch.vmap(lambda *t: attend(*(x[None] for x in t))[0])(q, k, v), whole)
    _, tangent = torch.func.jvp(lambda t: attend(t, k, v), (q,), (q,))
    assert ((tangent - whole).abs() <= 30 * U * (1 + whole.abs())).all()
