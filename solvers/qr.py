"""Least squares by Householder QR: the standard that other methods are measured against.

Problem: min_x ‖b − A x‖₂, m >= n, full column rank.
Method: [A b] = Q R by Householder reflections, then back substitution with the leading n×n block and the last column.
The reflections reach b as one more column, so Q is never formed.
Accuracy: normwise backward stable: x is exact for A + E, b + f with ‖E‖ <= c m n u ‖A‖, column by column; so the
forward error is c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)). Where the rows of A differ in size by more than 2¹⁰, rows are sorted
and columns are sorted by their largest entries first, and E is small row by row as well: Wampler's polynomials gain up
to a digit.
Rank: by the rule of `solvers._core.rank`. A rank-deficient problem still gets the x that elimination yields (NaN at an
exact zero pivot): it minimises a nearby problem, as one of many.
Cost: 2 m n² − 2n³/3 operations; in a batch of 20×5 about 1 µs each on a CPU core, and a tenth of that where the fused
kernel takes the problems (float64, CPU, few columns).

Reference: Golub, Numerical methods for solving linear least squares problems, Numer. Math. 7 (1965); Cox and Higham,
Stability of Householder QR factorization for weighted least squares problems (1998), for the sorting.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers import fused
from solvers._core.arrays import require_choice
from solvers._core.rank import deficient_factor, rank_limit
from solvers._core.scaling import exponent, ldexp, out_of_range
from solvers._core.triangular import residual_norm
from solvers.fused import BACKENDS, Backend
from solvers.fused.householder import householder_eager, solve_by_householder
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

_GRADED = 2.0**10


@dataclass(frozen=True, kw_only=True)
class QR(Solver):
    """Householder QR.

    Args:
        backend: "eager" is LAPACK's; "fused" one kernel for a batch of small problems; "auto" takes the kernel where it
            can run. They agree to rounding, not to the bit.
    """

    name: ClassVar[str] = "qr"
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_choice("backend", self.backend, BACKENDS)

    @property
    def promises(self) -> frozenset[Promise]:
        """What the solver holds to; a batch is a loop to the bit where the kernel takes all of it."""
        own = {Promise.EXACT_BATCH} if self.backend == "fused" else set()
        return frozenset({Promise.EXACT_SCALING, Promise.COLUMNWISE, *own})

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        m, n = A.shape[-2:]
        x, R, measures = _factored(A, b, self.backend)
        condition, residual = measures[4], measures[5]
        if m == n:  # no row is left to tell it
            residual.copy_(residual_norm(A, b, x))
        status = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        if not (_even(measures, rank_limit(m, n, A.dtype)) and math.isfinite(float(x.sum()))):
            bad = deficient_factor(R, m, condition)
            largest, smallest, size, least, *_ = measures
            odd = out_of_range(size, least, residual, b, x) | (largest > _GRADED * smallest)
            if bool(odd.any()):
                x[odd], bad[odd], condition[odd] = _careful(A[odd], b[odd], self.backend)
            # Where A is deficient x is large, where it is scaled back it may be subnormal: its rounding then shows.
            again = odd | bad | (residual == 0)
            residual[again] = residual_norm(A[again], b[again], x[again])
            status[bad] = int(Status.RANK_DEFICIENT)
        trace = x[None] if record else None
        iterations = torch.zeros_like(status)
        return LstsqResult(
            x=x, status=status, iterations=iterations, residual_norm=residual, condition=condition, trace=trace
        )


def _even(measures: torch.Tensor, limit: float) -> bool:
    """Whether all problems have even rows, full rank and ordinary sizes, judged by the extremes of the batch."""
    low, high = (side.tolist() for side in torch.aminmax(measures, dim=-1))
    safe = torch.finfo(measures.dtype).max ** 0.25
    usual = all(1 / safe < value < safe for value in low[2:] + high[2:])
    return usual and high[0] <= _GRADED * low[1] and high[4] < limit


def _factored(A: torch.Tensor, b: torch.Tensor, backend: Backend) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solutions, R and what `householder` measures, (6, B)."""
    m, n = A.shape[-2:]
    if fused.chosen(backend, A, b, columns=n, entries=m * n, gpu=("solve_by_householder", m, n)):
        return solve_by_householder(A, b)
    return householder_eager(A, b)


def _careful(A: torch.Tensor, b: torch.Tensor, backend: Backend) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same by columns scaled by powers of two, rows and columns sorted: x, what is deficient, and κ."""
    sizes = A.abs()
    rows, columns = sizes.amax(dim=-1), sizes.amax(dim=-2)
    # Problems that are here for their range keep their order, and so the bits that any other scale gives them.
    graded = rows.amax(dim=-1, keepdim=True) / _GRADED > rows.amin(dim=-1, keepdim=True)
    row, column = (
        torch.where(graded, size, 0.0).argsort(dim=-1, descending=True, stable=True) for size in (rows, columns)
    )
    problem = torch.arange(len(A), device=A.device)[:, None, None]
    units, right = exponent(columns.unsqueeze(-1), -1), exponent(b, -1).unsqueeze(-1)
    matrix = ldexp(A, -units.unsqueeze(-2))[problem, row.unsqueeze(-1), column.unsqueeze(-2)]
    sorted_x, R, measures = _factored(matrix, ldexp(b, -right).gather(-1, row), backend)
    x = ldexp(torch.empty_like(sorted_x).scatter_(-1, column, sorted_x), right - units)
    return x, deficient_factor(R, A.shape[-2], measures[4]), measures[4]
