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
from solvers._core.scaling import all_ordinary, exponent, ldexp, power_below
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
        sizes = A.abs().amax(dim=-2)
        if not (all_ordinary(sizes) and all_ordinary(b.abs().amax(dim=-1))):
            x, s = _in_exponents(A, b, exponent(A, -2) if m >= n else _overall(A), 1 / limit)
        elif m >= n:
            unit = power_below(sizes)
            x, s = _least_norm(A / unit.unsqueeze(-2), b, 1 / limit)
            x /= unit
        else:
            x, s = _least_norm(A, b, 1 / limit)
        # LAPACK has a zero of either sign.
        condition = torch.nan_to_num(s[:, 0] / s[:, -1].abs(), nan=torch.inf, posinf=torch.inf)
        status = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        if not float(condition.amax()) < limit:
            short = ~(condition < limit)
            status[short] = int(Status.RANK_DEFICIENT)
            if m >= n:
                x[short] = _in_exponents(A[short], b[short], _overall(A[short]), 1 / limit)[0]
        trace = x[None] if record else None
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), condition=condition, trace=trace)


def _overall(A: torch.Tensor) -> torch.Tensor:
    """The exponents that scale A as a whole, (B, 1)."""
    return exponent(A, (-2, -1)).unsqueeze(-1)


def _in_exponents(
    A: torch.Tensor, b: torch.Tensor, columns: torch.Tensor, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`_least_norm` of A · diag(2^(−columns)) and b of any size, solutions in the units of A."""
    right = exponent(b, -1).unsqueeze(-1)
    x, s = _least_norm(ldexp(A, -columns.unsqueeze(-2)), ldexp(b, -right), cutoff)
    return ldexp(x, right - columns), s


def _least_norm(A: torch.Tensor, b: torch.Tensor, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimum-norm solutions over the singular values s_j > cutoff s₁, (B, n), and all singular values, falling."""
    rhs = b.unsqueeze(-1)
    if A.device.type == "cpu":
        answer = torch.linalg.lstsq(A, rhs, rcond=cutoff, driver="gelsd")
        return answer.solution.squeeze(-1), answer.singular_values
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    keep = s > cutoff * s[:, :1]
    weights = torch.where(keep, (U.mT @ rhs).squeeze(-1) / torch.where(keep, s, 1.0), 0.0)
    return (Vh.mT @ weights.unsqueeze(-1)).squeeze(-1), s
