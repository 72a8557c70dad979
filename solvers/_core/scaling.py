"""Powers of two: the only scaling that costs no rounding error.

Squares of entries beyond 1e±154 over- or underflow, yet scaling [A b] does not change what a solver knows. So every
method works on a problem whose largest entry lies in [1/2, 1), reached by adding to exponents: the scaled problem has
the same bits, the iterates have the same bits, and the answer is scaled back exactly (subnormal results are rounded).
"""

from dataclasses import replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch

from solvers._core.operators import Matrix, Operator
from solvers.result import LstsqResult

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

    def unscale(self, x: torch.Tensor) -> torch.Tensor:
        """Iterates or solutions in the caller's units.

        Args:
            x: (..., B, n), in the scaled unknowns.

        Returns:
            x · 2^(right_exponent − matrix_exponent).
        """
        return ldexp(x, (self.right_exponent - self.matrix_exponent).unsqueeze(-1))

    def restored(self, result: LstsqResult) -> LstsqResult:
        """A result in the caller's units.

        Args:
            result: the flat result of the scaled problem.

        Returns:
            The same with x and trace scaled back.
        """
        trace = None if result.trace is None else self.unscale(torch.as_tensor(result.trace))
        return replace(result, x=self.unscale(torch.as_tensor(result.x)), trace=trace)


def exponent(values: torch.Tensor, dims: int | tuple[int, ...]) -> torch.Tensor:
    """The power of two just above the largest magnitude along some dimensions.

    Args:
        values: finite, float32 or float64.
        dims: the dimensions to reduce.

    Returns:
        e with 2^(e−1) <= max |values| < 2^e, int64; 0 where all are zero.
    """
    largest = values.abs().amax(dim=dims)
    return torch.frexp(largest.double())[1].to(torch.int64)


def power_below(sizes: torch.Tensor) -> torch.Tensor:
    """The powers of two 2^e <= size < 2^(e+1), as numbers; NaN for 0."""
    return sizes / (2 * torch.frexp(sizes).mantissa)


def power_of_two(e: torch.Tensor) -> torch.Tensor:
    """2^e, put together from its bits: `torch.ldexp` goes through a rounded power in float32.

    Args:
        e: integers from −1022 to 1023.

    Returns:
        Float64, exact.
    """
    bits = (e.to(torch.int64) + 1023) << 52
    return bits.view(torch.float64)


def ldexp(values: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """Scale by 2^e, exact wherever the result is a normal number, and rounded once where it is not.

    Args:
        values: float32 or float64.
        e: integers, broadcast against `values`.

    Returns:
        Of the dtype of `values`; overflow gives inf.
    """
    if not e.numel() or int(e.abs().amax()) <= _NORMAL:
        # One product rounds once, as the long way does: the bits of a problem do not depend on the batch around it.
        return (values.double() * power_of_two(e)).to(values.dtype)
    mantissa, own = torch.frexp(values.double())
    total = own + e.clamp(-_FAR, _FAR) - 1
    first = total.clamp(-_NORMAL, _NORMAL)
    rest = (total - first).clamp(-_NORMAL, _NORMAL)
    return (2 * mantissa * power_of_two(first) * power_of_two(rest)).to(values.dtype)


def scale(A: M, b: torch.Tensor, x0: torch.Tensor | None = None) -> Scaled[M]:
    """Bring a batch of problems to entries of at most 1.

    Args:
        A: matrices, (B, m, n), or an operator.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n), or None.

    Returns:
        The scaled problem. b and A x0 share one exponent, so that neither overflows beside the other.
    """
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
    """Bring b and x to entries of at most 1 by one power of two, so that neither b nor A x overflows.

    Args:
        b: right-hand sides, (B, m), in the caller's units.
        x: unknowns, (B, n), of which x · 2^e are those of a matrix of size 1; or None.
        e: integers, (B,).

    Returns:
        b · 2^(−f), x · 2^(e − f), and f, (B,).
    """
    f = torch.where((b == 0).all(dim=-1), -_FAR, exponent(b, -1))
    if x is not None:
        f = torch.maximum(f, torch.where((x == 0).all(dim=-1), -_FAR, exponent(x, -1) + e))
    f = torch.where(f <= -_FAR, 0, f)
    return ldexp(b, -f[:, None]), None if x is None else ldexp(x, (e - f)[:, None]), f


def scale_columns(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring every column to entries of at most 1.

    Args:
        A: matrices, (B, m, n).

    Returns:
        A · diag(2^(−e)), and e, (B, n).
    """
    e = exponent(A, -2)
    return ldexp(A, -e.unsqueeze(-2)), e


def ordinary(sizes: torch.Tensor) -> torch.Tensor:
    """Which sizes leave room for products of three on either side of the exponent range.

    Args:
        sizes: at least 0, or inf or NaN, any shape.

    Returns:
        Booleans; false for 0.
    """
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
    """Which problems plain arithmetic may not have solved, for their range alone.

    Args:
        size: ‖A‖_F as that arithmetic has it, (B,).
        least: the smallest norm of a column, likewise.
        residual: ‖b − A x‖, likewise; where it is of ordinary size b is not small.
        b: right-hand sides, (B, m).
        x: what it takes for solutions, (B, n).

    Returns:
        Booleans, (B,).
    """
    right = b.abs().amax(dim=-1)
    fits = ordinary(residual) | ordinary(right) | (right == 0)
    return ~(ordinary(size) & ordinary(least) & fits & torch.isfinite(x).all(dim=-1))
