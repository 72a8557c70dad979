"""The oracle: solutions of least-squares problems, correctly rounded to float64.

Problem: min_x ‖b − A x‖₂, A of full column rank, entries from 1e-300 to 1e300.
Method: Householder QR in mpmath's arithmetic, at a precision raised until the rounding is settled: two runs, the second
with twice the digits, must enclose values that round to the same float64. What no precision settles is decided without
rounding (`solvers.exact`): whether a tiny pivot is zero, and ties.
Accuracy: half a unit in the last place of float64, subnormal results included.
Cost: milliseconds a problem of 20×5; a batch is a loop. `solve_exact` gives the same answer and 53 bits more, faster.

Householder reflections are written out here because `mpmath.qr_solve` fails on exact zeros and calls well-conditioned
problems with entries near 1e-10 singular.

Reference: Golub and Van Loan, Matrix Computations, 4th ed. (2013), sections 5.1 and 5.3; mpmath, Johansson et al.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import mpmath
import numpy as np
import numpy.typing as npt
import torch

from solvers._core.arrays import require_count, validated
from solvers.exact import FloatArray, RankDeficientError, round_pair, solve_rational
from solvers.result import Array, LstsqResult, Status
from solvers.solver import Promise, Solver

__all__ = ["RankDeficientError", "Reference", "solve", "solve_exact"]

_LARGEST_DIGITS = 400
"""Past this, only a tie or a dependence is left, and both are decided exactly."""


def solve(A: Array, b: Array, *, digits: int = 50) -> npt.NDArray[np.float64]:
    """Solve min_x ‖b − A x‖₂, correctly rounded.

    Args:
        A: matrices, (..., m, n), m >= n, float32 or float64, torch or NumPy.
        b: right-hand sides, (..., m), of the same family and dtype.
        digits: decimal digits to begin with, at least 30; the result does not depend on it, the time does.

    Returns:
        Solutions, (..., n), float64 whatever the dtype of A.

    Raises:
        RankDeficientError: if the columns of a matrix are dependent (exactly decided).

    Error:
        Half an ulp of float64 a component; inf where the solution overflows.

    Cost:
        O(m n²) operations of mpmath a problem, at least twice.

    Reference:
        Golub and Van Loan, Matrix Computations, 4th ed. (2013), section 5.3.2.
    """  # noqa: DOC502 - raised by the elimination that this calls
    require_count("digits", digits, least=30)
    matrices, rights, batch = _flat(A, b)
    answers = [_solve_one(matrix, right, digits) for matrix, right in zip(matrices, rights, strict=True)]
    return np.array(answers, dtype=np.float64).reshape(*batch, matrices.shape[-1])


def solve_exact(A: Array, b: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Solve min_x ‖b − A x‖₂ in integers, to twice the precision of float64.

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
        About 0.5 ms for 20×5; see `solvers.exact`.

    Reference:
        Bareiss, Math. Comp. 22 (1968).
    """  # noqa: DOC502 - raised by the elimination that this calls
    matrices, rights, batch = _flat(A, b)
    pairs = []
    for matrix, right in zip(matrices, rights, strict=True):
        exact = solve_rational(matrix, right)
        pairs.append([
            round_pair(p, exact.denominator, e) for p, e in zip(exact.numerators, exact.exponents, strict=True)
        ])
    both = np.array(pairs, dtype=np.float64).reshape(*batch, matrices.shape[-1], 2)
    return both[..., 0].copy(), both[..., 1].copy()


@dataclass(frozen=True, kw_only=True)
class Reference(Solver):
    """The oracle as a solver: correctly rounded to the dtype of the problem.

    A dependent matrix is RANK_DEFICIENT with x = NaN, a solution beyond the exponent range BREAKDOWN with inf.
    float32 answers are float64 answers rounded again.

    Args:
        digits: decimal digits to begin with, at least 30.
    """

    name: ClassVar[str] = "reference"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    condition_power: ClassVar[int] = 0
    digits: int = 50

    def __post_init__(self) -> None:
        require_count("digits", self.digits, least=30)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        matrices, rights, _ = _flat(A, b)
        rows, statuses = [], []
        for matrix, right in zip(matrices, rights, strict=True):
            try:
                rows.append(_solve_one(matrix, right, self.digits))
                statuses.append(Status.CONVERGED)
            except RankDeficientError:
                rows.append([float("nan")] * A.shape[-1])
                statuses.append(Status.RANK_DEFICIENT)
        x = torch.tensor(rows, dtype=torch.float64).to(dtype=A.dtype, device=A.device)
        status = torch.tensor([int(s) for s in statuses], dtype=torch.int64, device=A.device)
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)


