"""The Karlson–Waldén estimate, by orthogonalisation in double-double.

Problem: how far must A move for x to be its least-squares solution? Near the solution the answer is u-sized while r is
not: Aᵀr is all cancellation, and a float64 projection of r would return the rounding of its own factors.
Method: with ν = ‖r‖/‖x‖, the estimate is ‖P [r; 0]‖ / (‖x‖ ‖A‖_F), P the projector on range [A; νI]. P is applied by
modified Gram–Schmidt on [A r; νI 0], every operation in double-double; columns are brought to size 1 by powers of two,
which leaves the range alone.
Accuracy: modified Gram–Schmidt on the augmented matrix is backward stable: relative error κ u² ‖r‖ / ‖P [r; 0]‖.

Reference: Karlson and Waldén, BIT 37 (1997); Grcar, Saunders and Su (2007), section 4.
"""

import torch

from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers._core.scaling import exponent, ldexp, scale_columns

_CHUNK_ENTRIES = 1 << 21
_FAR_FROM_SOLUTION = 60
"""Where ‖r‖/‖x‖ exceeds 2⁶⁰ ‖A‖, AᵀA is below the rounding of the term beside it."""


def karlson_walden(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The estimate relative to ‖A‖_F, in bounded memory.

    Args:
        A: matrices, (P, m, n), float64.
        b: right-hand sides, (P, m).
        x: answers, (P, n), finite.

    Returns:
        (P,), float64.
    """
    m, n = A.shape[-2:]
    size = max(1, _CHUNK_ENTRIES // ((m + n) * (n + 1)))
    chunks = zip(torch.split(A, size), torch.split(b, size), torch.split(x, size), strict=True)
    parts = [_chunk(*chunk) for chunk in chunks]
    return torch.cat(parts) if parts else A.new_zeros(0)


def _chunk(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    r, r_exponent = dd.residual(A, b, dd.from_double(x))
    A_exponent, x_exponent = exponent(A, (-2, -1)), exponent(x, -1)
    scaled = ldexp(A, -A_exponent[:, None, None])
    A_norm = torch.linalg.vector_norm(scaled, dim=(-2, -1))
    x_norm = torch.linalg.vector_norm(ldexp(x, -x_exponent[:, None]), dim=-1)
    r_norm = dd.norm(r).hi
    # ν in units of the scaled A. x = 0, or nearly so, is the limit ν → ∞: ‖Aᵀr‖ / (‖r‖ ‖A‖_F).
    far = (x_norm == 0) | (r_exponent - x_exponent - A_exponent > _FAR_FROM_SOLUTION)
    gap = torch.where(far, 0, r_exponent - x_exponent - A_exponent)
    nu = ldexp(r_norm / torch.where(x_norm == 0, 1.0, x_norm), gap)
    near = _projection(scaled, r, nu) / torch.where(x_norm == 0, 1.0, x_norm)
    close = ldexp(near, gap)
    distant = dd.norm(dd.matvec(scaled.mT, r)).hi / torch.where(r_norm == 0, 1.0, r_norm)
    estimate = torch.where(far, distant, close) / torch.where(A_norm == 0, 1.0, A_norm)
    return torch.where((r_norm == 0) | (A_norm == 0), 0.0, estimate)


def _projection(A: torch.Tensor, r: DD, nu: torch.Tensor) -> torch.Tensor:
    """The length of the projection of [r; 0] on range [A; νI].

    Args:
        A: matrices, (P, m, n), of size 1.
        r: residuals, (P, m).
        nu: ν, (P,).

    Returns:
        (P,).
    """
    n = A.shape[-1]
    damping = nu[:, None, None] * torch.eye(n, dtype=A.dtype, device=A.device)
    stacked, _ = scale_columns(torch.cat([A, damping], dim=-2))
    # Columns as rows, so that the sums run along the last dimension.
    Q = dd.from_double(stacked.mT.contiguous())
    pad = torch.zeros_like(A[:, 0, :])
    rest = DD(torch.cat([r.hi, pad], dim=-1), torch.cat([r.lo, pad], dim=-1))
    squares = dd.from_double(torch.zeros_like(nu))
    for k in range(n):
        q = DD(Q.hi[:, k], Q.lo[:, k])
        square = dd.dot(q, q)
        empty = square.hi == 0
        square = DD(torch.where(empty, 1.0, square.hi), square.lo)
        along = dd.dot(q, rest)
        factor = dd.divide(along, square)
        squares = dd.add(squares, dd.multiply(along, factor))
        rest = dd.subtract(rest, dd.multiply(_column(factor), q))
        if k + 1 < n:
            others = DD(Q.hi[:, k + 1 :], Q.lo[:, k + 1 :])
            row = DD(q.hi.unsqueeze(-2), q.lo.unsqueeze(-2))
            factors = dd.divide(dd.dot(others, row), _column(square))
            others = dd.subtract(others, dd.multiply(_column(factors), row))
            Q = DD(torch.cat([Q.hi[:, : k + 1], others.hi], dim=1), torch.cat([Q.lo[:, : k + 1], others.lo], dim=1))
    return dd.sqrt(DD(squares.hi.clamp(min=0.0), squares.lo)).hi


def _column(a: DD) -> DD:
    return DD(a.hi.unsqueeze(-1), a.lo.unsqueeze(-1))
