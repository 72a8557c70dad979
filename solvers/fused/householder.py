"""Batched least squares by Householder QR of [A b], eight problems at a time.

Backward stable like LAPACK's: the same reflections, without scaling inside, so squares must neither over- nor
underflow. Whether they did, what the condition is and how large the residual comes with the answer; the caller judges.
"""

import torch

from solvers._core.rank import condition_of
from solvers._core.triangular import norm
from solvers.fused import fresh, launch, plain


def solve_by_householder(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve min_x ‖b − A x‖₂ for each problem.

    Args:
        A: matrices, (B, m, n), m >= n, float64.
        b: right-hand sides, (B, m).

    Returns:
        x, (B, n), inf or NaN at a zero pivot; R, (B, n, n), upper triangular, signs as in LAPACK; and measures, (6, B):
        the largest and the smallest of the rows' max |a_ij|; ‖R‖_F, the smallest norm of a column of R, and κ as
        `condition_of` has it; ‖b − A x‖, from the part of b that no x reaches.
    """
    batch, _, n = A.shape
    x, R, measures = fresh(A, batch, n), fresh(A, batch, n, n), fresh(A, 6, batch)
    launch("solve_by_householder", plain(A), plain(b), x, R, measures)
    return x, R, measures


def householder_eager(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference, in plain torch; otherwise as `solve_by_householder`."""
    n = A.shape[-1]
    factor = torch.geqrf(torch.cat([A, b.unsqueeze(-1)], dim=-1))[0][:, : n + 1, :]
    R, c = factor[:, :n, :n].triu(), factor[:, :n, n:]
    x = torch.linalg.solve_triangular(R, c, upper=True).squeeze(-1)
    rows, columns = A.abs().amax(dim=-1), torch.linalg.vector_norm(R, dim=-2)
    rest = factor[:, n:, n].abs().sum(dim=-1)  # the pivot of b, where it has one
    extremes = rows.amax(dim=-1), rows.amin(dim=-1), norm(columns), columns.amin(dim=-1)
    return x, R, torch.stack([*extremes, condition_of(R), rest])
