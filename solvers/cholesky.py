"""Least squares by the normal equations: the cheapest method, and the one that squares the condition number.

Problem: min_x ‖b − A x‖₂, m >= n, full column rank.
Method: AᵀA = RᵀR by Cholesky's factorisation; Rᵀ z = Aᵀb, R x = z. Bringing the columns of A to one size by powers of
    two would change no bit of it, and is done only where squares would over- or underflow.
Accuracy: forward error c u κ² with κ that of the scaled columns, whatever the residual. The backward error can still
    be small, and says nothing: Longley has 1e-18 and seven digits.
Rank: forming AᵀA loses what is below √u. Where R, with its columns brought to one size, has κ² beyond the limit of
    `solvers._core.rank`, or a pivot is not positive, the problem is RANK_DEFICIENT if A is so by the rule there, and
    BREAKDOWN otherwise: a case for methods that keep to A.
Cost: m n² + n³/3 operations, half of QR; in a batch of 20×5 about 0.4 µs each on two cores where the fused kernel
takes the problems (float64, CPU, few columns).

Reference: Björck, Numerical Methods for Least Squares Problems (1996), section 2.2; Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed. (2002), section 20.4.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers import fused
from solvers._core.arrays import require_choice
from solvers._core.rank import beyond, condition_of, deficient_factor, rank_limit, triangular_factor
from solvers._core.scaling import all_ordinary, exponent, ldexp, ordinary, out_of_range, scale_columns
from solvers._core.triangular import residual_norm
from solvers.fused import BACKENDS, Backend
from solvers.fused.cholesky import cholesky_eager, solve_by_cholesky
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver


@dataclass(frozen=True, kw_only=True)
class Cholesky(Solver):
    """Normal equations.

    Args:
        backend: "eager" is LAPACK's; "fused" one kernel for a batch of small problems; "auto" takes the kernel where it
            can run. They agree to rounding, not to the bit.
    """

    name: ClassVar[str] = "cholesky"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.COLUMNWISE})
    condition_power: ClassVar[int] = 2
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        m, n = A.shape[-2:]
        x, R, measures = _factored(A, b, self.backend)
        condition, residual = measures[2], measures[3]
        status = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        limit = math.sqrt(rank_limit(n, n, A.dtype))
        if not (all_ordinary(measures) and float(condition.amax()) < limit and math.isfinite(float(x.sum()))):
            far = out_of_range(measures[0], measures[1], residual, b, x)
            if bool(far.any()):
                # Columns scaled by powers of two have the bits that they have at any other scale.
                scaled, columns = scale_columns(A[far])
                right = exponent(b[far], -1).unsqueeze(-1)
                solution, R[far], again = _factored(scaled, ldexp(b[far], -right), self.backend)
                x[far], condition[far] = ldexp(solution, right - columns), again[2]
            lost = beyond(R, condition, limit) | torch.isinf(condition)
            if bool(lost.any()):
                factor = triangular_factor(A[lost])
                condition[lost] = condition_of(factor)
                bad = deficient_factor(factor, m, condition[lost])
                status[lost] = torch.where(bad, int(Status.RANK_DEFICIENT), int(Status.BREAKDOWN))
            again = far | ~ordinary(residual)
            residual[again] = residual_norm(A[again], b[again], x[again])
        trace = x[None] if record else None
        iterations = torch.zeros_like(status)
        return LstsqResult(
            x=x, status=status, iterations=iterations, residual_norm=residual, condition=condition, trace=trace
        )


def _factored(A: torch.Tensor, b: torch.Tensor, backend: Backend) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solutions, R and what `cholesky` measures, (4, B)."""
    if fused.chosen(backend, A, b, columns=A.shape[-1], entries=A.shape[-2] * A.shape[-1]):
        return solve_by_cholesky(A, b)
    return cholesky_eager(A, b)
