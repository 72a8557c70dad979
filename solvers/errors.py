"""How wrong an answer is, measured in more precision than the answer has.

An error computed in the arithmetic that made it is mostly the arithmetic's own. Everything here is double-double
(u² = 1.2e-32) until the last step, so that a float64 error of 1e-16 is known to many digits, and is scaled by powers of
two so that 1e-300 and 1e300 are as good as 1.

Every measure is per problem and batched; leading dimensions broadcast: a trace (T+1, ..., n) is measured in one call.
Torch in, torch out; NumPy in, NumPy out; always float64. An answer with NaN or inf in it has an error of inf and no
correct digits.
"""

from typing import cast

import numpy as np
import torch

from solvers._core import double_double as dd
from solvers._core.arrays import as_tensor, require_finite
from solvers._core.double_double import DD
from solvers._core.scaling import exponent, ldexp, scale_columns
from solvers.result import Array, to_numpy

Reference = Array | tuple[Array, Array]
"""A reference solution: an array, or hi and lo of `solvers.reference.solve_exact`."""

_Size = tuple[torch.Tensor, torch.Tensor]
"""Numbers s · 2^e that may lie beyond the range of float64: s of about 1, or 0, and e."""

_MOST_DIGITS = 15.0
_ZERO = -4000
"""The exponent of zero: below that of every number here."""
_CHUNK_ENTRIES = 1 << 21
_FAR_FROM_SOLUTION = 60
"""Where ‖r‖/‖x‖ exceeds 2⁶⁰ ‖A‖, AᵀA is below the rounding of the term beside it."""


def forward_error(x: Array, x_ref: Reference) -> Array:
    """Relative error ‖x − x_ref‖₂ / ‖x_ref‖₂.

    Args:
        x: answers, (..., n), float32 or float64.
        x_ref: references, (..., n), or a pair (hi, lo); broadcast against x.

    Returns:
        One number a problem, (...); 0 where both are zero, inf where only x_ref is or x is not finite.

    Error:
        Relative, a few u, as long as x_ref is exact to that.

    Reference:
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.2.
    """
    difference, reference, e = _difference(x, x_ref)
    (wrong, up), (size, down) = _norm(difference, e), _norm(reference, e)
    ratio = ldexp(wrong / torch.where(size == 0, 1.0, size), up - down)
    return _finish(torch.where((size == 0) & (wrong > 0), float("inf"), ratio), x)


def mse(x: Array, x_ref: Reference) -> Array:
    """Mean squared error, mean_j (x_j − x_ref_j)².

    Args:
        x: answers, (..., n), float32 or float64.
        x_ref: references, (..., n), or a pair (hi, lo): needed to measure below 1e-33; broadcast against x.

    Returns:
        One number a problem, (...).

    Error:
        Relative, a few u, as long as x_ref is exact to that.
    """
    difference, _, e = _difference(x, x_ref)
    wrong, up = _norm(difference, e)
    return _finish(ldexp(wrong * wrong / difference.hi.shape[-1], 2 * up), x)


def lre(x: Array, x_ref: Reference) -> Array:
    """Log relative error: the number of correct decimal digits, least over the components.

    −log₁₀(|x_j − x_ref_j| / |x_ref_j|), or −log₁₀|x_j| where x_ref_j is zero, cut to between 0 and 15.

    Args:
        x: answers, (..., n), float32 or float64.
        x_ref: references, (..., n), or a pair (hi, lo); broadcast against x.

    Returns:
        One number a problem, (...).

    Reference:
        McCullough, Assessing the reliability of statistical software: part I, The American Statistician 52 (1998).
    """
    difference, reference, e = _difference(x, x_ref)
    wrong, size = difference.hi.abs(), reference.hi.abs()
    relative = torch.where(size == 0, ldexp(wrong, e), wrong / torch.where(size == 0, 1.0, size))
    digits = torch.nan_to_num(-torch.log10(relative), nan=0.0).clamp(0.0, _MOST_DIGITS).amin(dim=-1)
    return _finish(digits, x, nonfinite=0.0)


