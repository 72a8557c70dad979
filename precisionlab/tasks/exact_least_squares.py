"""Least squares in double-double arithmetic, in batches: the targets of tasks whose answer is a least-squares solution.

Modified Gram–Schmidt on [A b], without square roots: A = V R with VᵀV diagonal and R unit upper triangular, and the
coefficients of b beside those of A. It is backward stable when b takes part as a column: the solution has the error of
a problem perturbed by about 2⁻¹⁰⁰, so that κ may be as large as 1/u and sixteen digits are left. Where A has fewer rows
than columns, Aᵀ = V R gives the solution of least norm, x = V (VᵀV)⁻¹ R⁻ᵀ b.

Cost: 2 m n² operations of double-double a problem, about 30 of float64 each: for checking targets, not for training.

Reference: Björck, Solving linear least squares problems by Gram–Schmidt orthogonalization, BIT 7 (1967).
"""

import torch

from solvers._core import double_double as dd
from solvers._core.double_double import DD


def solve_exactly(A: torch.Tensor, b: torch.Tensor) -> DD:
    """Solve min_x ‖b − A x‖₂, or find the shortest x with A x = b where A has fewer rows than columns.

    Args:
        A: Matrices of full rank, (B, m, n), float32 or float64.
        b: Right-hand sides, (B, m).

    Returns:
        Solutions, (B, n); NaN where the rank is not full.

    Error:
        About m n κ 2⁻¹⁰⁴ relative, with κ² for the part of b that A does not reach.

    Reference:
        Björck (1967).
    """
    rows, columns = A.shape[-2:]
    right = dd.from_double(b)
    if rows < columns:
        V, R = _orthogonalised(dd.from_double(A), rows)
        weights = dd.divide(_forward(R, right), dd.dot(V, V))
        return dd.total(dd.multiply(V, _last(weights)), dim=1)
    augmented = DD(*(torch.cat([a, r], dim=1) for a, r in zip(dd.from_double(A.mT), _first(right), strict=True)))
    _, R = _orthogonalised(augmented, columns)
    return _backward(R, _at(R, columns))


def _orthogonalised(vectors: DD, count: int) -> tuple[DD, DD]:
    """Make the first of some vectors (B, k, m) orthogonal to one another, and the rest to them.

    Returns:
        The vectors, and what was taken out: R (B, count, k), its row i the multiples of vector i.
    """
    rows = []
    for i in range(count):
        pivot, rest = _part(vectors, i, i + 1), _part(vectors, i + 1, None)
        taken = dd.divide(dd.dot(rest, pivot), dd.dot(pivot, pivot))
        reduced = dd.subtract(rest, dd.multiply(_last(taken), pivot))
        vectors = DD(*(torch.cat([v[:, : i + 1], r], dim=1) for v, r in zip(vectors, reduced, strict=True)))
        rows.append(DD(*(torch.nn.functional.pad(part, (i + 1, 0)) for part in taken)))
    return vectors, DD(*(torch.stack(parts, dim=1) for parts in zip(*rows, strict=True)))


def _backward(R: DD, c: DD) -> DD:
    """Solve R x = c, the first columns of R being unit upper triangular."""
    count = c.hi.shape[-1]
    x = c
    for i in reversed(range(count)):
        column = DD(*(part[:, :, i] * (torch.arange(count, device=part.device) < i) for part in R))
        x = dd.subtract(x, dd.multiply(column, _part(x, i, i + 1)))
    return x


def _forward(R: DD, b: DD) -> DD:
    """Solve Rᵀ x = b, R being unit upper triangular."""
    x = b
    for i in range(b.hi.shape[-1]):
        row = DD(*(part[:, i, : b.hi.shape[-1]] for part in R))
        x = dd.subtract(x, dd.multiply(row, _part(x, i, i + 1)))
    return x


def _part(a: DD, start: int, end: int | None) -> DD:
    return DD(a.hi[:, start:end], a.lo[:, start:end])


def _at(a: DD, column: int) -> DD:
    return DD(a.hi[..., column], a.lo[..., column])


def _first(a: DD) -> DD:
    return DD(a.hi.unsqueeze(1), a.lo.unsqueeze(1))


def _last(a: DD) -> DD:
    return DD(a.hi.unsqueeze(-1), a.lo.unsqueeze(-1))


def solve(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The same in the arithmetic of A and b, by Householder QR.

    Args:
        A: Matrices of full rank, (B, m, n).
        b: Right-hand sides, (B, m).

    Returns:
        Solutions, (B, n).

    Error:
        About m n κ u relative, with κ² for the part of b that A does not reach.
    """
    right = b.unsqueeze(-1)
    if A.shape[-2] < A.shape[-1]:
        Q, R = torch.linalg.qr(A.mT)
        shortest: torch.Tensor = (Q @ torch.linalg.solve_triangular(R.mT, right, upper=False)).squeeze(-1)
        return shortest
    Q, R = torch.linalg.qr(A)
    x: torch.Tensor = torch.linalg.solve_triangular(R, Q.mT @ right, upper=True).squeeze(-1)
    return x
