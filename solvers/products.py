"""Batched products and triangular solves whose bits do not depend on the batch around a problem.

A library may switch its algorithm with the number of problems, or with where in memory one begins. Solving a problem
alone and solving it in a batch would then differ in the last bits, and no stopping rule could be trusted to stop at the
same iteration. What is here keeps one order of operations: matrix–vector products only, and elimination by columns.
"""

import torch

from solvers.linear_operator import Matrix, Operator


def matvec(A: Matrix, x: torch.Tensor) -> torch.Tensor:
    """A x.

    Args:
        A: (B, m, n).
        x: (B, n).

    Returns:
        (B, m).
    """
    if isinstance(A, Operator):
        return A.matvec(x)
    if A.shape[0] == 1:
        # A batch of one goes through another routine, with another order of summation; a batch of two does not.
        return matvec(A.repeat(2, 1, 1), x.repeat(2, 1))[:1]
    product: torch.Tensor = (A @ x.unsqueeze(-1)).squeeze(-1)
    return product


def rmatvec(A: Matrix, r: torch.Tensor) -> torch.Tensor:
    """Aᵀ r.

    Args:
        A: (B, m, n).
        r: (B, m).

    Returns:
        (B, n).
    """
    return A.rmatvec(r) if isinstance(A, Operator) else matvec(A.mT, r)


def gram(A: torch.Tensor) -> torch.Tensor:
    """AᵀA, column by column.

    Args:
        A: (B, m, n).

    Returns:
        (B, n, n), symmetric.
    """
    columns = [rmatvec(A, A[..., j].contiguous()) for j in range(A.shape[-1])]
    lower = torch.stack(columns, dim=-1).tril()
    symmetric: torch.Tensor = lower + lower.tril(-1).mT
    return symmetric


def norm(values: torch.Tensor) -> torch.Tensor:
    """The Euclidean norm along the last dimension, of values of size about 1.

    Args:
        values: (B, k).

    Returns:
        (B,).
    """
    length: torch.Tensor = torch.linalg.vector_norm(values, dim=-1)
    return length


def back_substitute(R: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Solve R x = c for upper triangular R.

    Args:
        R: (B, n, n); the strict lower triangle is not read.
        c: (B, n).

    Returns:
        (B, n); inf or NaN where a pivot is zero.

    Error:
        (R + E) x = c with |E| <= n u |R|.
    """
    # The batch runs along contiguous memory, so each of the n steps is one pass over vectors.
    triangle, rest = R.permute(1, 2, 0).contiguous(), c.T.contiguous().clone()
    for i in range(R.shape[-1] - 1, -1, -1):
        rest[i] /= triangle[i, i]
        if i:
            rest[:i] -= triangle[:i, i] * rest[i]
    return rest.T.contiguous()


def forward_substitute(R: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Solve Rᵀ z = c for upper triangular R.

    Args:
        R: (B, n, n); the strict lower triangle is not read.
        c: (B, n).

    Returns:
        (B, n); inf or NaN where a pivot is zero.

    Error:
        (R + E)ᵀ z = c with |E| <= n u |R|.
    """
    triangle, rest = R.permute(2, 1, 0).contiguous(), c.T.contiguous().clone()
    for i in range(R.shape[-1]):
        rest[i] /= triangle[i, i]
        rest[i + 1 :] -= triangle[i + 1 :, i] * rest[i]
    return rest.T.contiguous()


def column_norms(R: torch.Tensor) -> torch.Tensor:
    """The Euclidean norms of the columns of upper triangular matrices.

    Args:
        R: (B, n, n); the strict lower triangle is not read.

    Returns:
        (B, n); the norms of the columns of the matrices whose triangular factors these are.
    """
    squares = R.permute(1, 2, 0).contiguous().square()
    return torch.stack([squares[: j + 1, j].sum(dim=0) for j in range(R.shape[-1])], dim=-1).sqrt()


def divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Quotient a / b, and 0 where b is 0: the Krylov space has ended, and there is no further direction.

    Args:
        a: any.
        b: broadcast against a.

    Returns:
        The quotient.
    """
    empty = b == 0
    return torch.where(empty, 0.0, a / torch.where(empty, 1.0, b))
