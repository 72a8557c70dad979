"""A proof of what rounding adds to the answer of a stack of equivariant attention, as `EquivariantStack` evaluates it.

    ‖fl(x̂) − x*‖ <= (ε + C u) ‖x*‖ + C' u ‖r‖,   r = b − A x*,   for every A with singular values in an interval

ε is that of exact arithmetic (`spectral.prove`); C and C' depend on m, n, the interval and the weights, and hold for
sums in any order, with fused multiplications or without. Where the model divides by the number of rows, A, b and r
stand for A/√m, b/√m and r/√m. Nothing may over- or underflow.

Notation. A = U Σ Vᵀ. After some layers the tokens are X = U D Vᵀ in exact arithmetic, D = diag(d), s = σ d, q = d/σ,
and X + E in the computer. ‖·‖ of a matrix is Frobenius' norm, ‖·‖₂ the spectral one; |·| is by entries. The error of a
sum of j products in any order is at most γ_j = j u/(1 − j u) of the sum of their magnitudes (Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1):

    |fl(A B) − A B| <= γ_j |A||B|,   so that   ‖fl(A B) − A B‖ <= γ_j ‖A‖ ‖B‖.                               (1)

a = √n σ_max bounds ‖A‖. With δ = max d, R >= ‖E‖ in the range of A and W >= ‖E‖ outside of it, x = √n δ + √(R² + W²)
bounds ‖X + E‖.

One layer is X ← A M_a + X M_x, M_a = m_a I + t_aaa AᵀA, M_x = m_x I + t_aax AᵀA + t_axx AᵀX + t_xxx XᵀX. In this order
it rounds the sums over m rows and their division by m, by γ_(m+1) of the norms' product (1); then each product with a
weight and up to three additions, by γ_4 of |m| √n + Σ |t| ‖S‖. So M_a and M_x are off by

    μ_a = γ_(m+1) |t_aaa| a² + γ_4 (|m_a| √n + |t_aaa| (1 + γ_(m+1)) a²),
    μ_x = γ_(m+1) T + γ_4 (|m_x| √n + (1 + γ_(m+1)) T),   T = |t_aax| a² + |t_axx| a x + |t_xxx| x²;           (2)

then the products of tokens with them, and their sum, by π = γ_(n+1) (a ‖fl(M_a)‖ + x ‖fl(M_x)‖). As A and X lie in the
range and ‖B C‖ <= ‖B‖₂ ‖C‖, rounding adds to E

    ρ = σ_max μ_a + (δ + R) μ_x + π   in the range,   π and the part outside times μ_x   outside.              (3)

Any layer. M_x is diagonal in the basis V. Multiplied out, (X + E) M_x(X + E) has in the range, beside X M_x,

    E M_x + X (t_axx AᵀE + t_xxx (XᵀE + EᵀX)) + E (t_axx AᵀE + t_xxx (XᵀE + EᵀX)) + t_xxx (X + E) EᵀE,

E but for EᵀE being its part there; outside, the part of E there times M_x(X + E). With t = |t_axx| σ_max + 2 |t_xxx| δ,
M = max |M_x| and Z >= ‖AᵀE‖, which is at most σ_max R,

    R' = R (M + δ t) + R² t + |t_xxx| (δ + R) (R² + W²) + ρ,                                                 (4)
    W' = W (M + η + μ_x) + π,   η = |t_axx| Z + |t_xxx| (2 δ R + R² + W²) >= ‖M_x(X + E) − M_x(X)‖.            (5)

A pure layer, X ← X (α I + β AᵀX). (5) is as good as any. In the bases U and V, with Ê = UᵀE V and AᵀE = Σ Ê, the part
of E in the range becomes, since AᵀX = diag(s) and d_i σ_i = s_i,

    Ê_ij (α + β (s_i + s_j)) + β (Ê Σ Ê)_ij.                                                                (6)

A product by entries is bounded by its largest factor in Frobenius' norm (not in the spectral one). With c the largest
|α + 2 β s| over the hull of s, in which the mean of any two s is,

    R' = c R + |β| R Z + ρ,   Z' = c Z + |β| Z² + (max |s| + Z) μ_x + σ_max π,                                (7)

each kept below what the other allows: Z <= σ_max R, R <= Z/σ_min.

The answer is fl(X̂ᵀb), X̂ = X + E. X̂ᵀA x* is (diag(s) + AᵀE)ᵀ x* in the basis V, and X̂ᵀr that of the part outside alone:

    ‖fl(x̂) − x*‖ <= (ε + Z + γ_(m+1) x σ_max) ‖x*‖ + (W + γ_(m+1) x) ‖r‖.                                    (8)

Sizes. d² = q s gives δ <= √(max |q| max |s|), and |q| grows by max |α + β s| in a pure layer. Before the first pure
layer the interval is cut into pieces, and all is enclosed on each. Interval arithmetic throughout (`mpmath.iv`).

What makes it. Near convergence c is near 0: the next layer corrects what is off in the range, and C grows as κ. M is 1
there, and 4 while nothing has converged: what is outside grows as q does, by κ², and nothing corrects it. So C' grows
as κ², as for QR, and most of it is made by the first layers. In (7) Z grows by κ² as well before it contracts. Where it
is no longer small by then, as in float64 at κ = 10⁷, nothing is proved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath

from precisionlab.inspect.spectral import Layer, first_pure, hulls, up, working

_FINENESS = 1.02
"""The ratio of the ends of a piece before the first pure layer."""
_TOO_LARGE = 1e30


@dataclass(frozen=True, kw_only=True)
class RoundingBound:
    """A proved bound: ‖fl(x̂) − x*‖ <= (error + solution · u) ‖x*‖ + residual · u ‖r‖, r = b − A x*.

    Args:
        rows: m.
        unknowns: n.
        unit: u.
        error: ε, of exact arithmetic.
        solution: C.
        residual: C'.
        from_layers: Which part of the error outside the range of A, which r meets, is made by each hidden layer.
    """

    rows: int
    unknowns: int
    unit: float
    error: float
    solution: float
    residual: float
    from_layers: tuple[float, ...]

    def of(self, solution: float, residual: float = 0.0) -> float:
        """The bound on ‖fl(x̂) − x*‖.

        Args:
            solution: ‖x*‖.
            residual: ‖r‖, or ‖r‖/√m where the model divides by the number of rows.

        Returns:
            The right-hand side, in float64.
        """
        return (self.error + self.solution * self.unit) * solution + self.residual * self.unit * residual


class _Sizes(NamedTuple):
    """Of the exact tokens before a layer, and of its matrices: upper bounds over the interval."""

    s: Any
    d: Any
    M_a: Any
    M_x: Any
    c: Any


def prove_rounding(
    layers: Sequence[Layer], smallest: float, largest: float, *, rows: int, unknowns: int, unit: float = 2.0**-53
) -> RoundingBound:
    """What rounding adds at most, for all A with singular values in an interval.

    Args:
        layers: Of the model (`spectral.layers_of`).
        smallest: The smallest singular value, of A/√m where the model divides by the number of rows.
        largest: The largest.
        rows: m, of A.
        unknowns: n.
        unit: u of the arithmetic.

    Returns:
        The bound; C and C' are inf where what rounding has added does not stay small beside 1.
    """
    with working():
        iv = mpmath.iv
        u, most, least = iv.mpf(unit), iv.mpf(largest), iv.mpf(smallest)
        root = iv.sqrt(iv.mpf(unknowns))
        enclosed, _ = hulls(layers, smallest, largest)
        sizes = _sizes(layers, enclosed, smallest, largest)
        bound = partial(RoundingBound, rows=rows, unknowns=unknowns, unit=unit, error=_up(enclosed[-1]))
        unproved = bound(solution=math.inf, residual=math.inf, from_layers=(math.nan,) * len(layers))
        if 8 * (rows + unknowns) * unit >= 1:
            return unproved

        def gamma(count: int) -> Any:
            return count * u / (1 - count * u)

        a, g, start = root * most, gamma(rows + 1), first_pure(layers)
        R = Z = W = iv.mpf(0)
        made, growth = [], []
        for place, (layer, size) in enumerate(zip(layers, sizes, strict=False)):
            m_a, m_x, aaa, aax, axx, xxx = map(abs, (layer.m_a, layer.m_x, layer.aaa, layer.aax, layer.axx, layer.xxx))
            d, x, E2 = size.d, root * size.d + iv.sqrt(R**2 + W**2), R**2 + W**2
            products = aax * a**2 + axx * a * x + xxx * x**2
            off_a = g * aaa * a**2 + gamma(4) * (m_a * root + aaa * (1 + g) * a**2)
            off_x = g * products + gamma(4) * (m_x * root + (1 + g) * products)
            moved = axx * Z + xxx * (2 * d * R + E2)
            outside = gamma(unknowns + 1) * (a * (root * size.M_a + off_a) + x * (root * size.M_x + moved + off_x))
            inside, factor = most * off_a + (d + R) * off_x + outside, size.M_x + moved + off_x
            W = W * factor + outside
            if place < start:
                t = axx * most + 2 * xxx * d
                R = R * (size.M_x + d * t) + R**2 * t + xxx * (d + R) * E2 + inside
                Z = most * R
            else:
                R, Z = (
                    size.c * R + axx * R * Z + inside,
                    size.c * Z + axx * Z**2 + (size.s + Z) * off_x + most * outside,
                )
                R, Z = _lesser(R, Z / least), _lesser(Z, most * R)
            R, Z, W = (iv.mpf(part.b) for part in (R, Z, W))
            made.append(outside)
            growth.append(factor)
            if not max(R.b, Z.b, W.b) < _TOO_LARGE:
                return unproved
        read = g * (root * sizes[-1].d + iv.sqrt(R**2 + W**2))
        return bound(
            solution=_up((Z + read * most) / u),
            residual=_up((W + read) / u),
            from_layers=_shares(made, growth),
        )


def _up(value: Any) -> float:
    """The largest magnitude in an interval, rounded up to a float64."""
    return up(mpmath.mpf(max(abs(value.a), abs(value.b))))


def _shares(made: list[Any], growth: list[Any]) -> tuple[float, ...]:
    """Each layer's part of what is left at the end of all that was made."""
    left, parts = 1.0, []
    for own, factor in zip(made[::-1], growth[::-1], strict=True):
        parts.append(_up(own) * left)
        left *= _up(factor)
    return tuple(part / sum(parts) for part in parts[::-1])


