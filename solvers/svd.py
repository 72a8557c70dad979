"""Least squares by the singular value decomposition: the method that also knows what to do without full rank.

Problem: min_x ‖b − A x‖₂, and among the minimisers the one of least ‖x‖₂; any m and n.
Method: A = U diag(s) Vᵀ, x = Σ (u_jᵀ b / s_j) v_j over the singular values that are not rounding,
    s_j > max(m, n) eps s₁.
Accuracy: normwise backward stable: forward error c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)).
Rank: for m >= n the columns are first brought to one size by powers of two, so that a column in small units is no
    dependent column. Where the rank is short, and for m < n, A is only scaled as a whole: the least norm depends on the
    units of the unknowns. RANK_DEFICIENT means rank below min(m, n); x is then the minimum-norm solution of the
    truncated problem.
Cost: that of LAPACK's gelsd, divide and conquer after a QR factorisation; twice that where the rank is short.

Reference: Golub and Kahan, SIAM J. Numer. Anal. 2 (1965); Björck, Numerical Methods for Least Squares Problems (1996),
section 1.2.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers._core.rank import rank_limit
from solvers._core.scaling import exponent, ldexp
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver


@dataclass(frozen=True, kw_only=True)
class SVD(Solver):
    """Singular value decomposition; no options."""

    name: ClassVar[str] = "svd"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.COLUMNWISE})
    underdetermined: ClassVar[bool] = True

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        m, n = A.shape[-2:]
        limit = rank_limit(m, n, A.dtype)
        x, s = _least_norm(A, b, exponent(A, -2) if m >= n else _overall(A), 1 / limit)
        condition = s[:, 0] / s[:, -1]
        condition = torch.where(torch.isnan(condition), float("inf"), condition)
        short = ~(condition < limit)
        status = torch.where(short, int(Status.RANK_DEFICIENT), int(Status.CONVERGED))
        if m >= n and bool(short.any()):
            x[short] = _least_norm(A[short], b[short], _overall(A[short]), 1 / limit)[0]
        trace = x[None] if record else None
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), condition=condition, trace=trace)


def _overall(A: torch.Tensor) -> torch.Tensor:
    """The exponents that scale A as a whole, (B, n)."""
    return exponent(A, (-2, -1)).unsqueeze(-1).expand(-1, A.shape[-1])


def _least_norm(
    A: torch.Tensor, b: torch.Tensor, columns: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimum-norm solutions over s_j > cutoff s₁ of A · diag(2^(−columns)), in the units of A, and its s."""
    right = exponent(b, -1).unsqueeze(-1)
    matrix, rhs = ldexp(A, -columns.unsqueeze(-2)), ldexp(b, -right).unsqueeze(-1)
    if A.device.type == "cpu":
        answer = torch.linalg.lstsq(matrix, rhs, rcond=cutoff, driver="gelsd")
        solution, s = answer.solution, answer.singular_values
    else:
        U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
        keep = s > cutoff * s[:, :1]
        solution = Vh.mT @ torch.where(keep, (U.mT @ rhs).squeeze(-1) / torch.where(keep, s, 1.0), 0.0).unsqueeze(-1)
    return ldexp(solution.squeeze(-1), right - columns), s
