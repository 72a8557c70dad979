"""What a least-squares problem must look like, said in one line when it does not.

Every message names the argument, what it got and what it wants. `TypeError` is for the wrong kind of thing (a list, an
integer dtype, two families), `ValueError` for the right kind with wrong contents (shapes that do not fit, NaN).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from solvers._core.operators import is_operator
from solvers.result import Array

DTYPES = (torch.float32, torch.float64)
_LINE = 64
"""Bytes of a cache line, and of the widest vector register."""


def as_tensor(name: str, value: object) -> torch.Tensor:
    """A dense array argument as a floating-point tensor, detached and contiguous; or a TypeError."""
    # It begins a cache line, as a BLAS chooses its instructions by where an array begins: this is all that makes the
    # same call give the same bits. It may share memory with a tensor, never with a NumPy array.
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided:
            raise TypeError(f"{name}: got layout {value.layout}, wants a dense (strided) tensor")
        if value.dtype not in DTYPES:
            raise TypeError(f"{name}: got dtype {value.dtype}, wants torch.float32 or torch.float64")
        plain = value.detach().resolve_neg().contiguous()
        return plain.clone() if plain.data_ptr() % _LINE else plain
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array, wants a numpy.ndarray without masked entries")
    if isinstance(value, np.ndarray):
        if value.dtype.kind != "f" or value.dtype.itemsize not in {4, 8}:
            raise TypeError(f"{name}: got dtype {value.dtype}, wants float32 or float64")
        # A copy into torch's memory, which begins a line, whatever the strides, byte order and flags of the array.
        copy = torch.empty(value.shape, dtype=torch.float64 if value.dtype.itemsize == 8 else torch.float32)
        np.copyto(copy.numpy(), value)
        return copy
    wants = "a torch.Tensor or a numpy.ndarray"
    if is_operator(value):
        wants += "; cgls, lsqr and lsmr alone do without the entries of A"
    raise TypeError(f"{name}: got {type(value).__name__}, wants {wants}")


def as_tensors(arguments: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Array arguments, name → value, as tensors of the family, dtype and device of the first; or an error."""
    tensors = {name: as_tensor(name, value) for name, value in arguments.items()}
    first, lead = next(iter(tensors.items()))
    lead_is_torch = isinstance(arguments[first], torch.Tensor)
    for name, tensor in tensors.items():
        if isinstance(arguments[name], torch.Tensor) != lead_is_torch:
            got, wants = type(arguments[name]).__name__, type(arguments[first]).__name__
            raise TypeError(f"{name}: got {got}, wants {wants} like {first}")
        if tensor.dtype != lead.dtype:
            raise TypeError(f"{name}: got dtype {tensor.dtype}, wants {lead.dtype} like {first}")
        if tensor.device != lead.device:
            raise ValueError(f"{name}: got device {tensor.device}, wants {lead.device} like {first}")
    return tensors


def require_finite(name: str, tensor: torch.Tensor) -> None:
    """Refuse NaN and infinity, with a ValueError."""
    # The sum decides the common case, as NaN and inf do not leave it.
    if math.isfinite(float(tensor.sum())):
        return
    bad = torch.nonzero(~torch.isfinite(tensor))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ValueError(f"{name}: got {len(bad)} entries that are NaN or inf (first at {where}), wants finite")


def check_shapes(tensors: Mapping[str, torch.Tensor], *, underdetermined: bool) -> None:
    """Refuse shapes, of A, b and perhaps x0, that are no batch of least-squares problems, with a ValueError."""
    A, b = tensors["A"], tensors["b"]
    if A.ndim < 2:
        raise ValueError(f"A: got shape {tuple(A.shape)}, wants (..., m, n)")
    m, n = A.shape[-2:]
    if m == 0 or n == 0:
        raise ValueError(f"A: got shape {tuple(A.shape)}, wants m and n of at least 1")
    if m < n and not underdetermined:
        raise ValueError(f"A: got shape {tuple(A.shape)}, wants m >= n (solver 'svd' takes m < n)")
    wants = (*A.shape[:-2], m)
    if tuple(b.shape) != wants:
        # No broadcasting: a b with one dimension too few or too many is far more often a mistake than a wish.
        raise ValueError(f"b: got shape {tuple(b.shape)}, wants {wants} to fit A of shape {tuple(A.shape)}")
    if "x0" in tensors:
        wants = (*A.shape[:-2], n)
        if tuple(tensors["x0"].shape) != wants:
            raise ValueError(f"x0: got shape {tuple(tensors['x0'].shape)}, wants {wants} to fit A")


def validated(A: Array, b: Array, x0: Array | None, *, underdetermined: bool) -> dict[str, torch.Tensor]:
    """The arguments of a solve, A (..., m, n), b (..., m) and perhaps x0 (..., n), as tensors that fit; or an error."""
    given: dict[str, object] = {"A": A, "b": b}
    if x0 is not None:
        given["x0"] = x0
    tensors = as_tensors(given)
    check_shapes(tensors, underdetermined=underdetermined)
    for name, tensor in tensors.items():
        require_finite(name, tensor)
    return tensors


def require_count(name: str, value: object, *, least: int = 0) -> None:
    """Refuse an option that is no int (TypeError) or below `least` (ValueError)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, wants an int of at least {least}")
    if value < least:
        raise ValueError(f"{name}: got {value}, wants at least {least}")


def require_nonnegative(name: str, value: object, *, positive: bool = False) -> None:
    """Refuse an option that is no finite number of at least, or above, zero; None is the default it stands for."""
    if value is None:
        return
    wants = "a finite number above 0" if positive else "a finite number of at least 0"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: got {value!r}, wants {wants}")
    if not (0 < value < float("inf") or (value == 0 and not positive)):
        raise ValueError(f"{name}: got {value}, wants {wants}")


def require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Refuse an option that is not among its choices, with a ValueError."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, wants one of {', '.join(map(repr, choices))}")
