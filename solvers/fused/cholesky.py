"""Batched least squares by the normal equations, AᵀA = RᵀR, eight problems at a time.

Squares must neither over- nor underflow. Whether a pivot was lost to rounding is for the caller to judge, from R.
"""

import torch

from solvers.fused import fresh, launch, plain


@torch.library.custom_op("precisionlab::cholesky", mutates_args=(), device_types="cpu")
def cholesky(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Solve AᵀA x = Aᵀb for each problem.

    Args:
        A: matrices, (B, m, n), m >= n, float64.
        b: right-hand sides, (B, m).

    Returns:
        x, (B, n); R, (B, n, n), upper triangular, NaN from a pivot on that is not positive; and the diagonal of AᵀA,
        (B, n).
    """
    batch, _, n = A.shape
    x, R, squares = fresh(A, batch, n), fresh(A, batch, n, n), fresh(A, batch, n)
    launch("cholesky", plain(A), plain(b), x, R, squares)
    return x, R, squares


@cholesky.register_fake
def _(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del b
    batch, _, n = A.shape
    return A.new_empty(batch, n), A.new_empty(batch, n, n), A.new_empty(batch, n)


def cholesky_eager(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference, in plain torch.

    Args:
        A: matrices, (B, m, n), m >= n.
        b: right-hand sides, (B, m).

    Returns:
        As `cholesky`, R being what LAPACK leaves of it where a pivot is not positive.
    """
    G = A.mT @ A
    R = torch.linalg.cholesky_ex(G, upper=True)[0]
    x = torch.cholesky_solve(A.mT @ b.unsqueeze(-1), R, upper=True).squeeze(-1)
    return x, R, G.diagonal(dim1=-2, dim2=-1).contiguous()
