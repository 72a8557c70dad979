"""Fused float64 kernels, one family of operations a file; torch custom ops where a user's graph may call them.

Every operation has an eager reference written in plain torch, and `backend="auto" | "fused" | "eager"` in its public
function. What makes a call one that the kernels take is decided here, once: `obstacle` names what stands in the way,
`chosen` turns a `backend` into a decision.

The compiled module `precisionlab_kernels` may be absent (no compiler when the package was installed). "auto" then says
so once, and runs eager code.
"""

import functools
import math
import warnings
from importlib import import_module
from typing import Any, Literal, get_args

import torch
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad as fwAD

Backend = Literal["auto", "fused", "eager"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
MAX_COLUMNS = 32
"""Columns beyond which a problem no longer fits the registers and first-level cache that fusing is for."""
MAX_ENTRIES = 1 << 15
"""Entries of one problem beyond which a lane group no longer fits the second-level cache."""


@functools.cache
def module() -> Any:
    """The compiled module `precisionlab_kernels`, or None where it was not built."""
    try:
        return import_module("precisionlab_kernels")
    except ImportError:
        return None


@functools.cache
def _say_once() -> None:
    """Tell the user, the first time that it matters, that the kernels are absent."""
    warnings.warn(
        "precisionlab was installed without its compiled kernels (no C++ compiler?): running slower eager code",
        RuntimeWarning,
        stacklevel=4,
    )


@functools.cache
def _gpu_obstacle() -> str:
    """What keeps the CUDA kernels from running at all, in one line, or nothing."""
    return str(module().device_obstacle())


@functools.cache
def _gpu_takes(kernel: str, sizes: tuple[int, ...], device: int) -> bool:
    """Whether a GPU has a kernel for these sizes, and the memory that it wants."""
    return bool(module().device_takes(kernel, list(sizes), device))


def obstacle(
    *tensors: torch.Tensor,
    columns: int = 1,
    entries: int = 1,
    differentiable: bool = False,
    gpu: tuple[Any, ...] | None = None,
) -> str | None:
    """What keeps a call from the kernels, in a line, or None."""
    # columns and entries are those of a problem; differentiable: the operation has a backward pass of its own; gpu: the
    # kernel's name in the module, and its sizes, or None where there is none for a GPU.
    reason = None
    if module() is None:
        reason = "the module precisionlab_kernels was not built"
    elif columns > MAX_COLUMNS:
        reason = f"got {columns} columns, the kernels take up to {MAX_COLUMNS}"
    elif entries > MAX_ENTRIES:
        reason = f"got {entries} entries a problem, the kernels take up to {MAX_ENTRIES}"
    elif not differentiable and torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        reason = "a gradient is wanted, and this operation has none"
    elif transformed(*tensors):
        reason = "inside a torch.func transform or forward-mode differentiation"
    return reason or _wrong_kind(tensors) or _wrong_place(tensors, gpu)


def transformed(*tensors: torch.Tensor) -> bool:
    """Whether a call is inside a torch.func transform or forward-mode differentiation."""
    return fwAD._current_level >= 0 or any(is_functorch_wrapped_tensor(t) for t in tensors)


def _wrong_kind(tensors: tuple[torch.Tensor, ...]) -> str | None:
    for tensor in tensors:
        if tensor.dtype != torch.float64 or tensor.device.type not in {"cpu", "cuda"} or tensor.layout != torch.strided:
            return f"got {tensor.dtype} on {tensor.device}, the kernels take dense torch.float64 on the CPU or a GPU"
        if tensor.device != tensors[0].device:
            return f"got tensors on {tensors[0].device} and on {tensor.device}"
    return None


def _wrong_place(tensors: tuple[torch.Tensor, ...], gpu: tuple[Any, ...] | None) -> str | None:
    if not tensors or tensors[0].device.type == "cpu":
        return None if module().fast() else "this processor has no fused multiply-add"
    if _gpu_obstacle():
        return f"got tensors on {tensors[0].device}, and the CUDA kernels cannot run: {_gpu_obstacle()}"
    if gpu is None:
        return "this operation has no CUDA kernel"
    kernel, *sizes = gpu
    takes = _gpu_takes(kernel, tuple(map(int, sizes)), tensors[0].device.index)
    return None if takes else f"the CUDA kernel of {kernel} does not take {sizes} on {tensors[0].device}"


def chosen(backend: str, *tensors: torch.Tensor, **call: Any) -> bool:
    """Turn a `backend` argument into a decision.

    Args:
        backend: "fused" insists on the kernels, "eager" refuses them, "auto" takes them where it can.
        *tensors: the arguments of the call.
        **call: what else `obstacle` asks.

    Returns:
        True for the kernels, False for eager code.

    Raises:
        ValueError: if `backend` is none of the three.
        RuntimeError: if it is "fused" where the kernels cannot take the call.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, wants one of {', '.join(BACKENDS)}")
    if backend == "eager":
        return False
    reason = obstacle(*tensors, **call)
    if reason is None:
        return True
    if backend == "fused":
        raise RuntimeError(f"backend: got 'fused', but {reason}; wants 'eager' or 'auto'")
    if module() is None:
        _say_once()
    return False


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as the kernels read it: detached and contiguous, the same memory where that is so."""
    # resolve_neg and resolve_conj: a lazily negated view is contiguous, and holds the wrong sign.
    return tensor.detach().resolve_neg().contiguous()


LARGE = 1 << 20
"""Bytes from which a result lies in memory that is used again: see `kernels/cpu/memory.h`."""


def fresh(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Memory for a result of this shape, not cleared; on the CPU a large one may be that of a result that is gone."""
    if like.device.type == "cpu" and 8 * math.prod(shape) >= LARGE:
        return torch.utils.dlpack.from_dlpack(module().fresh(shape))
    return like.new_empty(shape)


def launch(kernel: str, *arguments: Any) -> None:
    """Run a kernel where its arguments, a tensor first, are: on the CPU, or queued on the caller's stream."""
    if arguments[0].device.type == "cpu":
        getattr(module(), kernel)(*arguments, torch.get_num_threads())
        return
    stream = torch.cuda.current_stream(arguments[0].device).cuda_stream
    getattr(module(), f"device_{kernel}")(*map(_handed_over, arguments), stream)


def _handed_over(argument: Any) -> Any:
    """A GPU tensor as a DLPack capsule; −1 keeps torch from making streams wait for each other."""
    return argument.__dlpack__(stream=-1) if isinstance(argument, torch.Tensor) else argument
