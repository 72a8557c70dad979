"""Problems laid out so that a library gives each of them the same bits wherever it stands in a batch.

The kernels of a BLAS choose their instructions by where in memory a matrix begins. In a batch of 7×7 matrices, every
other one begins in the middle of a cache line, and its singular values differ in the last bit from those that it has
alone. Rows of zeros change neither the problem nor its solution, and bring every problem to the start of a line.
"""

import torch

LINE = 64
"""Bytes: of a cache line, and of the widest vector register."""

_UNBLOCKED = 16
"""Columns up to which a factorisation takes no blocks."""


def padded(length: int, dtype: torch.dtype) -> int:
    """The next length that fills whole lines.

    Args:
        length: at least 1.
        dtype: of the numbers.

    Returns:
        A multiple of the numbers in a line.
    """
    line = LINE // dtype.itemsize
    return -(-length // line) * line


def aligned_columns(A: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """Matrices stored by columns, rows of zeros below.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m), to be a last column, or None.

    Returns:
        The transposes, (B, n, m') or (B, n + 1, m'), contiguous, with m' a whole number of lines.
    """
    B, m, n = A.shape
    out = A.new_zeros(B, n + (b is not None), padded(m, A.dtype))
    out[:, :n, :m] = A.mT
    if b is not None:
        out[:, n, :m] = b
    return out


def singular_values(A: torch.Tensor) -> torch.Tensor:
    """Singular values that do not depend on a matrix's place in its batch.

    Args:
        A: matrices, (B, m, n).

    Returns:
        (B, min(m, n)), largest first.
    """
    s: torch.Tensor = torch.linalg.svdvals(aligned_columns(A).mT)
    return s[:, : min(A.shape[-2:])]


def aligned_vectors(b: torch.Tensor) -> torch.Tensor:
    """Vectors with zeros behind.

    Args:
        b: (B, m).

    Returns:
        (B, m'), contiguous, with m' a whole number of lines.
    """
    out = b.new_zeros(b.shape[0], padded(b.shape[1], b.dtype))
    out[:, : b.shape[1]] = b
    return out


def aligned_system(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[A b] with columns of zeros behind, as few as make every problem and its product with Aᵀ begin a line.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).

    Returns:
        (B, m, k), k > n.
    """
    B, m, n = A.shape
    line = LINE // A.dtype.itemsize
    k = next(k for k in range(n + 1, n + line + 1) if not (m * k % line or n * k % line))
    out = A.new_zeros(B, m, k)
    out[..., :n] = A
    out[..., n] = b
    return out


def aligned_gram(G: torch.Tensor) -> torch.Tensor:
    """Symmetric matrices as a library's factorisation is to see them.

    Args:
        G: (B, n, n).

    Returns:
        (B, n', n') with n' a whole number of lines, bordered by the identity, whose factor has that of G in its leading
        block; G itself where it is so small that libraries factor it column by column.
    """
    B, n, _ = G.shape
    if n <= _UNBLOCKED:
        return G
    wide = padded(n, G.dtype)
    out = torch.eye(wide, dtype=G.dtype, device=G.device).repeat(B, 1, 1)
    out[:, :n, :n] = G
    return out