def _flat(A: Array, b: Array) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    """Validated float64 arrays with one batch dimension.

    Args:
        A: matrices, (..., m, n).
        b: right-hand sides, (..., m).

    Returns:
        Matrices (B, m, n), right-hand sides (B, m), and the batch shape.
    """
    tensors = validated(A, b, None, underdetermined=False)
    matrix, right = (tensors[key].cpu().double().numpy() for key in ("A", "b"))
    m, n = matrix.shape[-2:]
    count = int(np.prod(matrix.shape[:-2], dtype=np.int64))
    return matrix.reshape(count, m, n), right.reshape(count, m), matrix.shape[:-2]


def _solve_one(A: FloatArray, b: FloatArray, digits: int) -> list[float]:
    """One correctly rounded solution.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).
        digits: decimal digits to begin with.

    Returns:
        n floats.
    """
    exponents = [int(np.frexp(np.abs(A[:, j]).max())[1]) for j in range(A.shape[1])]
    right_exponent = int(np.frexp(np.abs(b).max())[1])
    previous = None
    while digits <= _LARGEST_DIGITS:
        with mpmath.workdps(digits):
            solution = _householder(A, b, exponents, right_exponent)
            if solution is None and previous is None:
                solve_rational(A, b)  # raises if the pivot is exactly zero; if not, more digits will show it
            if solution is not None and previous is not None:
                settled = [_settled(x, y) for x, y in zip(solution, previous, strict=True)]
                if all(value is not None for value in settled):
                    return [float(value) for value in settled if value is not None]
        previous, digits = solution, 2 * digits
    return [hi for hi, _ in solve_rational(A, b).rounded()]


def _settled(value: Any, coarse: Any) -> float | None:
    """The float64 that a value rounds to, if its uncertainty leaves no choice.

    Args:
        value: the finer computation.
        coarse: the same with half the digits.

    Returns:
        The rounded value, or None.
    """
    margin = 4 * abs(value - coarse)
    low, high = _to_float(value - margin), _to_float(value + margin)
    return low if low == high else None


def _to_float(value: Any) -> float:
    """Round to float64, once, to nearest with ties to even.

    Args:
        value: a real number of mpmath.

    Returns:
        The nearest float64, subnormal or infinite where need be.
    """
    sign, mantissa, exponent, _ = value._mpf_
    return round_pair(-int(mantissa) if sign else int(mantissa), 1, int(exponent))[0] if mantissa else 0.0


def _householder(A: FloatArray, b: FloatArray, exponents: list[int], right_exponent: int) -> list[Any] | None:
    """Least squares by Householder reflections in the current mpmath precision.

    Args:
        A: matrix, (m, n).
        b: right-hand side, (m,).
        exponents: powers of two that bring the columns to size 1.
        right_exponent: likewise for b.

    Returns:
        The solution, or None where a pivot is too small to be told from zero with half the digits.
    """
    m, n = A.shape
    columns = [[mpmath.ldexp(mpmath.mpf(v), -e) for v in A[:, j].tolist()] for j, e in enumerate(exponents)]
    columns.append([mpmath.ldexp(mpmath.mpf(v), -right_exponent) for v in b.tolist()])
    diagonal = []
    negligible = mpmath.mpf(10) ** (-(mpmath.mp.dps // 2))
    for k in range(n):
        v = columns[k][k:]
        size = mpmath.sqrt(mpmath.fdot(v, v))
        if size <= negligible:
            return None
        alpha = -size if v[0] >= 0 else size
        v[0] -= alpha
        beta = -1 / (alpha * v[0])  # 2 / vᵀv
        for column in columns[k + 1 :]:
            factor = beta * mpmath.fdot(v, column[k:])
            for i in range(m - k):
                column[k + i] -= factor * v[i]
        diagonal.append(alpha)
    x: list[Any] = [mpmath.mpf(0)] * n
    for i in range(n - 1, -1, -1):
        known = mpmath.fsum(columns[j][i] * x[j] for j in range(i + 1, n))
        x[i] = (columns[n][i] - known) / diagonal[i]
    return [mpmath.ldexp(value, right_exponent - e) for value, e in zip(x, exponents, strict=True)]
