"""What the reference and the certificates are held against: other algorithms, in other arithmetic.

`eliminate` is Gauss's elimination of the normal equations, in fractions; `householder` is a QR in mpmath, with
reflections written out because `mpmath.qr_solve` fails on exact zeros and calls small entries singular.
"""

import math
from fractions import Fraction

import mpmath
import numpy as np


def eliminate(A: np.ndarray, b: np.ndarray) -> list[Fraction] | None:
    """The exact solution of one problem, or None where the columns of A are dependent."""
    rows = [[Fraction(v) for v in row] for row in np.column_stack([A, b]).tolist()]
    n = A.shape[1]
    normal = [[sum((r[i] * r[j] for r in rows), Fraction(0)) for j in range(n + 1)] for i in range(n)]
    left, order = set(range(n)), []
    while left:
        # The emptiest equation first, for sparse matrices; a zero on the diagonal of what is left is a dependence.
        k = min(left, key=lambda i: sum(map(bool, normal[i])))
        if not normal[k][k]:
            return None
        left.remove(k)
        order.append(k)
        for i in left:
            if normal[i][k]:
                factor = normal[i][k] / normal[k][k]
                normal[i] = [p - factor * q if q else p for p, q in zip(normal[i], normal[k], strict=True)]
    x = [Fraction(0)] * n
    for i in reversed(order):
        known = sum((v * x[j] for j, v in enumerate(normal[i][:n]) if v and j != i), Fraction(0))
        x[i] = (normal[i][n] - known) / normal[i][i]
    return x


def householder(A: np.ndarray, b: np.ndarray) -> list[mpmath.mpf]:
    """The solution in the current precision of mpmath."""
    columns = [[mpmath.mpf(v) for v in column] for column in [*A.T.tolist(), b.tolist()]]
    n = A.shape[1]
    diagonal = []
    for k in range(n):
        v = columns[k][k:]
        size = mpmath.sqrt(mpmath.fdot(v, v))
        diagonal.append(-size if v[0] >= 0 else size)
        v[0] -= diagonal[k]
        beta = -1 / (diagonal[k] * v[0])  # 2 / vᵀv
        for column in columns[k + 1 :]:
            factor = beta * mpmath.fdot(v, column[k:])
            column[k:] = [entry - factor * e for entry, e in zip(column[k:], v, strict=True)]
    x = [mpmath.mpf(0)] * n
    for i in reversed(range(n)):
        x[i] = (columns[n][i] - mpmath.fsum(columns[j][i] * x[j] for j in range(i + 1, n))) / diagonal[i]
    return x


def is_nearest(got: float, value: Fraction) -> bool:
    """Whether a float64 is a value rounded to nearest, ties to even, without dividing."""
    if math.isinf(got):
        return (value if got > 0 else -value) >= 2**1024 - Fraction(2) ** 970
    below, above = (
        Fraction(2) ** 1024 * (1 if end > 0 else -1) if math.isinf(side) else Fraction(side)
        for end in (-math.inf, math.inf)
        for side in [math.nextafter(got, end)]
    )
    low, high = (Fraction(got) + below) / 2, (Fraction(got) + above) / 2
    even = int(np.float64(got).view(np.int64)) % 2 == 0
    return low <= value <= high if even else low < value < high


def is_enclosed(lower: float, upper: float, x: list[float], truth: list[Fraction]) -> bool:
    """Whether bounds on ‖x − truth‖/‖truth‖ hold and are tight, in integers."""
    if not all(map(math.isfinite, x)):
        return lower == upper == math.inf
    got = [Fraction(v) for v in x]
    unit = math.lcm(*(v.denominator for v in [*got, *truth]))
    whole = [[v.numerator * (unit // v.denominator) for v in vector] for vector in (got, truth)]
    wrong, size = sum((g - t) ** 2 for g, t in zip(*whole, strict=True)), sum(t * t for t in whole[1])
    if size == 0:
        return lower == upper == (math.inf if wrong else 0.0)
    tight = lower
    for _ in range(4):
        tight = math.nextafter(tight, math.inf)
    if not 0 <= lower < math.inf or not lower <= upper <= tight:
        return False
    p, q = lower.as_integer_ratio()
    above = math.isinf(upper)
    r, s = (1, 1) if above else upper.as_integer_ratio()
    return p * p * size <= q * q * wrong and (above or r * r * size >= s * s * wrong)
