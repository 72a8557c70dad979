"""A proof of how wrong an answer is: bounds on the true relative error that hold whatever was rounded.

Problem: given A, b and any x, enclose ‖x − x*‖₂ / ‖x*‖₂, with x* the exact minimiser of ‖b − A x‖₂ for A and b as they
    stand in memory.
Method "rational": x* is computed in integers (`solvers.reference`), the quotient of the two squared norms too, and only
    its square root is rounded, outwards. The enclosure is as tight as float64 allows.
Method "interval": Arb's ball arithmetic encloses the solution of AᵀA x = Aᵀb, at a precision raised until the enclosure
    is tight. It shares no code with the oracle, and checks it; it needs python-flint. An error of zero, a solution of
    zero and a dependence are no intervals: integers decide those.
Range: a ratio above the largest float64 has that as its lower bound and inf as its upper; one below the smallest has 0
    and the smallest.
Rank: a dependent A has no unique x*; the enclosure is then (nan, nan), and `full_rank` says so.
Cost: 0.3 ms for 20×5 by "rational", 0.2 ms by "interval".

Reference: Rump, Verification methods: rigorous results using floating-point arithmetic, Acta Numerica 19 (2010);
Johansson, Arb: efficient arbitrary-precision midpoint-radius interval arithmetic, IEEE Trans. Comput. 66 (2017).
"""

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from solvers._core.arrays import as_tensor, require_choice, validated
from solvers.reference import FloatArray, RankDeficientError, integers, solve_rational
from solvers.result import Array, to_numpy

Method = Literal["rational", "interval"]
_LARGEST_BITS = 1 << 15
_TIGHT_BITS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Enclosure:
    """Proved bounds, lower <= ‖x − x*‖₂ / ‖x*‖₂ <= upper.

    Args:
        lower: (...), float64; inf where x is not finite or x* is zero and x is not, else finite.
        upper: (...), float64; inf there too, and where the ratio is above every float64.
        full_rank: whether x* is unique, (...), boolean; the bounds are nan where it is not.
    """

    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    full_rank: npt.NDArray[np.bool_]

    @property
    def digits(self) -> npt.NDArray[np.float64]:
        """Decimal digits of x that are proved correct in norm: −log₁₀ of the upper bound, at least 0."""
        with np.errstate(divide="ignore"):
            return np.maximum(0.0, 0.0 - np.log10(self.upper))


def certify(A: Array, b: Array, x: Array, *, method: Method = "rational") -> Enclosure:
    """Enclose the true relative error of each answer.

    Args:
        A: matrices, (..., m, n), m >= n, float32 or float64, torch or NumPy.
        b: right-hand sides, (..., m), of the same family and dtype.
        x: answers, (..., n), of the same family and dtype; NaN and inf are answers too.
        method: "rational" or "interval".

    Returns:
        The bounds.

    Raises:
        ValueError: if the method is unknown.
        RuntimeError: if it is "interval" and python-flint is not installed.

    Error:
        None: the bounds are proved. Their distance is a few ulps of float64.

    Cost:
        See the top of this file; a batch is a loop.

    Reference:
        Rump, Acta Numerica 19 (2010), section 10.
    """  # noqa: DOC502 - raised by what this calls
    require_choice("method", method, get_args(Method))
    answer_tensor = as_tensor("x", x)
    # Non-finite answers have an error of inf; until then they only have to fit.
    finite = torch.isfinite(answer_tensor).cpu().numpy()
    cleaned = torch.nan_to_num(answer_tensor, nan=0.0, posinf=0.0, neginf=0.0)
    tensors = validated(A, b, cleaned if isinstance(x, torch.Tensor) else to_numpy(cleaned), underdetermined=False)
    matrices, rights, answers = (tensors[key].cpu().double().numpy() for key in ("A", "b", "x0"))
    bound = {"rational": _rational, "interval": _interval}[method]
    batch = matrices.shape[:-2]
    both, ranks = np.full((*batch, 2), math.inf), np.ones(batch, dtype=np.bool_)
    for i in np.ndindex(batch):
        try:
            pair = bound(matrices[i], rights[i], answers[i])
            both[i] = pair if finite[i].all() else math.inf
        except RankDeficientError:
            both[i], ranks[i] = math.nan, False
    return Enclosure(lower=both[..., 0].copy(), upper=both[..., 1].copy(), full_rank=ranks)


def _rational(A: FloatArray, b: FloatArray, x: FloatArray) -> tuple[float, float]:
    """Bounds from the exact solution: with one denominator and one power of two, both norms are integers."""
    exact = solve_rational(A, b)
    got, e = integers(x)
    least = min(e, *exact.exponents)
    truth = [p << (own - least) for p, own in zip(exact.numerators, exact.exponents, strict=True)]
    size = sum(t * t for t in truth)
    wrong = sum((((g * exact.denominator) << (e - least)) - t) ** 2 for g, t in zip(got, truth, strict=True))
    if wrong == 0:
        return 0.0, 0.0
    if size == 0:
        return math.inf, math.inf
    # root <= √(wrong/size) · 2^shift < root + 1, with root of at least _TIGHT_BITS bits.
    shift = _TIGHT_BITS + 2 - (wrong.bit_length() - size.bit_length()) // 2
    square, rest = divmod(wrong << max(2 * shift, 0), size << max(-2 * shift, 0))
    root = math.isqrt(square)
    above = root if rest == 0 and root * root == square else root + 1
    unit = Fraction(2) ** -shift
    return _below(root * unit), -_below(-above * unit)


def _below(value: Fraction) -> float:
    """The largest float64 that is not above a value; −inf where all are."""
    try:
        nearest = value.numerator / value.denominator
    except OverflowError:
        return -math.inf if value < 0 else sys.float_info.max
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def _interval(A: FloatArray, b: FloatArray, x: FloatArray) -> tuple[float, float]:
    """Bounds from balls that hold the solution."""
    try:
        import flint
    except ImportError as error:
        raise RuntimeError("method: got 'interval', wants python-flint: pip install precisionlab[certify]") from error
    bits = 128
    while bits <= _LARGEST_BITS:
        with flint.ctx.workprec(bits):
            columns = flint.arb_mat(A.T.tolist())
            try:
                solution = (columns * columns.transpose()).solve(columns * flint.arb_mat(len(b), 1, b.tolist()))
            except ZeroDivisionError:
                if bits == 128:
                    solve_rational(A, b)  # no ball can prove a dependence
                bits *= 2
                continue
            entries = solution.entries()
            size = sum((value**2 for value in entries), flint.arb(0))
            wrong = sum(((flint.arb(got) - v) ** 2 for got, v in zip(x.tolist(), entries, strict=True)), flint.arb(0))
            ratio = (wrong / size).sqrt()
            if ratio.is_finite() and ratio.rel_accuracy_bits() >= _TIGHT_BITS:
                return max(0.0, _below(_fraction(ratio.lower()))), 0.0 - _below(-_fraction(ratio.upper()))
        bits *= 2
    return _rational(A, b, x)


def _fraction(point: Any) -> Fraction:
    """An exact number of Arb as a fraction."""
    mantissa, exponent = point.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
