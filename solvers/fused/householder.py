"""Batched least squares by Householder QR of [A b], eight problems at a time.

Backward stable like LAPACK's: the same reflections, without scaling inside, so squares must neither over- nor
underflow. Rank is for the caller to judge, from R.
"""

import torch

from solvers.fused import fresh, launch, plain


@torch.library.custom_op("precisionlab::householder", mutates_args=(), device_types=("cpu", "cuda"))
def householder(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve min_x ‖b − A x‖₂ for each problem.

    Args:
        A: matrices, (B, m, n), m >= n, float64.
        b: right-hand sides, (B, m).

    Returns:
        x, (B, n), inf or NaN at a zero pivot; R, (B, n, n), upper triangular, signs as in LAPACK; and the largest and
        the smallest of the rows' max |a_ij|, (B, 2).
    """
    batch, _, n = A.shape
    x, R, rows = fresh(A, batch, n), fresh(A, batch, n, n), fresh(A, batch, 2)
    launch("householder", plain(A), plain(b), x, R, rows)
    return x, R, rows


@householder.register_fake
def _(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del b
    batch, _, n = A.shape
    return A.new_empty(batch, n), A.new_empty(batch, n, n), A.new_empty(batch, 2)


def householder_eager(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference, in plain torch.

    Args:
        A: matrices, (B, m, n), m >= n.
        b: right-hand sides, (B, m).

    Returns:
        As `householder`.
    """
    n = A.shape[-1]
    factor = torch.geqrf(torch.cat([A, b.unsqueeze(-1)], dim=-1))[0][:, :n, :]
    R, c = factor[:, :, :n].triu(), factor[:, :, n:]
    x = torch.linalg.solve_triangular(R, c, upper=True).squeeze(-1)
    sizes = A.abs().amax(dim=-1)
    return x, R, torch.stack([sizes.amax(dim=-1), sizes.amin(dim=-1)], dim=-1)
