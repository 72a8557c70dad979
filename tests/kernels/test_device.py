"""The CUDA kernels from Python: on a GPU the CPU's results, and where there is none, a refusal that says why."""

import pytest
import torch

from precisionlab.models.fused.attention import attend
from precisionlab.models.fused.convolution import convolve
from solvers import fused, gradient_descent
from solvers.fused.householder import householder
from solvers.fused.iterates import chebyshev_iterates
from solvers.fused.schulz import newton_schulz_iterates

from .cases import U, normal

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
OPERATIONS = [
    "gradient_descent",
    "chebyshev",
    "newton_schulz",
    "householder",
    "linear_attention",
    "linear_attention_backward",
    "gated_convolution",
    "gated_convolution_backward",
]
STEPS = 6


@pytest.mark.parametrize("operation", OPERATIONS)
def test_registered_for_gpu_tensors(operation):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"precisionlab::{operation}", "CUDA")


def test_a_cpu_tensor_is_refused(kernels, rng):
    A, X0 = normal(rng, 3, 5, 2), normal(rng, 3, 2, 5)
    with pytest.raises(TypeError):
        kernels.device_schulz(A, X0, torch.empty(1, 3, 2, 5, dtype=torch.float64), 1, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_why(kernels):
    assert kernels.device_obstacle()
    assert kernels.device_obstacle() == kernels.device_obstacle()


def test_sizes_that_the_gpu_takes(kernels):
    if "without CUDA" in kernels.device_obstacle():
        assert not kernels.device_takes_iterates(20, 5, False)
        pytest.skip("built without CUDA")
    assert kernels.device_takes_iterates(20, 5, False)
    assert kernels.device_takes_iterates(64, 16, False)
    assert not kernels.device_takes_iterates(65, 16, False)
    assert kernels.device_takes_iterates(10**6, 8, True)
    assert not kernels.device_takes_iterates(20, 9, True)
    assert kernels.device_takes_schulz(20, 5)
    assert not kernels.device_takes_householder(20, 9)
    assert kernels.device_takes_attention(21, 21, 64)
    assert not kernels.device_takes_attention(500, 500, 64)
    assert kernels.device_takes_convolution(21, 41)
    assert not kernels.device_takes_convolution(4096, 4096)


@pytest.mark.parametrize("place", ["meta"])
def test_other_devices_go_to_eager_code(kernels, place):
    reason = fused.obstacle(torch.zeros(2, dtype=torch.float64, device=place))
    assert reason is not None
    assert place in reason


def to_gpu(*tensors):
    return [t.cuda() for t in tensors]


@on_gpu
@pytest.mark.parametrize("form", ["residual", "gram"])
@pytest.mark.parametrize("shape", [(0, 20, 5), (1, 20, 5), (33, 20, 5), (100, 7, 3), (9, 64, 8)], ids=str)
def test_iterates_are_the_cpus(kernels, rng, shape, form):
    batch, m, n = shape
    A, b, x0 = normal(rng, *shape) / m**0.5, normal(rng, batch, m), normal(rng, batch, n)
    ours = gradient_descent.iterates(*to_gpu(A, b, x0), 0.1, STEPS, backend="fused", form=form).cpu()
    theirs = gradient_descent.iterates(A, b, x0, 0.1, STEPS, backend="fused", form=form)
    low, high = torch.full((batch,), 0.1).double(), torch.full((batch,), 3.0).double()
    ours2 = chebyshev_iterates(*to_gpu(A, b, x0, low, high), STEPS, backend="fused", form=form).cpu()
    theirs2 = chebyshev_iterates(A, b, x0, low, high, STEPS, backend="fused", form=form)
    for one, other in ((ours, theirs), (ours2, theirs2)):
        assert ((one - other).abs() <= 30 * STEPS * (m + n) * U * (1 + other.abs())).all()
        assert form == "residual" or torch.equal(one, other)


@on_gpu
@pytest.mark.parametrize("batch", [0, 1, 33])
def test_the_other_operations_give_the_cpus_bits(kernels, rng, batch):
    A, b = normal(rng, batch, 20, 5), normal(rng, batch, 20)
    for ours, theirs in zip(householder(*to_gpu(A, b)), householder(A, b), strict=True):
        assert torch.equal(ours.cpu(), theirs)
    X0 = A.mT / 100
    ours = newton_schulz_iterates(*to_gpu(A, X0), STEPS, backend="fused")
    assert torch.equal(ours.cpu(), newton_schulz_iterates(A, X0, STEPS, backend="fused"))


@on_gpu
@pytest.mark.parametrize(
    ("function", "shapes", "options"),
    [
        (attend, [(3, 2, 9, 19)] * 3, {"causal": True, "prefix": 2}),
        (attend, [(3, 2, 4, 64), (3, 2, 21, 64), (3, 2, 21, 64)], {"divisor": 1.0}),
        (convolve, [(17, 21, 64), (17, 21, 64), (21, 64), (64,)], {}),
        (convolve, [(3, 9, 40), (3, 9, 40), (17, 40), (40,)], {"first": -8}),
    ],
)
def test_mixers_forward_and_backward_give_the_cpus_bits(kernels, rng, function, shapes, options):
    inputs = [normal(rng, *shape) for shape in shapes]
    results = []
    for values in (inputs, to_gpu(*inputs)):
        leaves = [t.clone().requires_grad_() for t in values]
        y = function(*leaves, backend="fused", **options)
        results.append([y, *torch.autograd.grad(y, leaves, torch.ones_like(y))])
    for theirs, ours in zip(*results, strict=True):
        assert torch.equal(ours.cpu(), theirs)


@on_gpu
def test_the_callers_stream_is_used(kernels, rng):
    A, b = to_gpu(normal(rng, 4096, 20, 5), normal(rng, 4096, 20))
    expected = householder(A, b)[0]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x = householder(2 * A, b)[0]
    side.synchronize()
    assert torch.equal(2 * x, expected)