def _lesser(one: Any, other: Any) -> Any:
    return one if one.b <= other.b else other


def _greater(one: Any, other: Any) -> Any:
    return one if one.b >= other.b else other


def _largest(value: Any) -> Any:
    return mpmath.iv.mpf(max(abs(value.a), abs(value.b)))


def _sizes(layers: Sequence[Layer], enclosed: Sequence[Any], smallest: float, largest: float) -> list[_Sizes]:
    """Of the tokens before each layer and after the last, with the matrices of the next layer."""
    iv, start, nothing = mpmath.iv, first_pure(layers), mpmath.iv.mpf(0)
    found, q = _in_pieces(layers[:start], smallest, largest)
    for place, e in enumerate(enclosed, start):
        s = 1 - e
        top = _largest(s)
        d = _lesser(iv.sqrt(q * top), top / iv.mpf(smallest))
        if place == len(layers):
            return [*found, _Sizes(s=top, d=d, M_a=nothing, M_x=nothing, c=nothing)]
        linear, square = iv.mpf(layers[place].m_x), iv.mpf(layers[place].axx)
        size = _Sizes(s=top, d=d, M_a=nothing, M_x=_largest(linear + square * s), c=_largest(linear + 2 * square * s))
        found.append(size)
        q = iv.mpf((q * size.M_x).b)
    return found


