"""Least squares by the singular value decomposition: the method that also knows what to do without full rank.

Problem: min_x ‖b − A x‖₂, and among the minimisers the one of least ‖x‖₂; any m and n.
Method: A = U diag(s) Vᵀ, through A = Q R where m >= n; x = Σ (u_jᵀ b / s_j) v_j over the singular values that are not
    rounding, s_j > max(m, n) eps s₁.
Accuracy: normwise backward stable: forward error c u κ (1 + (‖b‖ + κ‖r‖)/(‖A‖‖x‖)).
Rank: for m >= n by the rule of `solvers._core.rank`, so that a column in small units is no dependent column: if the
    rank is full the columns are first brought to one size (the solution is unique, so that changes nothing else) and
    every s_j is kept. Otherwise, and for m < n, A is only scaled as a whole: the least norm depends on the units of the
    unknowns. RANK_DEFICIENT means rank below min(m, n); x is then the minimum-norm solution of the truncated problem.
Cost: that of LAPACK's gelsd on A, divide and conquer after a QR factorisation. Where the singular values leave doubt
    about the rank (σ_min <= √eps σ_max), or columns differ in size by more than 16, a second one, on the triangular
    factor.

Reference: Golub and Kahan, SIAM J. Numer. Anal. 2 (1965); Björck, Numerical Methods for Least Squares Problems (1996),
section 1.2.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from solvers._core.alignment import aligned_columns, aligned_vectors, padded
from solvers._core.rank import condition_of, deficient_factor
from solvers._core.scaling import exponent, ldexp, ordinary, scale_columns
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

_EVEN = 16.0
"""How much the columns may differ in size without being brought to one."""


@dataclass(frozen=True, kw_only=True)
class SVD(Solver):
    """Singular value decomposition; no options."""

    name: ClassVar[str] = "svd"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    underdetermined: ClassVar[bool] = True

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        stored, rhs, sizes = _stored(A, b)
        shift = None
        far = ~(ordinary(sizes.amax(dim=0)) & (ordinary(_largest(b)) | (b == 0).all(dim=-1)))
        if bool(far.any()):
            # Powers of two leave every bit as another scale would have it.
            matrix, right = (torch.where(far, exponent(part.flatten(1), -1), 0) for part in (A, b))
            A, b, shift = ldexp(A, -matrix[:, None, None]), ldexp(b, -right[:, None]), right - matrix
            stored, rhs, sizes = _stored(A, b)
        x, s = _least_norm(stored, rhs, A.shape[-1], _cutoff(A))
        short = s[:, min(A.shape[-2:]) - 1] <= _cutoff(A) * s[:, 0]
        if A.shape[-2] >= A.shape[-1]:
            x, short = _settled(A, b, x, s, sizes)
        x = x if shift is None else ldexp(x, shift[:, None])
        status = torch.where(short, int(Status.RANK_DEFICIENT), int(Status.CONVERGED))
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)


def _cutoff(A: torch.Tensor) -> float:
    return max(A.shape[-2:]) * torch.finfo(A.dtype).eps


def _largest(b: torch.Tensor) -> torch.Tensor:
    return b.abs().amax(dim=-1)


def _stored(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A problem as the library is to see it.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).

    Returns:
        The matrices by columns, (B, n', m'), the right-hand sides, (B, m'), and the norms of the columns, (n, B).
    """
    m, n = A.shape[-2:]
    stored = aligned_columns(A)
    sizes = torch.linalg.vector_norm(stored, dim=-1).T.contiguous()
    if m < n:
        # The library stores the n unknowns where b was: they too have to fill whole lines.
        stored = torch.cat([stored, stored.new_zeros(len(A), padded(n, A.dtype) - n, stored.shape[-1])], dim=-2)
    return stored, aligned_vectors(b), sizes


def _least_norm(stored: torch.Tensor, rhs: torch.Tensor, n: int, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The minimum-norm solution over the singular values above the cutoff.

    Args:
        stored: matrices by columns, (B, n', m').
        rhs: right-hand sides, (B, m').
        n: unknowns.
        cutoff: singular values up to this times the largest are taken for zero.

    Returns:
        Solutions, (B, n), and singular values, falling.
    """
    if stored.device.type == "cpu":
        answer = torch.linalg.lstsq(stored.mT, rhs.unsqueeze(-1), rcond=cutoff, driver="gelsd")
        return answer.solution[:, :n, 0].contiguous(), answer.singular_values
    U, s, Vh = torch.linalg.svd(stored.mT, full_matrices=False)
    keep = s > cutoff * s[:, :1]
    weights = torch.where(keep, (U.mT @ rhs.unsqueeze(-1)).squeeze(-1) / torch.where(keep, s, 1.0), 0.0)
    return (Vh.mT @ weights.unsqueeze(-1))[:, :n, 0].contiguous(), s


def _settled(
    A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, s: torch.Tensor, sizes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solutions for m >= n once columns in small units are told from dependent ones.

    Args:
        A: matrices, (B, m, n), of ordinary size.
        b: right-hand sides, (B, m).
        x: minimum-norm solutions as A stands, (B, n).
        s: singular values, (B, n).
        sizes: the norms of the columns, (n, B).

    Returns:
        Solutions, and which matrices are rank-deficient.
    """
    m, n = A.shape[-2:]
    clear = s[:, n - 1] > math.sqrt(torch.finfo(A.dtype).eps) * s[:, 0]
    doubtful = ~(clear & (sizes.amax(dim=0) <= _EVEN * sizes.amin(dim=0)))
    short = torch.zeros_like(doubtful)
    if not bool(doubtful.any()):
        return x, short
    where = torch.nonzero(doubtful).squeeze(-1)
    overall = exponent(A[where].flatten(1), -1)[:, None]
    scaled, columns = scale_columns(A[where])
    right = exponent(b[where], -1)[:, None]
    factor = torch.geqrf(aligned_columns(scaled, ldexp(b[where], -right)).mT)[0]
    R, c = factor[:, :n, :n].triu(), factor[:, :n, n]
    verdict = deficient_factor(R, m, condition_of(R))
    # Where the rank is short the columns get their sizes back: the least norm depends on them.
    for group, back, cutoff in ((verdict, columns - overall, _cutoff(A)), (~verdict, torch.zeros_like(columns), 0.0)):
        if bool(group.any()):
            stored, rhs, _ = _stored(ldexp(R[group], back[group].unsqueeze(-2)), c[group])
            units = (overall.expand_as(columns) if cutoff else columns)[group]
            x[where[group]] = ldexp(_least_norm(stored, rhs, n, cutoff)[0], right[group] - units)
    short[where] = verdict
    return x, short
