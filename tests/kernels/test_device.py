"""The CUDA kernels from Python: on a GPU the CPU's results, and where there is none, a refusal that says why."""

import pytest
import torch

from precisionlab.models.fused.convolution import convolve, gated_convolution, gated_convolution_backward
from solvers import fused, gradient_descent
from solvers.fused import iterates
from solvers.fused.householder import solve_by_householder as householder

from .cases import U, normal

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
OPERATIONS = (iterates.gradient_descent, gated_convolution, gated_convolution_backward)
STEPS = 6


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation._name)
def test_registered_for_gpu_tensors(operation):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(operation._qualname, "CUDA")


def test_a_cpu_tensor_is_refused(kernels, rng):
    A, b, x0, step = normal(rng, 3, 5, 2), normal(rng, 3, 5), normal(rng, 3, 2), normal(rng, 3)
    with pytest.raises(TypeError):
        kernels.device_gradient_descent(A, b, x0, step, torch.empty(2, 3, 2, dtype=torch.float64), 1, False, 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_why(kernels):
    assert kernels.device_obstacle()
    assert kernels.device_obstacle() == kernels.device_obstacle()


# Compute capability and KiB of shared memory that a block may ask for, as NVIDIA's tables have them, and whether one of
# the images (sm_80, sm_90, PTX of compute_90) runs there.
CARDS = {
    "V100": (70, 96, False),
    "T4": (75, 64, False),
    "A100": (80, 163, True),
    "RTX 3090": (86, 99, True),
    "Orin": (87, 163, True),
    "L4": (89, 99, True),
    "H200": (90, 227, True),
    "B200": (100, 227, True),
    "RTX 5090": (120, 99, True),
}


@pytest.mark.parametrize("card", CARDS)
def test_what_a_gpu_takes_follows_from_its_two_numbers(kernels, card):
    capability, shared, loads = CARDS[card]

    def takes(kernel, *sizes):
        return kernels.device_would_take(kernel, list(sizes), capability, shared << 10)

    assert takes("gradient_descent", 20, 5, False) == loads
    assert takes("gradient_descent", 64, 16, False) == loads
    assert takes("gradient_descent", 10**6, 8, True) == loads
    assert takes("solve_by_householder", 20, 5) == loads
    assert takes("convolution", 21, 41) == loads
    assert not takes("gradient_descent", 65, 16, False)
    assert not takes("gradient_descent", 20, 9, True)
    assert not takes("solve_by_householder", 20, 9)
    assert not takes("convolution", 4096, 4096)
    # 33 doubles side by side for each number of [A b]; 32 for each of u and dz, filter and its gradient, and one.
    largest = (shared << 10) // (8 * 33 * 6)
    assert takes("solve_by_householder", largest, 5) == loads
    assert not takes("solve_by_householder", largest + 1, 5)
    tokens = ((shared << 10) // (8 * 32) - 1 - 2 * 21) // 2
    assert takes("convolution", tokens, 21) == loads
    assert not takes("convolution", tokens + 1, 21)


def test_a_kernel_that_is_not_there_is_named(kernels):
    with pytest.raises(ValueError, match="none of that name"):
        kernels.device_would_take("schulz", [20, 5], 90, 1 << 17)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_taken(kernels):
    if "without CUDA" in kernels.device_obstacle():
        assert not kernels.device_takes("solve_by_householder", [20, 5], 0)
    else:
        with pytest.raises(RuntimeError):
            kernels.device_takes("solve_by_householder", [20, 5], 0)


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
    assert ((ours - theirs).abs() <= 30 * STEPS * (m + n) * U * (1 + theirs.abs())).all()
    assert form == "residual" or torch.equal(ours, theirs)


@on_gpu
@pytest.mark.parametrize("batch", [0, 1, 33])
def test_householder_gives_the_cpus_bits(kernels, rng, batch):
    A, b = normal(rng, batch, 20, 5), normal(rng, batch, 20)
    for ours, theirs in zip(householder(*to_gpu(A, b)), householder(A, b), strict=True):
        assert torch.equal(ours.cpu(), theirs)


@on_gpu
@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        ([(17, 21, 64), (17, 21, 64), (21, 64), (64,)], {}),
        ([(3, 9, 40), (3, 9, 40), (17, 40), (40,)], {"first": -8}),
    ],
)
def test_convolution_forward_and_backward_give_the_cpus_bits(kernels, rng, shapes, options):
    inputs = [normal(rng, *shape) for shape in shapes]
    results = []
    for values in (inputs, to_gpu(*inputs)):
        leaves = [t.clone().requires_grad_() for t in values]
        y = convolve(*leaves, backend="fused", **options)
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