def _in_pieces(layers: Sequence[Layer], smallest: float, largest: float) -> tuple[list[_Sizes], Any]:
    """The same before the first pure layer, and the largest |q| there."""
    iv = mpmath.iv
    count = 1 + math.ceil(2 * math.log(largest / smallest) / math.log(_FINENESS))
    low, high = iv.mpf(smallest) ** 2, iv.mpf(largest) ** 2
    first, last = mpmath.mpf(low.a), mpmath.mpf(high.b)
    cuts = [first * (last / first) ** (mpmath.mpf(k) / count) for k in range(count)] + [last]
    rows = [[iv.mpf(0)] * 4 for _ in layers]
    most = iv.mpf(0)
    for ends in pairwise(cuts):
        eigenvalue, q = iv.mpf(list(ends)), iv.mpf(0)
        for row, layer in zip(rows, layers, strict=True):
            s = q * eigenvalue
            M_a = iv.mpf(layer.m_a) + iv.mpf(layer.aaa) * eigenvalue
            M_x = iv.mpf(layer.m_x) + iv.mpf(layer.aax) * eigenvalue + iv.mpf(layer.axx) * s + iv.mpf(layer.xxx) * s * q
            values = s, q * iv.sqrt(eigenvalue), M_a, M_x
            row[:] = [_greater(old, _largest(value)) for old, value in zip(row, values, strict=True)]
            q = M_a + q * M_x
        most = _greater(most, _largest(q))
    return [_Sizes(s=s, d=d, M_a=M_a, M_x=M_x, c=iv.mpf(0)) for s, d, M_a, M_x in rows], most
