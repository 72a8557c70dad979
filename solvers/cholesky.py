"""Least squares by the normal equations: the cheapest method, and the one that squares the condition number.

Problem: min_x ‖b − A x‖₂, m >= n, full column rank.
Method: AᵀA = RᵀR by Cholesky's factorisation; Rᵀ z = Aᵀb, R x = z. Bringing the columns of A to one size by powers of
    two would change no bit of it, and is done only where squares would over- or underflow.
Accuracy: forward error c u κ² with κ that of the scaled columns, whatever the residual. The backward error can still
    be small, and says nothing: Longley has 1e-18 and seven digits.
Rank: forming AᵀA loses what is below √u. Where a pivot is at the level of rounding, r_jj² <= max(m, n) eps ‖a_j‖², or
    R with its columns brought to one size has σ_min² <= n eps σ_max² (computed where r_jj² <= √eps ‖a_j‖² leaves
    doubt), the problem is RANK_DEFICIENT if A is so by the rule of `solvers._core.rank`, and BREAKDOWN otherwise: κ is
    beyond 1/√u, a case for methods that keep to A.
Cost: m n² + n³/3 operations, half of QR; in a batch of 20×5 about 0.4 µs each on two cores where the fused kernel
takes the problems (float64, CPU, few columns).

Reference: Björck, Numerical Methods for Least Squares Problems (1996), section 2.2; Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed. (2002), section 20.4.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers import fused
from solvers._core.arrays import require_choice
from solvers._core.rank import condition_of, deficient_factor, triangular_factor
from solvers._core.scaling import exponent, ldexp, ordinary, scale_columns
from solvers._core.triangular import back_substitute, forward_substitute, rmatvec
from solvers.fused import BACKENDS, Backend
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver


@dataclass(frozen=True, kw_only=True)
class Cholesky(Solver):
    """Normal equations.

    Args:
        backend: "eager" is LAPACK's; "fused" one kernel for a batch of small problems; "auto" takes the kernel where it
            can run. They agree to rounding, not to the bit.
    """

    name: ClassVar[str] = "cholesky"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    condition_power: ClassVar[int] = 2
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        x, lost, condition, residual, special = _normal_equations(A, b, self.backend)
        if bool(special.any()):
            # Columns scaled by powers of two have the bits that they have at any other scale.
            where = torch.nonzero(special).squeeze(-1)
            scaled, columns = scale_columns(A[where])
            right = exponent(b[where], -1).unsqueeze(-1)
            solution, lost[where], condition[where], *_ = _normal_equations(
                scaled, ldexp(b[where], -right), self.backend
            )
            x[where] = ldexp(solution, right - columns)
        status = torch.where(lost, int(Status.BREAKDOWN), int(Status.CONVERGED))
        if bool(lost.any()):
            where = torch.nonzero(lost).squeeze(-1)
            R = triangular_factor(A[where])
            condition[where] = condition_of(R)
            bad = deficient_factor(R, A.shape[-2], condition[where])
            verdict = torch.where(bad, int(Status.RANK_DEFICIENT), int(Status.BREAKDOWN))
            status = status.index_put((where,), verdict)
        return LstsqResult(
            x=x,
            status=status,
            iterations=torch.zeros_like(status),
            residual_norm=torch.where(ordinary(residual) & ~lost & ~special, residual, torch.nan),
            condition=condition,
            trace=x[None] if record else None,
        )


def _normal_equations(
    A: torch.Tensor, b: torch.Tensor, backend: Backend
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The method on problems of ordinary size.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        backend: "eager", "fused" or "auto".

    Returns:
        Solutions, which factorisations lost a pivot to rounding, κ of the factors, ‖b − A x‖, and which problems need
        scaling.
    """
    (m, n), eps = A.shape[-2:], torch.finfo(A.dtype).eps
    if fused.chosen(backend, A, b, columns=n, entries=m * n):
        from solvers.fused.cholesky import cholesky

        x, R, measures = cholesky(A, b)
        size, least, pivot, condition, residual = measures.unbind()
    else:
        x, R, squares = _eager(A, b)
        size, least = squares.sum(dim=-1).sqrt(), squares.amin(dim=-1).sqrt()
        pivot = (R.diagonal(dim1=-2, dim2=-1).square() / squares).amin(dim=-1)
        condition, residual = condition_of(R), torch.full_like(size, torch.nan)
    lost = ~(pivot > max(m, n) * eps)
    # One pivot at the level of rounding is proof, and none is no proof: two small ones amplify each other's errors.
    small = (pivot <= math.sqrt(eps)) & torch.isfinite(size) & ~lost
    if bool(small.any()):
        s = torch.linalg.svdvals(scale_columns(R[small].triu())[0])
        lost[small] = s[:, -1].square() <= n * eps * s[:, 0].square()
    largest = b.abs().amax(dim=-1)
    usual = ordinary(size) & ordinary(least) & (ordinary(largest) | (largest == 0))
    return x, lost, condition, residual, ~usual


def _eager(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """LAPACK's factorisation: x; R, NaN where a pivot was not positive; and the diagonal of AᵀA."""
    G = A.mT @ A
    factor, failed = torch.linalg.cholesky_ex(G)
    R = torch.where((failed != 0)[:, None, None], torch.nan, factor.mT)
    return back_substitute(R, forward_substitute(R, rmatvec(A, b))), R, G.diagonal(dim1=-2, dim2=-1)
