"""Batched least squares by the normal equations, AᵀA = RᵀR, eight problems at a time.

Squares must neither over- nor underflow. Whether they did, and whether a pivot was lost to rounding, the caller judges,
by what comes with the answer.
"""

import torch

from solvers._core.rank import condition_of
from solvers._core.triangular import norm, residual
from solvers.fused import fresh, launch, plain


def solve_by_cholesky(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve AᵀA x = Aᵀb for each problem.

    Args:
        A: matrices, (B, m, n), m >= n, float64.
        b: right-hand sides, (B, m).

    Returns:
        x, (B, n); R, (B, n, n), upper triangular, NaN from a pivot on that is not positive; and measures, (4, B):
        ‖R‖_F, the smallest norm of a column of R, κ as `condition_of` has it, and ‖b − A x‖.
    """
    batch, _, n = A.shape
    x, R, measures = fresh(A, batch, n), fresh(A, batch, n, n), fresh(A, 4, batch)
    launch("solve_by_cholesky", plain(A), plain(b), x, R, measures)
    return x, R, measures


def cholesky_eager(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference, in plain torch; otherwise as `solve_by_cholesky`."""
    G = A.mT @ A
    R, failed = torch.linalg.cholesky_ex(G, upper=True)
    if bool(failed.any()):
        R = torch.where((failed != 0)[:, None, None], torch.nan, R)
    x = torch.cholesky_solve(A.mT @ b.unsqueeze(-1), R, upper=True).squeeze(-1)
    columns = torch.linalg.vector_norm(R, dim=-2)
    return x, R, torch.stack([norm(columns), columns.amin(dim=-1), condition_of(R), norm(residual(A, b, x))])
