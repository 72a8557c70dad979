"""The oracle: the rational solution of a least-squares problem, correctly rounded.

Problem: min_x ‖b − A x‖₂ for A and b as they stand in memory, anything finite: a binary floating-point number is a
    rational number, and so is the solution.
Method: every column becomes whole numbers times one power of two; AᵀA and Aᵀb are formed in integers, and AᵀA y = Aᵀb
    is solved by Bareiss's fraction-free elimination. Forming the normal equations squares the condition number, which
    is no loss where nothing is rounded.
Rank: the pivots are the leading principal minors of AᵀA. One is zero exactly if a column depends on those before it, so
    no pivoting is needed and the decision is a proof.
Accuracy: half a unit in the last place, ties to even; subnormal and infinite results as rounding to nearest gives them.
Cost: O(m n²) products of integers as long as the data (106 bits, or 4,300 where exponents fill the range), O(n³) of up
    to n times that. 20×5: 0.2 ms. 60×40: 0.1 s; with exponents from −1074 to 1023 in every column, 70 s. Where
    python-flint is installed its integers take the place of Python's: 0.04 s and 4 s.

Reference: Bareiss, Sylvester's identity and multistep integer-preserving Gaussian elimination, Math. Comp. 22 (1968).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from solvers._core.arrays import validated
from solvers.result import Array, LstsqResult, Status
from solvers.solver import Promise, Solver

__all__ = ["RankDeficientError", "Rational", "Reference", "solve", "solve_exact", "solve_rational"]

FloatArray = npt.NDArray[np.float64]

"""The integers of an elimination whose determinant has _LONG_BITS or more; the answer does not depend on them."""
_LONG_BITS = 1000


class RankDeficientError(ValueError):
    """The columns of A are linearly dependent, so the least-squares solution is not unique."""


class Rational(NamedTuple):
    """An exact solution: x_j = numerators[j] / denominator · 2^exponents[j].

    Args:
        numerators: one integer an unknown.
        denominator: positive.
        exponents: one integer an unknown.
    """

    numerators: list[int]
    denominator: int
    exponents: list[int]

    def rounded(self) -> list[tuple[float, float]]:
        """The solution as pairs of `round_pair`, one an unknown."""
        return [round_pair(p, self.denominator, e) for p, e in zip(self.numerators, self.exponents, strict=True)]

    def fractions(self) -> list[Fraction]:
        """The solution as fractions, one an unknown."""
        parts = zip(self.numerators, self.exponents, strict=True)
        return [Fraction(p << max(e, 0), self.denominator << max(-e, 0)) for p, e in parts]


def solve(A: Array, b: Array) -> FloatArray:
    """Solve min_x ‖b − A x‖₂, correctly rounded.

    Args:
        A: matrices, (..., m, n), m >= n, float32 or float64, torch or NumPy.
        b: right-hand sides, (..., m), of the same family and dtype.

    Returns:
        Solutions, (..., n), float64 whatever the dtype of A.

    Raises:
        RankDeficientError: if the columns of a matrix are dependent (exactly decided).

    Error:
        Half an ulp of float64 a component; inf where the solution overflows.

    Cost:
        See the top of this file; a batch is a loop.

    Reference:
        Bareiss, Math. Comp. 22 (1968).
    """  # noqa: DOC502 - raised by the elimination that this calls
    return solve_exact(A, b)[0]


def solve_exact(A: Array, b: Array) -> tuple[FloatArray, FloatArray]:
    """Solve min_x ‖b − A x‖₂ to twice the precision of float64.

    Args:
        A: matrices, (..., m, n), m >= n, float32 or float64, torch or NumPy.
        b: right-hand sides, (..., m), of the same family and dtype.

    Returns:
        hi and lo, (..., n) each, float64: hi is the solution correctly rounded, hi + lo has a relative error of u²
        (as long as lo is a normal number: |x| above about 1e-291).

    Raises:
        RankDeficientError: if the columns of a matrix are dependent (exactly decided).

    Error:
        u² relative, u = 2⁻⁵³.

    Cost:
        As `solve`.

    Reference:
        Bareiss, Math. Comp. 22 (1968).
    """  # noqa: DOC502 - raised by the elimination that this calls
    tensors = validated(A, b, None, underdetermined=False)
    pairs = [solve_rational(*one).rounded() for one in _problems(tensors["A"], tensors["b"])]
    both = np.array(pairs, dtype=np.float64).reshape(*tensors["A"].shape[:-2], tensors["A"].shape[-1], 2)
    return both[..., 0].copy(), both[..., 1].copy()


@dataclass(frozen=True, kw_only=True)
class Reference(Solver):
    """The oracle as a solver: correctly rounded to the dtype of the problem.

    A dependent matrix is RANK_DEFICIENT with x = NaN, a solution beyond the exponent range BREAKDOWN with inf. Rank is
    that of the matrix as it stands: nearly dependent columns are independent.
    """

    name: ClassVar[str] = "reference"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.COMPONENTWISE})
    condition_power: ClassVar[int] = 0
    error_constant: ClassVar[float | None] = 1.0

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        pairs, statuses = [], []
        for one in _problems(A, b):
            try:
                pairs.append(solve_rational(*one).rounded())
                statuses.append(Status.CONVERGED)
            except RankDeficientError:
                pairs.append([(float("nan"), 0.0)] * A.shape[-1])
                statuses.append(Status.RANK_DEFICIENT)
        hi, lo = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
        x = (_odd(hi, lo) if A.dtype == torch.float32 else hi).to(dtype=A.dtype, device=A.device)
        status = torch.tensor([int(s) for s in statuses], dtype=torch.int64, device=A.device)
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)


def solve_rational(A: FloatArray, b: FloatArray) -> Rational:
    """The exact solution of one problem.

    Args:
        A: matrix, (m, n), m >= n, float64, finite.
        b: right-hand side, (m,), float64, finite.

    Returns:
        The solution.

    Raises:
        RankDeficientError: if the columns of A are dependent; exactly decided.
    """
    columns, exponents = zip(*map(integers, A.T), strict=True)
    right, right_exponent = integers(b)
    n = len(columns)
    # The upper part of [AᵀA, Aᵀb]; symmetry is kept by elimination, so the lower part is never needed.
    rows: list[list[Any]] = [[0] * i + [_dot(columns[i], c) for c in (*columns[i:], right)] for i in range(n)]
    if sum(rows[i][i].bit_length() for i in range(n)) >= _LONG_BITS:
        whole: Any = import_module("flint").fmpz if find_spec("flint") else int
        rows = [[whole(entry) for entry in row] for row in rows]
    previous: Any = 1
    for k in range(n):
        pivot_row = rows[k]
        pivot = pivot_row[k]
        if pivot == 0:
            raise RankDeficientError(f"A: column {k} depends on the columns before it, wants full column rank")
        for i in range(k + 1, n):
            row, factor = rows[i], pivot_row[i]
            for j in range(i, n + 1):
                row[j] = (row[j] * pivot - factor * pivot_row[j]) // previous
        previous = pivot
    # Cramer: y_j times the determinant is an integer, so back substitution divides without remainder.
    scaled: list[Any] = [0] * n
    for i in range(n - 1, -1, -1):
        row = rows[i]
        rest = row[n] * previous - sum(row[j] * scaled[j] for j in range(i + 1, n))
        scaled[i] = rest // row[i]
    return Rational([int(y) for y in scaled], int(previous), [right_exponent - e for e in exponents])


def integers(column: FloatArray) -> tuple[list[int], int]:
    """Finite numbers as whole numbers times one power of two: (w, e) with column = w · 2^e exactly, e = 0 for zeros."""
    mantissa, exponent = np.frexp(column)
    whole = (mantissa * 2.0**53).astype(np.int64).tolist()
    powers: list[int] = exponent.tolist()
    least = min((e for w, e in zip(whole, powers, strict=True) if w), default=53)
    return [w << (e - least) if w else 0 for w, e in zip(whole, powers, strict=True)], least - 53


def round_pair(numerator: int, denominator: int, exponent: int) -> tuple[float, float]:
    """Numerator / denominator · 2^exponent, correctly rounded (inf if it overflows), and the correctly rounded rest."""
    top, bottom = numerator << max(exponent, 0), denominator << max(-exponent, 0)
    try:
        hi = top / bottom  # int / int is correctly rounded, subnormal results included
    except OverflowError:
        return (float("inf") if top > 0 else float("-inf")), 0.0
    p, q = hi.as_integer_ratio()
    return hi, (top * q - p * bottom) / (bottom * q)


def _problems(A: torch.Tensor, b: torch.Tensor) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Each problem of a batch, (..., m, n) and (..., m), in float64."""
    matrices, rights = (t.detach().cpu().double().numpy() for t in (A, b))
    m, n = A.shape[-2:]
    count = int(np.prod(A.shape[:-2], dtype=np.int64))
    return zip(matrices.reshape(count, m, n), rights.reshape(count, m), strict=True)


def _odd(hi: torch.Tensor, lo: torch.Tensor) -> torch.Tensor:
    """Hi + lo rounded to an odd last bit where it is inexact, so that rounding again, to float32, rounds but once."""
    even = (lo != 0) & (hi.view(torch.int64) & 1 == 0)
    return torch.where(even, torch.nextafter(hi, torch.copysign(torch.full_like(lo, float("inf")), lo)), hi)


def _dot(left: list[int], right: list[int]) -> int:
    return sum(map(int.__mul__, left, right))