def backward_error(A: Array, b: Array, x: Array) -> Array:
    """Karlson–Waldén estimate of the smallest ‖E‖_F / ‖A‖_F for which x minimises ‖b − (A + E) x‖₂.

    With r = b − A x the estimate is ‖(‖x‖² AᵀA + ‖r‖² I)^(−1/2) Aᵀr‖₂ / ‖A‖_F, evaluated as the length of the
    projection of [r; 0] on the range of [A; (‖r‖/‖x‖) I], over ‖x‖. Near the solution it is u-sized while r is not,
    and a float64 projection would return the rounding of its own factors: all of it is in double-double.

    Args:
        A: matrices, (..., m, n), float32 or float64.
        b: right-hand sides, (..., m).
        x: answers, (..., n), with any further dimensions in front.

    Returns:
        One number a problem, (...).

    Error:
        The estimate is asymptotically exact as x tends to the solution, and within a factor of 2.5 always; it is
        computed to a relative error of about u + κ u² ‖r‖ / (‖x‖ times the result).

    Cost:
        A double-double orthogonalisation, some 100 times a float64 QR.

    Reference:
        Karlson and Waldén, Estimation of optimal backward perturbation bounds for the linear least squares problem,
        BIT 37 (1997); evaluated as in Grcar, Saunders and Su, Estimates of optimal backward perturbations for linear
        least squares problems (2007); Gratton, Jiránek and Titley-Peloquin, SIAM J. Matrix Anal. Appl. 33 (2012).
    """
    matrix, right, answer, batch = _problem(A, b, x)
    m, n = matrix.shape[-2:]
    size = max(1, _CHUNK_ENTRIES // ((m + n) * (n + 1)))
    chunks = zip(*(torch.split(t, size) for t in (matrix, right, answer)), strict=True)
    estimates = torch.cat([answer.new_empty(0), *(_karlson_walden(*chunk) for chunk in chunks if len(chunk[0]))])
    return _finish(estimates.reshape(batch), x)


def optimality_residual(A: Array, b: Array, x: Array) -> Array:
    """How far the residual is from orthogonal to the columns: ‖Aᵀr‖₂ / (‖A‖_F ‖r‖₂).

    Args:
        A: matrices, (..., m, n), float32 or float64.
        b: right-hand sides, (..., m).
        x: answers, (..., n), with any further dimensions in front.

    Returns:
        One number a problem, (...), from 0 to 1; 0 where r is exactly zero.

    Error:
        Absolute, about m·n·u² ‖b‖/‖r‖.

    Reference:
        Paige and Saunders, LSQR, ACM TOMS 8 (1982), section 6; Stewart, Research, development, and LINPACK (1977).
    """
    matrix, right, answer, batch = _problem(A, b, x)
    A_norm, (r_norm, down), (gradient, up) = _gradient(matrix, right, answer)
    return _finish(ldexp(_ratio(gradient, A_norm * r_norm), up - down).reshape(batch), x)


def residual_ratio(A: Array, b: Array, x: Array) -> Array:
    """LAPACK's ratio for consistent problems: ‖b − A x‖ / (max(m, n) eps ‖A‖_F ‖x‖); it should be below 30.

    Args:
        A: matrices, (..., m, n), float32 or float64.
        b: right-hand sides, (..., m), in the range of A.
        x: answers, (..., n), with any further dimensions in front; their dtype gives eps.

    Returns:
        One number a problem, (...).

    Reference:
        LAPACK, TESTING/LIN/dqrt16.f (in the 2-norm and Frobenius norm rather than the 1-norm).
    """
    matrix, right, answer, batch = _problem(A, b, x)
    r, e = _residual(matrix, right, answer)
    columns = exponent(matrix, (-2, -1))
    A_norm = torch.linalg.vector_norm(ldexp(matrix, -columns[:, None, None]), dim=(-2, -1))
    sizes = exponent(answer, -1)
    x_norm = torch.linalg.vector_norm(ldexp(answer, -sizes.unsqueeze(-1)), dim=-1)
    r_norm = ldexp(dd.norm(r).hi, e - columns - sizes)
    return _finish((_ratio(r_norm, A_norm * x_norm) / _unit(A, x)).reshape(batch), x)


def optimality_ratio(A: Array, b: Array, x: Array) -> Array:
    """LAPACK's ratio for all problems: ‖Aᵀr‖ / (max(m, n) eps ‖A‖_F (‖b‖ + ‖A‖_F ‖x‖)); it should be below 30.

    LAPACK divides by ‖b‖ alone, which is the same unless x is large: an ill-conditioned problem with a residual has
    ‖A‖‖x‖ far above ‖b‖, and the rounding of A in A x is then no smaller than u ‖A‖‖x‖ whatever the method.

    Args:
        A: matrices, (..., m, n), float32 or float64.
        b: right-hand sides, (..., m).
        x: answers, (..., n), with any further dimensions in front; their dtype gives eps.

    Returns:
        One number a problem, (...).

    Reference:
        LAPACK, TESTING/LIN/dqrt17.f with IRESID = 2.
    """
    matrix, right, answer, batch = _problem(A, b, x)
    A_norm, _, (gradient, e) = _gradient(matrix, right, answer)
    columns = exponent(matrix, (-2, -1))
    top = torch.maximum(_exponent(right), columns + _exponent(answer))
    b_norm = torch.linalg.vector_norm(ldexp(right, -top.unsqueeze(-1)), dim=-1)
    x_norm = torch.linalg.vector_norm(ldexp(answer, (columns - top).unsqueeze(-1)), dim=-1)
    ratio = _ratio(ldexp(gradient, e - top), A_norm * (b_norm + A_norm * x_norm))
    return _finish((ratio / _unit(A, x)).reshape(batch), x)


def _difference(x: Array, x_ref: Reference) -> tuple[DD, DD, torch.Tensor]:
    """Difference x − x_ref, and x_ref, each component in a unit 2^e of its own: none is lost beside another."""
    answer = as_tensor("x", x).double()
    high, low = x_ref if isinstance(x_ref, tuple) else (x_ref, None)
    hi = as_tensor("x_ref", high).double().to(answer.device)
    lo = torch.zeros_like(hi) if low is None else as_tensor("x_ref[1]", low).double().to(answer.device)
    if not answer.ndim or not hi.ndim or answer.shape[-1] != hi.shape[-1]:
        raise ValueError(f"x_ref: got shape {tuple(hi.shape)}, wants (..., n) to fit x of shape {tuple(answer.shape)}")
    require_finite("x_ref", hi)
    require_finite("x_ref[1]", lo)
    shape = np.broadcast_shapes(answer.shape, hi.shape)
    answer, hi, lo = (t.expand(shape) for t in (_cleaned(answer), hi, lo))
    e = exponent(torch.stack([answer, hi, lo]), 0)
    reference = DD(ldexp(hi, -e), ldexp(lo, -e))
    return dd.subtract(dd.from_double(ldexp(answer, -e)), reference), reference, e


def _exponent(v: torch.Tensor) -> torch.Tensor:
    """The power of two just above the largest of (..., n); that of zero is below every other."""
    return torch.where((v == 0).all(dim=-1), _ZERO, exponent(v, -1))


def _norm(v: DD, e: torch.Tensor) -> _Size:
    """‖v · 2^e‖₂ over the last dimension."""
    top = torch.where(v.hi == 0, _ZERO, torch.frexp(v.hi)[1] + e).amax(dim=-1)
    top = torch.where(top == _ZERO, 0, top)
    shift = e - top.unsqueeze(-1)
    return dd.norm(DD(ldexp(v.hi, shift), ldexp(v.lo, shift))).hi, top


def _problem(A: Array, b: Array, x: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Size]:
    """A (P, m, n), b (P, m) and x (P, n) in float64, non-finite entries of x set to zero, and the shape behind P."""
    matrix, right, answer = as_tensor("A", A), as_tensor("b", b), as_tensor("x", x)
    require_finite("A", matrix)
    require_finite("b", right)
    if matrix.ndim < 2 or tuple(right.shape) != tuple(matrix.shape[:-1]):
        raise ValueError(f"b: got shape {tuple(right.shape)}, wants (..., m) to fit A of shape {tuple(matrix.shape)}")
    lead = matrix.shape[:-2]
    fits = answer.ndim > len(lead) and tuple(answer.shape[answer.ndim - 1 - len(lead) :]) == (*lead, matrix.shape[-1])
    if not fits:
        raise ValueError(f"x: got shape {tuple(answer.shape)}, wants (..., n) to fit A of shape {tuple(matrix.shape)}")
    batch, (m, n) = answer.shape[:-1], matrix.shape[-2:]
    matrix, right = matrix.double().expand(*batch, m, n), right.double().expand(*batch, m)
    return matrix.reshape(-1, m, n), right.reshape(-1, m), _cleaned(answer.double()).reshape(-1, n), batch


def _cleaned(answer: torch.Tensor) -> torch.Tensor:
    """A non-finite answer is dealt with at the end; until then it must not spoil the scaling."""
    return torch.nan_to_num(answer, nan=0.0, posinf=0.0, neginf=0.0)


def _residual(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> tuple[DD, torch.Tensor]:
    """Residual b − A x as r · 2^e, with r of size 1 however much of it cancelled."""
    r, e = dd.residual(A, b, dd.from_double(x))
    own = exponent(r.hi, -1)
    return DD(ldexp(r.hi, -own.unsqueeze(-1)), ldexp(r.lo, -own.unsqueeze(-1))), e + own


def _gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, _Size, _Size]:
    """‖A‖_F, ‖r‖ and ‖Aᵀr‖ with A scaled to size 1, (P,) each, the latter two as sizes."""
    r, e = _residual(A, b, x)
    scaled = ldexp(A, -exponent(A, (-2, -1))[:, None, None])
    gradient, up = _norm(dd.matvec(scaled.mT, r), torch.zeros_like(x, dtype=torch.int64))
    return torch.linalg.vector_norm(scaled, dim=(-2, -1)), (dd.norm(r).hi, e), (gradient, e + up)


def _karlson_walden(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The estimate relative to ‖A‖_F: ‖P [r; 0]‖ / (‖x‖ ‖A‖_F), P the projector on range [A; νI], ν = ‖r‖/‖x‖."""
    r, r_exponent = _residual(A, b, x)
    A_exponent, x_exponent = exponent(A, (-2, -1)), exponent(x, -1)
    scaled = ldexp(A, -A_exponent[:, None, None])
    A_norm = torch.linalg.vector_norm(scaled, dim=(-2, -1))
    x_norm = torch.linalg.vector_norm(ldexp(x, -x_exponent[:, None]), dim=-1)
    r_norm = dd.norm(r).hi
    # ν in units of the scaled A. x = 0, or nearly so, is the limit ν → ∞: ‖Aᵀr‖ / (‖r‖ ‖A‖_F).
    gap = r_exponent - x_exponent - A_exponent
    far = (x_norm == 0) | (gap > _FAR_FROM_SOLUTION)
    nu = ldexp(r_norm / torch.where(x_norm == 0, 1.0, x_norm), gap)
    near = _projection(scaled, r, nu) / torch.where(x_norm == 0, 1.0, x_norm)
    distant = dd.norm(dd.matvec(scaled.mT, r)).hi / torch.where(r_norm == 0, 1.0, r_norm)
    estimate = torch.where(far, distant, ldexp(near, gap)) / torch.where(A_norm == 0, 1.0, A_norm)
    return torch.where((r_norm == 0) | (A_norm == 0), 0.0, estimate)


def _projection(A: torch.Tensor, r: DD, nu: torch.Tensor) -> torch.Tensor:
    """‖P [r; 0]‖, (P,), for A (P, m, n) and r (P, m) of size 1, by modified Gram–Schmidt on [A r; νI 0]."""
    n = A.shape[-1]
    damping = nu[:, None, None] * torch.eye(n, dtype=A.dtype, device=A.device)
    # Columns of size 1 have the same range; as rows, so that the sums run along the last dimension.
    stacked, _ = scale_columns(torch.cat([A, damping], dim=-2))
    Q = dd.from_double(stacked.mT.contiguous())
    pad = torch.zeros_like(A[:, 0, :])
    rest = DD(torch.cat([r.hi, pad], dim=-1), torch.cat([r.lo, pad], dim=-1))
    squares = dd.from_double(torch.zeros_like(nu))
    for k in range(n):
        q = DD(Q.hi[:, k], Q.lo[:, k])
        square = dd.dot(q, q)
        square = DD(torch.where(square.hi == 0, 1.0, square.hi), square.lo)
        along = dd.dot(q, rest)
        factor = dd.divide(along, square)
        squares = dd.add(squares, dd.multiply(along, factor))
        rest = dd.subtract(rest, dd.multiply(_column(factor), q))
        if k + 1 < n:
            others = DD(Q.hi[:, k + 1 :], Q.lo[:, k + 1 :])
            row = DD(q.hi.unsqueeze(-2), q.lo.unsqueeze(-2))
            factors = dd.divide(dd.dot(others, row), _column(square))
            others = dd.subtract(others, dd.multiply(_column(factors), row))
            Q = DD(torch.cat([Q.hi[:, : k + 1], others.hi], dim=1), torch.cat([Q.lo[:, : k + 1], others.lo], dim=1))
    return dd.sqrt(DD(squares.hi.clamp(min=0.0), squares.lo)).hi


def _column(a: DD) -> DD:
    return DD(a.hi.unsqueeze(-1), a.lo.unsqueeze(-1))


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Quotient, with 0/0 = 0."""
    return torch.where(part == 0, 0.0, part / whole)


def _unit(A: Array, x: Array) -> float:
    """max(m, n) · eps of the dtype of x, the denominator of LAPACK's ratios."""
    return max(A.shape[-2:]) * torch.finfo(as_tensor("x", x).dtype).eps


def _finish(values: torch.Tensor, x: Array, *, nonfinite: float = float("inf")) -> Array:
    """A measure in the caller's family, with `nonfinite` for answers that are not finite."""
    finite = torch.isfinite(as_tensor("x", x)).all(dim=-1)
    marked = torch.where(finite, values, nonfinite)
    return marked if isinstance(x, torch.Tensor) else cast(Array, np.asarray(to_numpy(marked)))
