"""Training on several processes, started by torchrun: what each computes, and how the parts are put together.

Every process draws the same batches from the same seeds and computes with its share of the problems; sums over the
shares are all-reduced and rows gathered, so that all processes take the same step. Only `Objective` knows of it, and
what starts a run; a phase sees whole batches. Without torchrun there is one process, its share is all, and nothing here
does anything. Processes must be alike: they decide alone, from the same numbers, in lockstep.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed as dist

T = TypeVar("T")


def _launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def first() -> bool:
    """Whether this is the process that writes and speaks.

    Returns:
        True for rank 0, and where there is one process.
    """
    return not _launched() or int(os.environ["RANK"]) == 0


def size() -> int:
    """How many processes train together.

    Returns:
        1 where no group was joined.
    """
    return dist.get_world_size() if dist.is_initialized() else 1


def own_device(device: str) -> str:
    """The device of this process.

    Args:
        device: What the user named.

    Returns:
        The same, but for "cuda" under torchrun: each process of a machine then has a GPU of its own.
    """
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and _launched() else device


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the group that torchrun prepared, if it did, and leave it at the end: gloo on a CPU, nccl on a GPU.

    Args:
        device: What the user named.

    Yields:
        Nothing.
    """
    if not _launched() or dist.is_initialized():
        yield
        return
    own = torch.device(own_device(device))
    if own.type == "cuda":
        torch.cuda.set_device(own)  # what is exchanged as an object travels through the current device
        dist.init_process_group("nccl", device_id=own)
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def total(part: torch.Tensor) -> torch.Tensor:
    """The sum over all processes.

    Args:
        part: This process's; overwritten.

    Returns:
        The sum, of the same shape, the same on every process.
    """
    if size() > 1:
        dist.all_reduce(part)
    return part


def copied(theta: torch.Tensor) -> torch.Tensor:
    """The same on every process, for each to compute with: what flows back to it is summed over all.

    Args:
        theta: Of the same value on every process.

    Returns:
        The same.
    """
    copy: torch.Tensor = _Copied.apply(theta) if size() > 1 else theta  # type: ignore[no-untyped-call]
    return copy


def summed(part: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, through which gradients flow back to each one's part.

    Args:
        part: This process's.

    Returns:
        The sum, the same on every process.
    """
    whole: torch.Tensor = _Summed.apply(part) if size() > 1 else part  # type: ignore[no-untyped-call]
    return whole


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, theta: torch.Tensor) -> torch.Tensor:
        return theta.view_as(theta)

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return total(gradient.clone())


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, part: torch.Tensor) -> torch.Tensor:
        return total(part.clone())

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


def share(rows: torch.Tensor) -> torch.Tensor:
    """This process's part of some rows.

    Args:
        rows: (B, ...), the same on every process.

    Returns:
        A view of B/size rows, give or take one.
    """
    if size() == 1:
        return rows
    rank, processes = dist.get_rank(), size()
    return rows[rank * len(rows) // processes : (rank + 1) * len(rows) // processes]


def gathered(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in order.

    Args:
        rows: This process's, (b, ...).

    Returns:
        All of them, (B, ...).
    """
    if size() == 1:
        return rows
    lengths = rows.new_zeros(size())
    lengths[dist.get_rank()] = len(rows)
    counts = [int(length) for length in total(lengths)]
    padded = torch.cat([rows, rows.new_zeros(max(counts) - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def agreed(value: T) -> T:
    """What the first process says.

    Args:
        value: This process's opinion; what the processes exchange comes from nowhere else.

    Returns:
        The first process's.
    """
    if size() == 1:
        return value
    opinions = [value]
    dist.broadcast_object_list(opinions, src=0)
    return opinions[0]
