"""Powers of two: the only scaling that costs no rounding error.

Squares of entries beyond 1e±154 over- or underflow, yet scaling [A b] does not change what a solver knows. So every
method works on a problem whose largest entry lies in [1/2, 1), reached by adding to exponents: the scaled problem has
the same bits, the iterates have the same bits, and the answer is scaled back exactly (subnormal results are rounded).
"""

from typing import Any, Generic, NamedTuple, TypeVar

import torch

from solvers._core.operators import Matrix, Operator

_FAR = 4000
"""Beyond the exponent range of every product that is formed here."""

_NORMAL = 1022
"""2^e and 2^(−e) are normal numbers of float64 up to here."""


M = TypeVar("M", bound=Matrix)


class Scaled(NamedTuple, Generic[M]):
    """A problem in powers of two of its own size.

    Args:
        A: A · 2^(−matrix_exponent), largest entry in [1/2, 1) unless A is zero.
        b: b · 2^(−right_exponent).
        x0: the starting point in the scaled unknowns, or None.
        matrix_exponent: (B,), integer.
        right_exponent: (B,), integer.
    """

    A: M
    b: torch.Tensor
    x0: torch.Tensor | None
    matrix_exponent: torch.Tensor
    right_exponent: torch.Tensor

    @property
    def start(self) -> torch.Tensor:
        """x0, or zero where there is none, (B, n)."""
        return self.b.new_zeros(len(self.b), self.A.shape[-1]) if self.x0 is None else self.x0


def exponent(values: torch.Tensor, dims: int | tuple[int, ...]) -> torch.Tensor:
    """The power of two just above the largest magnitude along some dimensions, int64; 0 where all are zero."""
    return _exponent(values.abs().amax(dim=dims))


def _exponent(largest: torch.Tensor, *, of_zero: int = 0) -> torch.Tensor:
    e = torch.frexp(largest.double())[1].to(torch.int64)
    return e.masked_fill(largest == 0, of_zero) if of_zero else e


def power_below(sizes: torch.Tensor) -> torch.Tensor:
    """The powers of two 2^e <= size < 2^(e+1), as numbers; NaN for 0."""
    return sizes / (2 * torch.frexp(sizes).mantissa)


def power_of_two(e: torch.Tensor) -> torch.Tensor:
    """2^e from its bits, float64, e from −1022 to 1023: `torch.ldexp` goes through a rounded power in float32."""
    bits = (e.to(torch.int64) + 1023) << 52
    return bits.view(torch.float64)


def ldexp(values: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """Values · 2^e, exact wherever the result is a normal number, rounded once where it is not, inf on overflow."""
    if not e.numel() or int(e.abs().amax()) <= _NORMAL:
        # One product rounds once, as the long way does: the bits of a problem do not depend on the batch around it.
        return (values.double() * power_of_two(e)).to(values.dtype)
    mantissa, own = torch.frexp(values.double())
    total = own + e.clamp(-_FAR, _FAR) - 1
    first = total.clamp(-_NORMAL, _NORMAL)
    rest = (total - first).clamp(-_NORMAL, _NORMAL)
    return (2 * mantissa * power_of_two(first) * power_of_two(rest)).to(values.dtype)


def scale(A: M, b: torch.Tensor, x0: torch.Tensor | None = None) -> Scaled[M]:
    """Problems, A (B, m, n), b (B, m) and x0 (B, n), brought to entries of at most 1; b and A x0 share one exponent."""
    unit: Any
    if isinstance(A, Operator):
        unit, e = A.scaled()
        matrix = torch.tensor([e])
    else:
        matrix = exponent(A, (-2, -1))
        unit = ldexp(A, -matrix[:, None, None])
    right_hand, start, right = fitted(b, x0, matrix)
    return Scaled(A=unit, b=right_hand, x0=start, matrix_exponent=matrix, right_exponent=right)


def fitted(
    b: torch.Tensor, x: torch.Tensor | None, e: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Give b · 2^(−f), x · 2^(e − f) and f, (B,), all entries at most 1."""
    # x · 2^e are the unknowns of a matrix of size 1. One power of two for both, so that neither b nor A x overflows.
    f = _exponent(b.abs().amax(dim=-1), of_zero=-_FAR)
    if x is not None:
        f = torch.maximum(f, _exponent(x.abs().amax(dim=-1), of_zero=-2 * _FAR) + e)
    f = f.masked_fill(f <= -_FAR, 0)
    return ldexp(b, -f[:, None]), None if x is None else ldexp(x, (e - f)[:, None]), f


def scale_columns(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A · diag(2^(−e)), whose entries are at most 1, and e, (B, n)."""
    e = exponent(A, -2)
    return ldexp(A, -e.unsqueeze(-2)), e


def ordinary(sizes: torch.Tensor) -> torch.Tensor:
    """Which sizes leave room for products of three on either side of the exponent range; not 0, inf or NaN."""
    safe = torch.finfo(sizes.dtype).max ** 0.25
    # Written so that a NaN, from squares that overflowed, is not ordinary.
    within: torch.Tensor = (sizes < safe) & (sizes > 1 / safe)
    return within


def all_ordinary(sizes: torch.Tensor) -> bool:
    """Whether all sizes are `ordinary`, at the cost of one pass."""
    if not sizes.numel():
        return True
    low, high = torch.aminmax(sizes)
    safe: float = torch.finfo(sizes.dtype).max ** 0.25
    return 1 / safe < float(low) and float(high) < safe


def out_of_range(
    size: torch.Tensor, least: torch.Tensor, residual: torch.Tensor, b: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    """Which problems, (B,), plain arithmetic may not have solved, for their range alone."""
    # size is ‖A‖_F and least the smallest norm of a column, as that arithmetic has them; b is not small where its
    # ‖b − A x‖, residual, is of ordinary size.
    right = b.abs().amax(dim=-1)
    fits = ordinary(residual) | ordinary(right) | (right == 0)
    return ~(ordinary(size) & ordinary(least) & fits & torch.isfinite(x).all(dim=-1))
