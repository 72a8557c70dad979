"""What is true of a problem: its solution to twice float64, its condition, and whether its columns are dependent.

Two views of one problem. As it stands, A is scaled by one power of two. Columnwise, each column is: to a largest entry
in [1/2, 1). Both are exact, so that nothing here over- or underflows, and a subnormal A is as good as any other.

Rank: σ_min/σ_max of the columnwise view against max(m, n) eps. An SVD in float64 knows that ratio to about u. Where it
is smaller than that can tell, σ_min <= ‖c‖/‖A⁺c‖, exactly solved, with c = b or the last left singular vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from solvers._core.scaling import exponent, ldexp
from solvers.reference import RankDeficientError, solve_exact
from solvers.result import Array

Vector = npt.NDArray[np.float64]

_DOUBT = 1e-12
"""A ratio of singular values below which an SVD in float64 is not trusted."""

_SURE = 1e-19
"""A bound on the ratio that needs no better one: below what any size and dtype here takes for full rank."""

_CLEAR = 100.0
"""The factor on either side of the threshold within which either verdict on the rank is right."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Exact:
    """A problem of full rank in powers of two of its own size, and its solution.

    Args:
        A: matrix, (m, n), float64.
        b: right-hand side, (m,), in units in which the solution has a size of about 1.
        hi: the solution, correctly rounded, (n,).
        lo: what rounding took from it, (n,).
        units: the solution of the problem itself is that of this one times 2^units, (n,), integer.
        size: ‖x*‖.
        spread: κ of A, σ₁ over the smaller of σ_m and σ_n.
        slope: ‖r‖/‖A‖.
    """

    A: Vector
    b: Vector
    hi: Vector
    lo: Vector
    units: npt.NDArray[np.int64]
    size: float
    spread: float
    slope: float

    def scaled(self, x: Array) -> Vector:
        """An answer to the problem itself, (..., n), in the units of this one."""
        answer = torch.as_tensor(np.array(x)) if isinstance(x, np.ndarray) else x.detach().cpu()
        return np.asarray(ldexp(answer.double(), torch.from_numpy(-self.units)).numpy(), dtype=np.float64)

    def off(self, x: Array) -> Vector:
        """X − x*, (..., n), in the units of this one; inf where x is not finite."""
        answer = self.scaled(x)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(np.isfinite(answer), (answer - self.hi) - self.lo, np.inf)

    def error(self, x: Array) -> float:
        """‖x − x*‖ in the units of this one; inf where x is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.linalg.norm(self.off(x)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What is known of a problem.

    Args:
        standing: the problem as it stands, or None where its columns are dependent.
        columnwise: with every column at one size, or None likewise; of m < n, as it stands.
        x: the solution, one of many where the columns are dependent, (n,).
        singular_values: of A as it stands, descending, (min(m, n),).
        residual_norm: ‖b − A x‖.
        ratio: σ_min/σ_max of the columnwise view; 0 where the columns are dependent.
        shape: (m, n).
    """

    standing: Exact | None
    columnwise: Exact | None
    x: Vector
    singular_values: Vector
    residual_norm: float
    ratio: float
    shape: tuple[int, int]

    def rank(self, dtype: torch.dtype) -> str:
        """The verdict on the rank to working precision: "full", "deficient", or "either" close to the threshold."""
        threshold = max(self.shape) * torch.finfo(dtype).eps
        if self.ratio > _CLEAR * threshold:
            return "full"
        return "deficient" if self.ratio * _CLEAR < threshold else "either"


def known(A: torch.Tensor, b: torch.Tensor) -> Known:
    """Measure a problem, A (m, n) and b (m,); of m < n the rows are independent, and x is that of least norm."""
    m, n = A.shape
    common = int(exponent(A, (0, 1)))
    columns = exponent(A, 0) if m >= n else torch.full((n,), common)
    right = int(exponent(b, 0))
    matrix = ldexp(A.double(), -columns).numpy()
    rhs = ldexp(b.double(), torch.tensor(-right)).numpy()
    standing = ldexp(A.double(), torch.tensor(-common)).numpy()
    plain = np.linalg.svd(standing, compute_uv=False)
    U, s, _ = np.linalg.svd(matrix, full_matrices=False)
    back, standing_view, columnwise_view, ratio = right - columns.numpy(), None, None, 0.0
    try:
        hi, lo = _solved(matrix, rhs)
    except RankDeficientError:
        hi = np.linalg.pinv(matrix) @ rhs
    else:
        ratio = float(s[-1] / s[0])
        if ratio < _DOUBT and m >= n:
            ratio = float(np.linalg.norm(rhs) / (np.linalg.norm(hi) * s[0]))
            if ratio > _SURE:
                ratio = 1 / float(np.linalg.norm(_solved(matrix, np.ascontiguousarray(U[:, -1]))[0]) * s[0])
    r = float(np.linalg.norm(rhs - matrix @ hi)) if m > n else 0.0
    if ratio:
        solution = (rhs, hi, lo, back)
        standing_view = _view(standing, *solution, right - common, r / float(plain[0]), float(plain[-1] / plain[0]))
        columnwise_view = _view(matrix, *solution, back, r / float(s[0]), ratio)
    with np.errstate(under="ignore", over="ignore"):
        return Known(
            standing=standing_view,
            columnwise=columnwise_view,
            x=np.ldexp(hi, back),
            singular_values=np.ldexp(plain, common),
            residual_norm=float(np.ldexp(r, right)),
            ratio=ratio,
            shape=(m, n),
        )


def _solved(A: Vector, b: Vector) -> tuple[Vector, Vector]:
    """The solution as a pair; of m < n, where it is the x of [I Aᵀ; A 0] [x; y] = [0; b], that of least norm."""
    m, n = A.shape
    if m >= n:
        return solve_exact(A, b)
    system = np.block([[np.eye(n), A.T], [A, np.zeros((m, m))]])
    hi, lo = solve_exact(system, np.concatenate([np.zeros(n), b]))
    return hi[:n], lo[:n]


def _view(A: Vector, b: Vector, hi: Vector, lo: Vector, back: Any, units: Any, slope: float, ratio: float) -> Exact:
    """A problem in given units, with a further power of two that brings the solution to a size of about 1."""
    shift, used = back - units, hi != 0
    k = int((np.frexp(hi)[1] + shift)[used].max()) if used.any() else 0
    with np.errstate(under="ignore", over="ignore"):
        hi, lo = np.ldexp(hi, shift - k), np.ldexp(lo, shift - k)
        return Exact(
            A=A,
            b=np.ldexp(b, -k),
            hi=hi,
            lo=lo,
            units=np.broadcast_to(np.asarray(units + k, dtype=np.int64), hi.shape).copy(),
            size=float(np.linalg.norm(hi)),
            spread=1 / ratio if ratio else float("inf"),
            slope=float(np.ldexp(slope, -k)),
        )
