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
from solvers._core.scaling import exponent, ldexp
from solvers.backward import karlson_walden
from solvers.result import Array, to_numpy

Reference = Array | tuple[Array, Array]
"""A reference solution: an array, or hi and lo of `solvers.reference.solve_exact`."""

_MOST_DIGITS = 15.0


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
    difference, reference, _ = _difference(x, x_ref)
    return _finish(_ratio(dd.norm(difference).hi, dd.norm(reference).hi), x)


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
    square = dd.dot(difference, difference).hi / difference.hi.shape[-1]
    return _finish(ldexp(square, 2 * e), x)


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
    absolute = ldexp(wrong, e.unsqueeze(-1))
    relative = torch.where(size == 0, absolute, wrong / torch.where(size == 0, 1.0, size))
    digits = torch.nan_to_num(-torch.log10(relative), nan=0.0).clamp(0.0, _MOST_DIGITS).amin(dim=-1)
    return _finish(digits, x, nonfinite=0.0)


def backward_error(A: Array, b: Array, x: Array) -> Array:
    """Karlson–Waldén estimate of the smallest ‖E‖_F / ‖A‖_F for which x minimises ‖b − (A + E) x‖₂.

    With r = b − A x the estimate is ‖(‖x‖² AᵀA + ‖r‖² I)^(−1/2) Aᵀr‖₂ / ‖A‖_F, evaluated as the length of the
    projection of [r; 0] on the range of [A; (‖r‖/‖x‖) I], over ‖x‖.

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
    return _finish(karlson_walden(matrix, right, answer).reshape(batch), x)


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
    gradient, r, size, _ = _gradient(matrix, right, answer)
    return _finish(_ratio(gradient, size * r).reshape(batch), x)


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
    r, e = dd.residual(matrix, right, dd.from_double(answer))
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
    gradient, _, A_norm, e = _gradient(matrix, right, answer)
    b_norm = torch.linalg.vector_norm(ldexp(right, -e.unsqueeze(-1)), dim=-1)
    shift = exponent(matrix, (-2, -1)) - e
    x_norm = torch.linalg.vector_norm(ldexp(answer, shift.unsqueeze(-1)), dim=-1)
    return _finish((_ratio(gradient, A_norm * (b_norm + A_norm * x_norm)) / _unit(A, x)).reshape(batch), x)


def forward_ratio(x: Array, x_ref: Reference, condition: Array) -> Array:
    """The forward error in units of what a backward stable method may leave; it should be below 30.

    Args:
        x: answers, (..., n); their dtype gives eps.
        x_ref: references, (..., n), or a pair (hi, lo).
        condition: κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)), or κ where problems are consistent, (...).

    Returns:
        ‖x − x_ref‖ / (‖x_ref‖ · condition · eps), one number a problem, (...).

    Reference:
        LAPACK, TESTING/LIN/dget04.f; Higham (2002), theorem 20.1.
    """
    eps = torch.finfo(as_tensor("x", x).dtype).eps
    error = torch.as_tensor(forward_error(x, x_ref))
    kappa = torch.as_tensor(condition, dtype=torch.float64, device=error.device)
    return _finish(error / (kappa * eps), x)


def _difference(x: Array, x_ref: Reference) -> tuple[DD, DD, torch.Tensor]:
    """Difference x − x_ref, and x_ref, scaled by one power of two a problem.

    Args:
        x: answers, (..., n).
        x_ref: references.

    Returns:
        The difference, the reference, and e with true value = value · 2^e.

    Raises:
        ValueError: if the last dimensions differ.
    """
    answer = as_tensor("x", x).double()
    high, low = x_ref if isinstance(x_ref, tuple) else (x_ref, None)
    hi = as_tensor("x_ref", high).double().to(answer.device)
    lo = torch.zeros_like(hi) if low is None else as_tensor("x_ref[1]", low).double().to(answer.device)
    if not answer.ndim or not hi.ndim or answer.shape[-1] != hi.shape[-1]:
        raise ValueError(f"x_ref: got shape {tuple(hi.shape)}, wants (..., n) to fit x of shape {tuple(answer.shape)}")
    require_finite("x_ref", hi)
    shape = np.broadcast_shapes(answer.shape, hi.shape)
    answer, hi, lo = (t.expand(shape) for t in (answer, hi, lo))
    # A non-finite answer is dealt with at the end; until then it must not spoil the scaling.
    answer = torch.nan_to_num(answer, nan=0.0, posinf=0.0, neginf=0.0)
    e = exponent(torch.maximum(answer.abs(), hi.abs()), -1)
    shift = -e.unsqueeze(-1)
    reference = DD(ldexp(hi, shift), ldexp(lo, shift))
    return dd.subtract(dd.from_double(ldexp(answer, shift)), reference), reference, e


def _problem(A: Array, b: Array, x: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Size]:
    """The arguments of a measure as flat float64 tensors.

    Args:
        A: matrices, (..., m, n).
        b: right-hand sides, (..., m).
        x: answers, (..., n), possibly with more leading dimensions.

    Returns:
        A (P, m, n), b (P, m), x (P, n) with non-finite entries set to zero, and the shape that P stands for.

    Raises:
        ValueError: if shapes do not fit.
    """
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
    answer = torch.nan_to_num(answer.double(), nan=0.0, posinf=0.0, neginf=0.0)
    matrix, right = matrix.double().expand(*batch, m, n), right.double().expand(*batch, m)
    return matrix.reshape(-1, m, n), right.reshape(-1, m), answer.reshape(-1, n), batch


def _gradient(
    A: torch.Tensor, b: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """‖Aᵀr‖, ‖r‖ and ‖A‖_F of scaled problems.

    Args:
        A: matrices, (P, m, n).
        b: right-hand sides, (P, m).
        x: answers, (P, n).

    Returns:
        The three norms, and the exponent by which r was scaled down.
    """
    r, e = dd.residual(A, b, dd.from_double(x))
    scaled = ldexp(A, -exponent(A, (-2, -1))[:, None, None])
    gradient = dd.norm(dd.matvec(scaled.mT, r)).hi
    return gradient, dd.norm(r).hi, torch.linalg.vector_norm(scaled, dim=(-2, -1)), e


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Quotient part / whole, with 0/0 = 0.

    Args:
        part: at least 0.
        whole: at least 0.

    Returns:
        The quotient.
    """
    return torch.where(part == 0, 0.0, part / whole)


def _unit(A: Array, x: Array) -> float:
    """max(m, n) · eps.

    Args:
        A: matrices, (..., m, n).
        x: answers, whose dtype gives eps.

    Returns:
        The denominator of LAPACK's ratios.
    """
    return max(A.shape[-2:]) * torch.finfo(as_tensor("x", x).dtype).eps


def _finish(values: torch.Tensor, x: Array, *, nonfinite: float = float("inf")) -> Array:
    """Mark non-finite answers and hand back the caller's family.

    Args:
        values: a measure, (...).
        x: the answers, (..., n).
        nonfinite: the value that a non-finite answer gets.

    Returns:
        The measure.
    """
    finite = torch.isfinite(as_tensor("x", x)).all(dim=-1)
    marked = torch.where(finite, values, nonfinite)
    return marked if isinstance(x, torch.Tensor) else cast(Array, np.asarray(to_numpy(marked)))
