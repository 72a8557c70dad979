"""A proof of how wrong an answer is: bounds on the true relative error that hold whatever was rounded.

Problem: given A, b and any x, enclose ‖x − x*‖₂ / ‖x*‖₂, with x* the exact minimiser of ‖b − A x‖₂ for A and b as they
    stand in memory.
Method "rational": x* is computed in integers (`solvers.exact`); the two squared norms are fractions, and their quotient
    is enclosed by outward rounding alone. The enclosure is as tight as float64 allows.
Method "interval": mpmath's interval arithmetic encloses Gaussian elimination on AᵀA, at a precision raised until the
    enclosure is tight. It shares no code with the oracle, and checks it.
Method "flint": as "rational", with the linear system solved by python-flint; for n beyond about 30.
Rank: a dependent A has no unique x*; the enclosure is then (nan, nan), and `full_rank` says so.
Cost: 0.2 ms for 20×5 by "rational", 20 ms by "interval".

Reference: Rump, Verification methods: rigorous results using floating-point arithmetic, Acta Numerica 19 (2010); Moore,
Kearfott and Cloud, Introduction to Interval Analysis (2009); Johansson, Arb, IEEE Trans. Comput. 66 (2017).
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import mpmath
import numpy as np
import numpy.typing as npt
import torch

from solvers._core.arrays import as_tensor, require_choice, validated
from solvers.exact import FloatArray, RankDeficientError, integers, solve_rational
from solvers.result import Array, to_numpy

Method = Literal["rational", "interval", "flint"]
_LARGEST_BITS = 1 << 14
_TIGHT_BITS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Enclosure:
    """Proved bounds, lower <= ‖x − x*‖₂ / ‖x*‖₂ <= upper.

    Args:
        lower: (...), float64.
        upper: (...), float64; inf where x is not finite or x* is zero and x is not.
        full_rank: whether x* is unique, (...), boolean; the bounds are nan where it is not.
    """

    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    full_rank: npt.NDArray[np.bool_]

    @property
    def digits(self) -> npt.NDArray[np.float64]:
        """Decimal digits of x that are proved correct in norm: −log₁₀ of the upper bound, at least 0."""
        with np.errstate(divide="ignore"):
            return np.maximum(0.0, -np.log10(self.upper))


def certify(A: Array, b: Array, x: Array, *, method: Method = "rational") -> Enclosure:
    """Enclose the true relative error of each answer.

    Args:
        A: matrices, (..., m, n), m >= n, float32 or float64, torch or NumPy.
        b: right-hand sides, (..., m), of the same family and dtype.
        x: answers, (..., n), of the same family and dtype; NaN and inf are answers too.
        method: "rational", "interval" or "flint".

    Returns:
        The bounds.

    Raises:
        ValueError: if the method is unknown.

    Error:
        None: the bounds are proved. Their distance is a few ulps of float64.

    Cost:
        See the top of this file; a batch is a loop.

    Reference:
        Rump, Acta Numerica 19 (2010), section 10.
    """  # noqa: DOC502 - raised by the validation that this calls
    require_choice("method", method, get_args(Method))
    answer_tensor = as_tensor("x", x)
    # Non-finite answers have an error of inf; until then they only have to fit.
    finite = torch.isfinite(answer_tensor).cpu().numpy()
    cleaned = torch.nan_to_num(answer_tensor, nan=0.0, posinf=0.0, neginf=0.0)
    tensors = validated(A, b, cleaned if isinstance(x, torch.Tensor) else to_numpy(cleaned), underdetermined=False)
    matrices, rights, answers = (tensors[key].cpu().double().numpy() for key in ("A", "b", "x0"))
    batch, (m, n) = matrices.shape[:-2], matrices.shape[-2:]
    count = int(np.prod(batch, dtype=np.int64))
    solve = {"rational": _rational, "interval": _interval, "flint": _flint}[method]
    bounds, ranks = [], []
    flat = zip(
        matrices.reshape(count, m, n),
        rights.reshape(count, m),
        answers.reshape(count, n),
        finite.reshape(count, n),
        strict=True,
    )
    for matrix, right, answer, good in flat:
        try:
            pair = solve(matrix, right, answer)
            bounds.append(pair if good.all() else (math.inf, math.inf))
            ranks.append(True)
        except RankDeficientError:
            bounds.append((math.nan, math.nan))
            ranks.append(False)
    both = np.array(bounds, dtype=np.float64).reshape(*batch, 2)
    return Enclosure(
        lower=both[..., 0].copy(), upper=both[..., 1].copy(), full_rank=np.array(ranks, dtype=np.bool_).reshape(batch)
    )


def _rational(A: FloatArray, b: FloatArray, x: FloatArray) -> tuple[float, float]:
    """Bounds from the exact solution.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).
        x: answer, (n,).

    Returns:
        Lower and upper bound.
    """
    return _quotient(solve_rational(A, b).fractions(), x)


def _flint(A: FloatArray, b: FloatArray, x: FloatArray) -> tuple[float, float]:
    """Bounds from the exact solution, by python-flint.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).
        x: answer, (n,).

    Returns:
        Lower and upper bound.

    Raises:
        RankDeficientError: if the columns of A are dependent.
        RuntimeError: if python-flint is not installed.
    """
    try:
        import flint
    except ImportError as error:
        raise RuntimeError(
            "method: got 'flint', wants python-flint installed (pip install precisionlab[certify])"
        ) from error
    columns, exponents = zip(*(integers(A[:, j]) for j in range(A.shape[1])), strict=True)
    right, right_exponent = integers(b)
    matrix = flint.fmpz_mat(len(b), len(columns), [column[i] for i in range(len(b)) for column in columns])
    normal, rhs = matrix.transpose() * matrix, matrix.transpose() * flint.fmpz_mat(len(b), 1, right)
    try:
        solution = flint.fmpq_mat(normal).solve(flint.fmpq_mat(rhs))
    except ZeroDivisionError as error:
        raise RankDeficientError("A: its columns are dependent, wants full column rank") from error
    exact = [
        Fraction(int(solution[j, 0].p), int(solution[j, 0].q)) * Fraction(2) ** (right_exponent - e)
        for j, e in enumerate(exponents)
    ]
    return _quotient(exact, x)


def _quotient(exact: list[Fraction], x: FloatArray) -> tuple[float, float]:
    """‖x − exact‖/‖exact‖, rounded down and up.

    Args:
        exact: the solution.
        x: answer, (n,).

    Returns:
        Lower and upper bound.
    """
    size = sum((value**2 for value in exact), Fraction(0))
    wrong = sum(((Fraction(float(got)) - value) ** 2 for got, value in zip(x, exact, strict=True)), Fraction(0))
    if size == 0:
        return (0.0, 0.0) if wrong == 0 else (math.inf, math.inf)
    ratio = wrong / size
    # An integer square root with 2·_TIGHT_BITS bits to spare: root <= √ratio · 2^shift < root + 1.
    shift = max(0, _TIGHT_BITS * 2 - (ratio.numerator.bit_length() - ratio.denominator.bit_length()) // 2)
    root = math.isqrt((ratio.numerator << (2 * shift)) // ratio.denominator)
    low, high = Fraction(root, 1 << shift), Fraction(root + 1, 1 << shift)
    return _below(low), (0.0 if ratio == 0 else -_below(-high))


def _below(value: Fraction) -> float:
    """The largest float64 that is not above a fraction, or the one below it.

    Args:
        value: any.

    Returns:
        A lower bound.
    """
    try:
        nearest = value.numerator / value.denominator
    except OverflowError:
        return math.inf if value < 0 else float(np.finfo(np.float64).max)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def _interval(A: FloatArray, b: FloatArray, x: FloatArray) -> tuple[float, float]:
    """Bounds from interval elimination on the normal equations.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).
        x: answer, (n,).

    Returns:
        Lower and upper bound.

    Raises:
        RankDeficientError: if the columns of A are dependent; decided in integers, as no interval can prove it.
    """  # noqa: DOC502 - raised by the exact elimination that this calls
    iv = mpmath.iv
    bits, before = 256, iv.prec
    try:
        while bits <= _LARGEST_BITS:
            iv.prec = bits
            solution = _eliminate(A, b)
            if solution is None and bits == 256:
                solve_rational(A, b)
            if solution is not None:
                size = sum((value**2 for value in solution), iv.mpf(0))
                wrong = sum(((iv.mpf(float(got)) - v) ** 2 for got, v in zip(x, solution, strict=True)), iv.mpf(0))
                tight = wrong.delta <= wrong.a * mpmath.mpf(2) ** -_TIGHT_BITS
                if size.a > 0 and tight:
                    ratio = iv.sqrt(wrong / size)
                    return _below(_fraction(ratio.a)), max(0.0, -_below(-_fraction(ratio.b)))
            bits *= 2
    finally:
        iv.prec = before
    # An error of exactly zero, or a solution of zero, never becomes tight: integers decide.
    return _rational(A, b, x)


def _eliminate(A: FloatArray, b: FloatArray) -> list[Any] | None:
    """Gaussian elimination on AᵀA in the current interval precision.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).

    Returns:
        Intervals that contain the solution, or None where a pivot's contains zero.
    """
    iv = mpmath.iv
    n = A.shape[1]
    columns = [[iv.mpf(v) for v in column] for column in [*A.T.tolist(), b.tolist()]]
    rows = [
        [sum((p * q for p, q in zip(columns[i], columns[j], strict=True)), iv.mpf(0)) for j in range(n + 1)]
        for i in range(n)
    ]
    for k in range(n):
        if not rows[k][k].a > 0:
            return None
        for i in range(k + 1, n):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [rows[i][j] - factor * rows[k][j] if j > k else iv.mpf(0) for j in range(n + 1)]
    x: list[Any] = [iv.mpf(0)] * n
    for i in range(n - 1, -1, -1):
        known = sum((rows[i][j] * x[j] for j in range(i + 1, n)), iv.mpf(0))
        x[i] = (rows[i][n] - known) / rows[i][i]
    return x


def _fraction(value: Any) -> Fraction:
    """An endpoint as a fraction.

    Args:
        value: an interval of mpmath that is a point.

    Returns:
        Its value, exactly.
    """
    sign, mantissa, exponent, _ = value._mpi_[0]
    return Fraction(-int(mantissa) if sign else int(mantissa)) * Fraction(2) ** int(exponent)
