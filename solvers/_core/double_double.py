"""Double-double arithmetic on torch tensors: a number as an unevaluated sum hi + lo of two float64, |lo| <= ulp(hi)/2.

Problem: a residual b − A x that is all cancellation, an error far below float64's own, both for whole batches at once.
Building block: error-free transforms. a + b = s + e and a · b = p + e hold exactly, with s and p the rounded results.
Accuracy: +, − and ·: relative error at most about 2⁻¹⁰⁴ (u² = 2⁻¹⁰⁶), cancellation included; / and √: 2⁻¹⁰³; a sum of
    k terms: k·2⁻¹⁰⁴ Σ|terms|.
Range: the split in `two_prod` overflows for |a| > 2⁹⁹⁶, and its error term is exact only while |a · b| > 2⁻⁹⁶⁸ (or is
zero). `residual` scales by powers of two so that neither happens to a term that matters. Inf and NaN come out as NaN.

Arguments broadcast. No step may be contracted or reassociated: eager torch runs one kernel an operation and does
neither.

Reference: Dekker, A floating-point technique for extending the available precision, Numer. Math. 18 (1971); Ogita, Rump
and Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005); Li et al., XBLAS, ACM TOMS 28 (2002).
"""

from typing import NamedTuple

import torch

from solvers._core.scaling import exponent, ldexp

_SPLITTER = 2.0**27 + 1.0


class DD(NamedTuple):
    """A tensor of double-double numbers: the values rounded to float64, and what the rounding left."""

    hi: torch.Tensor
    lo: torch.Tensor


def from_double(a: torch.Tensor) -> DD:
    """A float32 or float64 tensor as double-double."""
    hi = a.double()
    return DD(hi, torch.zeros_like(hi))


def two_sum(a: torch.Tensor, b: torch.Tensor) -> DD:
    """The rounded a + b and its error, exactly (Knuth; six operations, no condition on the order)."""
    s = a + b
    t = s - a
    return DD(s, (a - (s - t)) + (b - t))


def quick_two_sum(a: torch.Tensor, b: torch.Tensor) -> DD:
    """The rounded a + b and its error, exactly, where |a| >= |b| or a = 0."""
    s = a + b
    return DD(s, b - (s - a))


def split(a: torch.Tensor) -> DD:
    """Two 26-bit halves whose sum is a, exactly (Veltkamp), for |a| <= 2⁹⁹⁶."""
    c = _SPLITTER * a
    hi = c - (c - a)
    return DD(hi, a - hi)


def two_prod(a: torch.Tensor, b: torch.Tensor) -> DD:
    """The rounded a · b and its error, exactly (Dekker), for |a|, |b| <= 2⁹⁹⁶ and 2⁻⁹⁶⁸ < |a · b| < 2¹⁰²³."""
    # torch offers no fused multiply-add to do it in two operations.
    p = a * b
    x, y = split(a), split(b)
    return DD(p, ((x.hi * y.hi - p) + x.hi * y.lo + x.lo * y.hi) + x.lo * y.lo)


def negate(a: DD) -> DD:
    """−a, exactly."""
    return DD(-a.hi, -a.lo)


def add(a: DD, b: DD) -> DD:
    """Sum a + b, to 3·2⁻¹⁰⁶ of the sum, cancellation included."""
    s, t = two_sum(a.hi, b.hi), two_sum(a.lo, b.lo)
    s = quick_two_sum(s.hi, s.lo + t.hi)
    return quick_two_sum(s.hi, s.lo + t.lo)


def subtract(a: DD, b: DD) -> DD:
    """Difference a − b, as `add`."""
    return add(a, negate(b))


def multiply(a: DD, b: DD) -> DD:
    """Product a · b, to 7·2⁻¹⁰⁶, in the range of `two_prod`."""
    p = two_prod(a.hi, b.hi)
    return quick_two_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi))


def divide(a: DD, b: DD) -> DD:
    """Quotient a / b, to 2⁻¹⁰³, by long division with two float64 digits."""
    first = a.hi / b.hi
    rest = subtract(a, multiply(b, from_double(first)))
    return quick_two_sum(first, rest.hi / b.hi)


def sqrt(a: DD) -> DD:
    """√a, to 2⁻¹⁰³, by one Newton correction of the float64 root."""
    root = torch.sqrt(a.hi)
    rest = subtract(a, two_prod(root, root))
    correction = rest.hi / (2.0 * torch.where(root == 0, 1.0, root))
    return quick_two_sum(root, correction)


def total(a: DD, dim: int = -1) -> DD:
    """The sum along a dimension that is not empty, by halves: log₂ k vectorised additions."""
    hi, lo = a.hi.movedim(dim, 0), a.lo.movedim(dim, 0)
    while hi.shape[0] > 1:
        half = hi.shape[0] // 2
        pairs = add(DD(hi[:half], lo[:half]), DD(hi[half : 2 * half], lo[half : 2 * half]))
        hi, lo = torch.cat([pairs.hi, hi[2 * half :]]), torch.cat([pairs.lo, lo[2 * half :]])
    return DD(hi[0], lo[0])


def dot(a: DD, b: DD) -> DD:
    """Σ a_i b_i along the last dimension."""
    return total(multiply(a, b))


def norm(a: DD) -> DD:
    """The Euclidean norm along the last dimension; squares must not over- or underflow."""
    return sqrt(dot(a, a))


def matvec(A: torch.Tensor, x: DD) -> DD:
    """A x, (..., m), for A (..., m, n) and x (..., n)."""
    row = DD(x.hi.unsqueeze(-2), x.lo.unsqueeze(-2))
    return total(multiply(from_double(A), row))


def residual(A: torch.Tensor, b: torch.Tensor, x: DD) -> tuple[DD, torch.Tensor]:
    """Residuals b − A x = r · 2^e over the whole range of float64: r, and e, (...), for which the terms are near 1."""
    # To (n + 1)·2⁻¹⁰⁴ (|b| + |A||x|) an entry, with a floor of 2⁻⁹⁶⁸ of the largest term.
    columns = exponent(A, -2)
    sizes = torch.where(x.hi == 0, -4000, exponent(x.hi.unsqueeze(-1), -1) + columns).amax(dim=-1)
    right = torch.where((b == 0).all(dim=-1), -4000, exponent(b, -1))
    e = torch.maximum(sizes, right)
    shift = columns - e.unsqueeze(-1)
    scaled_x = DD(ldexp(x.hi, shift), ldexp(x.lo, shift))
    product = matvec(ldexp(A.double(), -columns.unsqueeze(-2)), scaled_x)
    return subtract(from_double(ldexp(b.double(), -e.unsqueeze(-1))), product), e
