"""Least squares by Householder QR: the standard that other methods are measured against.

Problem: min_x ‖b − A x‖₂, m >= n, full column rank.
Method: [A b] = Q R by Householder reflections, then back substitution with the leading n×n block and the last column.
The reflections reach b as one more column, so Q is never formed.
Accuracy: normwise backward stable: x is exact for A + E, b + f with ‖E‖ <= c m n u ‖A‖, column by column; so the
forward error is c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)). Where the rows of A differ in size by more than 2¹⁰, rows are sorted
by size and columns by norm first, and E is small row by row as well: Wampler's polynomials gain up to a digit.
Rank: by the rule of `solvers._core.rank`. A rank-deficient problem still gets the x that elimination yields (NaN at an
exact zero pivot): it minimises a nearby problem, as one of many.
Cost: 2 m n² − 2n³/3 operations; in a batch of 20×5 about 1 µs each on a CPU core, and a tenth of that where the fused
kernel takes the problems (float64, CPU, few columns).

Reference: Golub, Numerical methods for solving linear least squares problems, Numer. Math. 7 (1965); Cox and Higham,
Stability of Householder QR factorization for weighted least squares problems (1998), for the sorting.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers import fused
from solvers._core.arrays import require_choice
from solvers._core.rank import condition_of, deficient_factor
from solvers._core.scaling import exponent, ldexp, ordinary, scale_columns
from solvers._core.triangular import back_substitute
from solvers.fused import BACKENDS, Backend
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

_GRADED = 2.0**10


@dataclass(frozen=True, kw_only=True)
class QR(Solver):
    """Householder QR.

    Args:
        backend: "eager" is LAPACK's; "fused" one kernel for a batch of small problems; "auto" takes the kernel where it
            can run. They agree to rounding, not to the bit.
    """

    name: ClassVar[str] = "qr"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        x, bad, condition, residual, special = _factor_and_solve(A, b, self.backend)
        if bool(special.any()):
            where = torch.nonzero(special).squeeze(-1)
            x[where], bad[where], condition[where] = _careful(A[where], b[where], self.backend)
        # In a deficient problem x is large, and its rounding larger than what no x reaches.
        residual = torch.where(ordinary(residual) & ~bad & ~special, residual, torch.nan)
        status = torch.where(bad, int(Status.RANK_DEFICIENT), int(Status.CONVERGED))
        return LstsqResult(
            x=x,
            status=status,
            iterations=torch.zeros_like(status),
            residual_norm=residual,
            condition=condition,
            trace=x[None] if record else None,
        )


def _factor_and_solve(
    A: torch.Tensor, b: torch.Tensor, backend: Backend
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The method on problems of ordinary size.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        backend: "eager", "fused" or "auto".

    Returns:
        Solutions, which matrices are rank-deficient, their κ, ‖b − A x‖, and which problems need scaling or sorting.
    """
    m, n = A.shape[-2:]
    if fused.chosen(backend, A, b, columns=n, entries=m * n, gpu=("solve_by_householder", m, n)):
        from solvers.fused.householder import householder

        x, R, measures = householder(A, b)
        largest, smallest, size, least, condition, residual = measures.unbind()
    else:
        factor = torch.geqrf(torch.cat([A, b.unsqueeze(-1)], dim=-1))[0]
        R = factor[:, :n, :n]
        x = back_substitute(R, factor[:, :n, n])
        residual = factor[:, n, n].abs() if m > n else torch.zeros_like(x[:, 0])
        largest, smallest = _row_extremes(A)
        size, least, condition = _measured(R)
    usual = ordinary(size) & ordinary(least)
    return x, deficient_factor(R, m, condition), condition, residual, (largest > _GRADED * smallest) | ~usual


def _measured(R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """‖R‖_F, the smallest norm of a column of R, and κ, (B,) each."""
    sizes = torch.linalg.vector_norm(R.triu(), dim=-2)
    return torch.linalg.vector_norm(sizes, dim=-1), sizes.amin(dim=-1), condition_of(R)


def _row_extremes(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much the rows of a matrix differ in size.

    Args:
        A: matrices, (B, m, n).

    Returns:
        The largest and the smallest of the rows' max |a_ij|, (B,) each.
    """
    magnitudes = A.abs()
    rows = magnitudes[..., 0]
    for j in range(1, A.shape[-1]):
        rows = torch.maximum(rows, magnitudes[..., j])
    return rows.amax(dim=-1), rows.amin(dim=-1)


def _careful(A: torch.Tensor, b: torch.Tensor, backend: Backend) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The method on problems of extraordinary size: columns scaled by powers of two, rows and columns sorted.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        backend: "eager", "fused" or "auto".

    Returns:
        Solutions, which matrices are rank-deficient, and their κ.
    """
    m, n = A.shape[-2:]
    sizes = ldexp(A, -exponent(A, (-2, -1))[:, None, None]).abs().amax(dim=-1)
    # Problems that are here for their range alone keep their order, and so the bits that any other scale gives them.
    graded = (sizes.amax(dim=-1) > _GRADED * sizes.amin(dim=-1)).unsqueeze(-1)
    rows = torch.where(graded, sizes, 0.0).argsort(dim=-1, descending=True, stable=True)
    scaled, column_exponent = scale_columns(A)
    norms = torch.linalg.vector_norm(scaled, dim=-2).double().log2() + column_exponent
    columns = torch.where(graded, norms, 0.0).argsort(dim=-1, descending=True, stable=True)
    right_exponent = exponent(b, -1)
    right = ldexp(b, -right_exponent.unsqueeze(-1)).gather(-1, rows)
    matrix = scaled.gather(-2, rows.unsqueeze(-1).expand(-1, m, n)).gather(-1, columns.unsqueeze(-2).expand(-1, m, n))
    sorted_x, bad, condition, *_ = _factor_and_solve(matrix, right, backend)
    x = torch.empty_like(sorted_x).scatter_(-1, columns, sorted_x)
    return ldexp(x, right_exponent.unsqueeze(-1) - column_exponent), bad, condition
