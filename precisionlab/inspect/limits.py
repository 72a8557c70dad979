"""What no stack of linear attention can beat when it reads a problem once: limits by depth, exact.

K layers in all emit x̂ = q(AᵀA) Aᵀb with 1 − λ q(λ) of degree at most D = (3^K − 1)/2 (docs/end-to-end.md), so that:

Worst case: over singular values in [1/κ, 1] the largest relative error is at least 1/T_D((κ² + 1)/(κ² − 1)).
Mean square: for A with a given distribution and x of independent unit components it is at least the Christoffel
    function 1/Σ_{k<=D} p_k(0)² = 1/(H⁻¹)₀₀, H the Hankel matrix of the moments of the mean eigenvalue measure of AᵀA.
Moments: for A ~ N(0, I) the density of the eigenvalues is proportional to Π |λ_i − λ_j| Π λ_i^α exp(−λ_i/2), α =
    (m − n − 1)/2. Multiplying its weight by 1 + t λ^k and taking the derivative in t of the integral, a Pfaffian, gives
    the k-th moment. For a whole α every integral is a rational number, and so are moments and limit.

Reference: de Bruijn, On some multiple integrals involving determinants, J. Indian Math. Soc. 19 (1955); Muirhead,
Aspects of Multivariate Statistical Theory (1982), 3.2; Nevai, Géza Freud, orthogonal polynomials and Christoffel
functions (1986).
"""

from fractions import Fraction
from functools import cache
from math import factorial

import mpmath
import torch

Dual = tuple[Fraction, Fraction]
"""A number and its derivative."""


def degree(layers: int) -> int:
    """The degree of 1 − λ q(λ) that layers of linear attention reach, the one that emits among them.

    Args:
        layers: K, at least 1.

    Returns:
        D.
    """
    return int(3**layers - 1) // 2


def worst(condition: float, degree: int, digits: int = 30) -> mpmath.mpf:
    """The smallest largest error of a polynomial over singular values in [1/κ, 1].

    Args:
        condition: κ, above 1.
        degree: D.
        digits: of the result.

    Returns:
        1/T_D((κ² + 1)/(κ² − 1)).
    """
    with mpmath.workdps(digits + 20):
        square = mpmath.mpf(condition) ** 2
        return 1 / mpmath.cosh(degree * mpmath.acosh((square + 1) / (square - 1)))


def gaussian_moments(rows: int, n: int, count: int) -> list[Fraction]:
    """Moments of the mean eigenvalue measure of AᵀA, A (rows, n) of independent N(0, 1).

    Args:
        rows: m, such that m − n is odd.
        n: unknowns.
        count: how many.

    Returns:
        E tr((AᵀA)^k)/n for k = 0 … count − 1.

    Raises:
        ValueError: If m − n is even, where the integrals are no rational numbers, or negative.
    """
    if rows <= n or (rows - n) % 2 == 0:
        raise ValueError(f"rows: got {rows}, wants more than n = {n} by an odd number")
    alpha = (rows - n - 1) // 2
    moments = []
    for k in range(count):
        value, slope = _pfaffian(alpha, n, k, tuple(range(n + n % 2)))
        moments.append(slope / value / n)
    return moments


def mean_square(moments: list[Fraction], degree: int) -> Fraction:
    """The smallest mean square of a polynomial that is 1 at zero.

    Args:
        moments: of the measure, 2 D + 1 at least.
        degree: D.

    Returns:
        1/(H⁻¹)₀₀, exact: the pivot of the first unknown when it is eliminated last.
    """
    size = degree + 1
    H = [[moments[i + j] for j in reversed(range(size))] for i in reversed(range(size))]
    for k in range(size - 1):
        for i in range(k + 1, size):
            share = H[k][i] / H[k][k]
            for j in range(i, size):  # symmetric: what is above the diagonal is enough
                H[i][j] -= share * H[k][j]
    return H[-1][-1]


def mean_square_of(eigenvalues: torch.Tensor, degree: int) -> float:
    """`mean_square` of a sample: of a distribution of bounded spectrum it is the limit, up to sampling.

    Args:
        eigenvalues: of AᵀA, any shape, float64.
        degree: D.

    Returns:
        1/Σ_{k<=D} p_k(0)², p_k by their recurrence, each from its own values.
    """
    points = eigenvalues.double().flatten()
    before, p = torch.zeros_like(points), torch.ones_like(points)
    before_zero, zero, total, size = 0.0, 1.0, 1.0, 0.0
    for _ in range(degree):
        centre = (points * p * p).mean().item()
        q, at_zero = (points - centre) * p - size * before, -centre * zero - size * before_zero
        size = q.square().mean().sqrt().item()
        before, p, before_zero, zero = p, q / size, zero, at_zero / size
        total += zero**2
    return 1 / total


def gauss(moments: list[Fraction], digits: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights with which a mean of a polynomial over the measure is a finite sum.

    Args:
        moments: of the measure, 2 k + 1 of them for k nodes: exact to degree 2 k − 1.
        digits: with which they are computed.

    Returns:
        Nodes and weights, float64, (k,) each.

    Reference:
        Golub and Welsch, Math. Comp. 23 (1969).
    """
    count = len(moments) // 2
    with mpmath.workdps(digits):
        values = [mpmath.mpf(moment.numerator) / moment.denominator for moment in moments]
        R = mpmath.cholesky(mpmath.matrix([[values[i + j] for j in range(count + 1)] for i in range(count + 1)])).T
        shares = [mpmath.mpf(0), *(R[j, j + 1] / R[j, j] for j in range(count))]
        jacobi = mpmath.zeros(count)
        for j in range(count):
            jacobi[j, j] = shares[j + 1] - shares[j]
            if j + 1 < count:
                jacobi[j, j + 1] = jacobi[j + 1, j] = R[j + 1, j + 1] / R[j, j]
        nodes, vectors = mpmath.eigsy(jacobi)
        weights = [float(values[0] * vectors[0, j] ** 2) for j in range(count)]
        return torch.tensor([float(node) for node in nodes], dtype=torch.float64), torch.tensor(
            weights, dtype=torch.float64
        )


def _pfaffian(alpha: int, n: int, k: int, places: tuple[int, ...]) -> Dual:
    """The Pfaffian over these places of the integrals of sgn(y − x) x^i y^j w(x) w(y), and its derivative in t."""
    if not places:
        return Fraction(1), Fraction(0)
    first, rest = places[0], places[1:]
    value = slope = Fraction(0)
    for place, other in enumerate(rest):
        entry, change = _entry(alpha, n, k, first, other)
        minor, minors = _pfaffian(alpha, n, k, rest[:place] + rest[place + 1 :])
        sign = 1 - 2 * (place % 2)
        value += sign * entry * minor
        slope += sign * (entry * minors + change * minor)
    return value, slope


def _entry(alpha: int, n: int, k: int, i: int, j: int) -> Dual:
    """One integral and its derivative; place n borders an odd n by single integrals."""
    p, q = alpha + i, alpha + j
    if j == n:
        return _single(p), _single(p + k)
    return _double(p, q), _double(p + k, q) + _double(p, q + k)


def _single(p: int) -> Fraction:
    """∫ x^p exp(−x/2) over x > 0."""
    return Fraction(factorial(p) * 2 ** (p + 1))


@cache
def _double(p: int, q: int) -> Fraction:
    """∫∫ sgn(y − x) x^p y^q exp(−(x + y)/2) over x, y > 0."""
    tails = sum(Fraction(factorial(q + i), factorial(i) * 2**i) for i in range(p + 1))
    return _single(p) * (_single(q) - 2 * tails)
