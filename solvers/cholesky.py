"""Least squares by the normal equations: the cheapest method, and the one that squares the condition number.

Problem: min_x ‖b − A x‖₂, m >= n, full column rank.
Method: AᵀA = RᵀR by Cholesky's factorisation, the columns of A first brought to one size; Rᵀ z = Aᵀb, R x = z.
Accuracy: forward error c u κ² with κ that of the scaled columns, whatever the residual. The backward error can still
    be small, and says nothing: Longley has 1e-18 and seven digits.
Rank: forming AᵀA loses what is below √u. Where a pivot is at the level of rounding the problem is RANK_DEFICIENT if A
    is so by the rule of `solvers.rank`, and BREAKDOWN otherwise: κ is beyond 1/√u, a case for methods that keep to A.
Cost: m n² + n³/3 operations, half of QR.

Reference: Björck, Numerical Methods for Least Squares Problems (1996), section 2.2; Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed. (2002), section 20.4.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers.products import back_substitute, forward_substitute, gram, rmatvec
from solvers.rank import deficient
from solvers.result import LstsqResult, Status
from solvers.scaling import exponent, ldexp, scale_columns
from solvers.solver import Solver


@dataclass(frozen=True, kw_only=True)
class Cholesky(Solver):
    """Normal equations; no options."""

    name: ClassVar[str] = "cholesky"
    condition_power: ClassVar[int] = 2

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        scaled, columns = scale_columns(A)
        right = exponent(b, -1).unsqueeze(-1)
        G = gram(scaled)
        L, failed = torch.linalg.cholesky_ex(G)
        R = L.mT
        z = forward_substitute(R, rmatvec(scaled, ldexp(b, -right)))
        x = ldexp(back_substitute(R, z), right - columns)
        noise = max(A.shape[-2:]) * torch.finfo(A.dtype).eps
        pivots, sizes = R.diagonal(dim1=-2, dim2=-1), G.diagonal(dim1=-2, dim2=-1)
        lost = (failed != 0) | (pivots.square() <= noise * sizes).any(dim=-1)
        status = torch.where(lost, int(Status.BREAKDOWN), int(Status.CONVERGED))
        if bool(lost.any()):
            where = torch.nonzero(lost).squeeze(-1)
            verdict = torch.where(deficient(A[where]), int(Status.RANK_DEFICIENT), int(Status.BREAKDOWN))
            status = status.index_put((where,), verdict)
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)
