"""What every fused operation is tried on."""

import torch

U = torch.finfo(torch.float64).eps / 2

SHAPES = [
    # batch, m, n: odd sizes, less than a lane group, exactly one, one and a bit, empty; n at and beyond the templates
    (0, 5, 3),
    (1, 1, 1),
    (1, 20, 5),
    (3, 2, 2),
    (7, 9, 4),
    (8, 8, 8),
    (9, 7, 3),
    (17, 20, 5),
    (16, 13, 7),
    (5, 11, 9),
    (10, 64, 16),
    (11, 19, 17),
    (2, 40, 32),
]


def normal(rng, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=rng)


def strided(tensor):
    """The same values, every dimension with a gap: non-contiguous unless there is one number or none."""
    if not tensor.numel():
        return tensor
    holder = torch.full([2 * s for s in tensor.shape], float("nan"), dtype=tensor.dtype)
    view = holder[tuple(slice(None, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def misaligned(tensor):
    """The same values, contiguous, at an address that is no multiple of 16 bytes."""
    holder = torch.full((tensor.numel() + 9,), float("nan"), dtype=tensor.dtype)
    start = 1 + (-holder.data_ptr() // 8) % 8
    view = holder[start : start + tensor.numel()].view(tensor.shape)
    return view.copy_(tensor)
