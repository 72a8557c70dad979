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
from solvers._core.triangular import norm
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
        stored, residual = A.mT.contiguous(), None
        sizes = norm(stored)
        if all_ordinary(sizes) and all_ordinary(b.abs().amax(dim=-1)):
            x, s, residual = _least_norm(stored, b, power_below(sizes) if m >= n else None, 1 / limit)
        else:
            x, s = _of_any_size(A, b, 1 / limit, columnwise=m >= n)
        # LAPACK has a zero of either sign.
        condition = torch.nan_to_num(s[:, 0] / s[:, -1].abs(), nan=torch.inf, posinf=torch.inf)
        status = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        if not float(condition.amax()) < limit:
            short, residual = ~(condition < limit), None
            status[short] = int(Status.RANK_DEFICIENT)
            if m >= n:
                x[short] = _of_any_size(A[short], b[short], 1 / limit, columnwise=False)[0]
        trace, iterations = x[None] if record else None, torch.zeros_like(status)
        return LstsqResult(
            x=x, status=status, iterations=iterations, residual_norm=residual, condition=condition, trace=trace
        )


def _of_any_size(
    A: torch.Tensor, b: torch.Tensor, cutoff: float, *, columnwise: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """X and s of `_least_norm`; columns, or else A as a whole, and b are first scaled by powers of two."""
    e, right = exponent(A, -2 if columnwise else (-2, -1)).reshape(len(A), -1), exponent(b, -1).unsqueeze(-1)
    stored = ldexp(A, -e.unsqueeze(-2)).mT.contiguous()
    unit = torch.nan_to_num(power_below(norm(stored)), nan=1.0) if columnwise else None
    x, s, _ = _least_norm(stored, ldexp(b, -right), unit, cutoff)
    return ldexp(x, right - e), s


def _least_norm(
    stored: torch.Tensor, b: torch.Tensor, unit: torch.Tensor | None, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Give x (B, n) of least norm, in the units of A, all singular values, and ‖b − A x‖ where LAPACK tells it."""
    # stored has the columns of A as rows, (B, n, m), of ordinary size. s is of A · diag(1/unit), unit being powers of
    # two, (B, n); what is not above cutoff s₁ counts as zero.
    matrix = (stored if unit is None else stored / unit.unsqueeze(-1)).mT
    rhs, residual = b.unsqueeze(-1), None
    if stored.device.type == "cpu":
        answer = torch.linalg.lstsq(matrix, rhs, rcond=cutoff, driver="gelsd")
        x, s = answer.solution.squeeze(-1), answer.singular_values
        if answer.residuals.numel() and all_ordinary(answer.residuals):
            residual = answer.residuals.squeeze(-1).sqrt()
    else:
        U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
        keep = s > cutoff * s[:, :1]
        weights = torch.where(keep, (U.mT @ rhs).squeeze(-1) / torch.where(keep, s, 1.0), 0.0)
        x = (Vh.mT @ weights.unsqueeze(-1)).squeeze(-1)
    return x if unit is None else x / unit, s, residual
