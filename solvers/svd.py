"""Least squares by the singular value decomposition: the method that also knows what to do without full rank.

Problem: min_x ‖b − A x‖₂, and among the minimisers the one of least ‖x‖₂; any m and n.
Method: A = U diag(s) Vᵀ; x = Σ (u_jᵀ b / s_j) v_j over the singular values that are not rounding,
    s_j > max(m, n) eps s₁.
Accuracy: normwise backward stable: forward error c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)).
Rank: for m >= n by the rule of `solvers.rank`, so that a column in small units is no dependent column: if the rank is
    full the columns are first brought to one size (the solution is unique, so that changes nothing else) and every s_j
    is kept. Otherwise, and for m < n, A is only scaled as a whole: the least norm depends on the units of the unknowns.
    RANK_DEFICIENT means rank below min(m, n); x is then the minimum-norm solution of the truncated problem.
Cost: about 4 m n² + 8 n³ operations; some 5 times QR.

Reference: Golub and Kahan, SIAM J. Numer. Anal. 2 (1965); Björck, Numerical Methods for Least Squares Problems (1996),
section 1.2.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers.products import rmatvec
from solvers.rank import deficient
from solvers.result import LstsqResult, Status
from solvers.scaling import exponent, ldexp, scale
from solvers.solver import Solver


@dataclass(frozen=True, kw_only=True)
class SVD(Solver):
    """Singular value decomposition; no options."""

    name: ClassVar[str] = "svd"
    underdetermined: ClassVar[bool] = True

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        problem = scale(A, b)
        m, n = A.shape[-2:]
        bad = deficient(A) if m >= n else torch.zeros(A.shape[0], dtype=torch.bool, device=A.device)
        # Equal exponents leave a matrix as `scale` made it.
        free = (~bad).unsqueeze(-1) & (m >= n)
        columns = torch.where(free, exponent(A, -2), problem.matrix_exponent.unsqueeze(-1))
        U, s, Vh = torch.linalg.svd(ldexp(A, -columns.unsqueeze(-2)), full_matrices=False)
        genuine = s > max(m, n) * torch.finfo(A.dtype).eps * s[:, :1]
        keep = genuine | (free & (s > 0))
        weights = torch.where(keep, rmatvec(U, problem.b) / torch.where(keep, s, 1.0), 0.0)
        x = ldexp(rmatvec(Vh, weights), problem.right_exponent.unsqueeze(-1) - columns)
        short = bad if m >= n else ~genuine.all(dim=-1)
        status = torch.where(short, int(Status.RANK_DEFICIENT), int(Status.CONVERGED))
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)
