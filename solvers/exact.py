"""Least squares without rounding: a binary floating-point number is a rational number.

Problem: min_x ‖b − A x‖₂ for A and b as they stand in memory.
Method: every column becomes whole numbers times one power of two; AᵀA and Aᵀb are formed in integers, and AᵀA y = Aᵀb
is solved by Bareiss's fraction-free elimination. Forming the normal equations squares the condition number, which is
no loss where nothing is rounded.
Rank: the pivots are the leading principal minors of AᵀA. One is zero exactly if a column depends on those before it,
so no pivoting is needed and the decision is a proof.
Cost: O(m n²) products of 106-bit integers and O(n³) of up to 106·n bits: about 0.5 ms for 20×5.

Reference: Bareiss, Sylvester's identity and multistep integer-preserving Gaussian elimination, Math. Comp. 22 (1968).
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


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
        """The solution as float64 pairs.

        Returns:
            hi and lo of `round_pair`, one pair an unknown.
        """
        return [round_pair(p, self.denominator, e) for p, e in zip(self.numerators, self.exponents, strict=True)]

    def fractions(self) -> list[Fraction]:
        """The solution as fractions.

        Returns:
            One an unknown.
        """
        return [
            Fraction(num << max(e, 0), self.denominator << max(-e, 0))
            for num, e in zip(self.numerators, self.exponents, strict=True)
        ]


def integers(column: FloatArray) -> tuple[list[int], int]:
    """Floating-point numbers as whole numbers times one power of two.

    Args:
        column: finite, (k,).

    Returns:
        Integers and e with column = integers · 2^e, exactly; e = 0 if all are zero.
    """
    mantissa, exponent = np.frexp(column)
    whole = (mantissa * 2.0**53).astype(np.int64).tolist()
    powers: list[int] = exponent.tolist()
    used = [e for w, e in zip(whole, powers, strict=True) if w]
    if not used:
        return [0] * len(whole), 0
    least = min(used)
    return [w << (e - least) if w else 0 for w, e in zip(whole, powers, strict=True)], least - 53


def solve_rational(A: FloatArray, b: FloatArray) -> Rational:
    """The exact least-squares solution of one problem.

    Args:
        A: matrix, (m, n), m >= n, finite.
        b: right-hand side, (m,), finite.

    Returns:
        The solution.

    Raises:
        RankDeficientError: if the columns of A are dependent; exactly decided.
    """
    columns, exponents = zip(*(integers(A[:, j]) for j in range(A.shape[1])), strict=True)
    right, right_exponent = integers(b)
    n = len(columns)
    # The augmented, upper part of [AᵀA, Aᵀb]; symmetry is kept by elimination, so the lower part is never needed.
    rows = [
        [*[_dot(columns[i], columns[j]) if j >= i else 0 for j in range(n)], _dot(columns[i], right)] for i in range(n)
    ]
    previous = 1
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
    determinant = rows[n - 1][n - 1]
    # Cramer: y_j · det is an integer, so back substitution divides without remainder.
    scaled = [0] * n
    for i in range(n - 1, -1, -1):
        row = rows[i]
        rest = row[n] * determinant - sum(row[j] * scaled[j] for j in range(i + 1, n))
        scaled[i] = rest // row[i]
    return Rational(scaled, determinant, [right_exponent - e for e in exponents])


def round_pair(numerator: int, denominator: int, exponent: int) -> tuple[float, float]:
    """A rational number as an unevaluated sum of two float64.

    Args:
        numerator: any.
        denominator: positive.
        exponent: a power of two.

    Returns:
        hi, the correctly rounded value (inf if it overflows), and lo, the correctly rounded rest.
    """
    top, bottom = numerator << max(exponent, 0), denominator << max(-exponent, 0)
    try:
        hi = top / bottom  # int / int is correctly rounded, subnormal results included
    except OverflowError:
        return (float("inf") if top > 0 else float("-inf")), 0.0
    p, q = hi.as_integer_ratio()
    return hi, (top * q - p * bottom) / (bottom * q)


def _dot(left: list[int], right: list[int]) -> int:
    return sum(map(int.__mul__, left, right))
