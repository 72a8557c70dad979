"""Batched products, residuals and triangular solves, for matrices (B, m, n) and vectors (B, k)."""

import torch

from solvers._core.operators import Matrix, Operator
from solvers._core.scaling import all_ordinary, exponent, ldexp


def matvec(A: Matrix, x: torch.Tensor) -> torch.Tensor:
    """A x, (B, m)."""
    if isinstance(A, Operator):
        return A.matvec(x)
    product: torch.Tensor = (A @ x.unsqueeze(-1)).squeeze(-1)
    return product


def rmatvec(A: Matrix, r: torch.Tensor) -> torch.Tensor:
    """Aᵀ r, (B, n)."""
    return A.rmatvec(r) if isinstance(A, Operator) else matvec(A.mT, r)


def norm(values: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm along the last dimension, of values of size about 1."""
    length: torch.Tensor = torch.linalg.vector_norm(values, dim=-1)
    return length


def residual(A: Matrix, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Residuals b − A x, (B, m)."""
    if isinstance(A, Operator):
        return b - A.matvec(x)
    return torch.baddbmm(b.unsqueeze(-1), A, x.unsqueeze(-1), alpha=-1).squeeze(-1)


def residual_norm(A: Matrix, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """‖b − A x‖₂, (B,), of problems of any size; inf where x is not finite or the norm overflows."""
    r = residual(A, b, x)
    size = norm(r)
    if all_ordinary(size):
        return size
    finite = torch.isfinite(r).all(dim=-1)
    right = torch.zeros_like(size, dtype=torch.int64)
    far = ~finite & torch.isfinite(x).all(dim=-1)
    if bool(far.any()) and not isinstance(A, Operator):
        # Terms of A x that overflow: every column, and b, in powers of two of its own size.
        columns = exponent(A[far], -2)
        terms = torch.where(x[far] == 0, 0, exponent(x[far].unsqueeze(-1), -1) + columns)
        top = torch.maximum(exponent(b[far], -1), terms.amax(dim=-1))
        unit = ldexp(A[far], -columns.unsqueeze(-2))
        r[far] = residual(unit, ldexp(b[far], -top[:, None]), ldexp(x[far], columns - top[:, None]))
        right[far], finite = top, finite | far
    own = exponent(torch.where(finite[:, None], r, 0.0), -1)
    size = ldexp(norm(ldexp(r, -own[:, None])), own + right)
    return torch.where(finite, size, torch.inf)


def back_substitute(R: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Solve R x = c, (B, n), for upper R, whose lower triangle is not read; to |E| <= n u |R|, inf at a zero pivot."""
    x: torch.Tensor = torch.linalg.solve_triangular(R, c.unsqueeze(-1), upper=True).squeeze(-1)
    return x


def forward_substitute(R: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Solve Rᵀ z = c for upper triangular R; otherwise as `back_substitute`."""
    z: torch.Tensor = torch.linalg.solve_triangular(R.mT, c.unsqueeze(-1), upper=False).squeeze(-1)
    return z


def divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Quotient a / b, and 0 where b is 0: the Krylov space has ended, and there is no further direction."""
    return (a / b).masked_fill(b == 0, 0.0)
