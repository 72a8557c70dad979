"""Least squares by the singular value decomposition: the method that also knows what to do without full rank.

Problem: min_x ‖b − A x‖₂, and among the minimisers the one of least ‖x‖₂; any m and n.
Method: A = U diag(s) Vᵀ, through A = Q R where m >= n; x = Σ (u_jᵀ b / s_j) v_j over the singular values that are not
    rounding, s_j > max(m, n) eps s₁.
Accuracy: normwise backward stable: forward error c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)).
Rank: for m >= n by the rule of `solvers.rank`, so that a column in small units is no dependent column: if the rank is
    full the columns are first brought to one size (the solution is unique, so that changes nothing else) and every s_j
    is kept. Otherwise, and for m < n, A is only scaled as a whole: the least norm depends on the units of the unknowns.
    RANK_DEFICIENT means rank below min(m, n); x is then the minimum-norm solution of the truncated problem.
Cost: a QR factorisation of [A b] where m >= n, then about 12 n³ operations on its n×n factor.

Reference: Golub and Kahan, SIAM J. Numer. Anal. 2 (1965); Björck, Numerical Methods for Least Squares Problems (1996),
section 1.2.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers.products import column_norms, rmatvec
from solvers.rank import deficient_factor
from solvers.result import LstsqResult, Status
from solvers.scaling import exponent, ldexp, scale_columns
from solvers.solver import Solver


@dataclass(frozen=True, kw_only=True)
class SVD(Solver):
    """Singular value decomposition; no options."""

    name: ClassVar[str] = "svd"
    underdetermined: ClassVar[bool] = True

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        m, n = A.shape[-2:]
        right = exponent(b, -1).unsqueeze(-1)
        rhs = ldexp(b, -right)
        overall = exponent(A, (-2, -1)).unsqueeze(-1)
        if m >= n:
            scaled, columns = scale_columns(A)
            factor = torch.geqrf(torch.cat([scaled, rhs.unsqueeze(-1)], dim=-1))[0]
            matrix, rhs = factor[:, :n, :n].triu(), factor[:, :n, n]
            short = deficient_factor(matrix, m, column_norms(matrix))
            # Where the rank is short the columns get their sizes back: the least norm depends on them.
            columns = torch.where(short.unsqueeze(-1), overall, columns)
            matrix = torch.where(short[:, None, None], ldexp(matrix, (exponent(A, -2) - overall).unsqueeze(-2)), matrix)
        else:
            columns, matrix = overall, ldexp(A, -overall.unsqueeze(-1))
            short = torch.zeros(A.shape[0], dtype=torch.bool, device=A.device)
        U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
        genuine = s > max(m, n) * torch.finfo(A.dtype).eps * s[:, :1]
        keep = (genuine if m < n else genuine | ~short.unsqueeze(-1)) & (s > 0)
        weights = torch.where(keep, rmatvec(U, rhs) / torch.where(keep, s, 1.0), 0.0)
        x = ldexp(rmatvec(Vh, weights), right - columns)
        short = short if m >= n else ~genuine.all(dim=-1)
        status = torch.where(short, int(Status.RANK_DEFICIENT), int(Status.CONVERGED))
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)
