"""One rule for rank, so that all methods give one answer.

A is called rank-deficient when, with its columns brought to comparable size, σ_min <= max(m, n) eps σ_max: then a
change of A in its last bits makes the columns dependent. Whether a zero or duplicated column is one is thus independent
of the units of the unknowns. Beyond κ = 1/(max(m, n) eps) the rule cannot tell a dependent column from a nearly
dependent one, nor can anything that works in this precision; `solvers.reference` can.

The singular values are only computed where the diagonal of R leaves doubt: |r_jj| <= √eps ‖a_j‖ for some j.

Reference: Golub and Van Loan, Matrix Computations, 4th ed. (2013), section 5.4.1.
"""

import math
from dataclasses import replace

import torch

from solvers.alignment import aligned_columns, singular_values
from solvers.linear_operator import Matrix, Operator
from solvers.products import column_norms
from solvers.result import LstsqResult, Status
from solvers.scaling import scale_columns


def deficient(A: torch.Tensor) -> torch.Tensor:
    """Which matrices are rank-deficient to working precision.

    Args:
        A: matrices, (B, m, n), m >= n.

    Returns:
        Booleans, (B,).

    Cost:
        One QR factorisation, and singular values of R where its diagonal leaves doubt.
    """
    scaled, _ = scale_columns(A)
    n = A.shape[-1]
    R = torch.geqrf(aligned_columns(scaled).mT)[0][:, :n, :]
    return deficient_factor(R, A.shape[-2], column_norms(R))


def deficient_factor(R: torch.Tensor, m: int, sizes: torch.Tensor) -> torch.Tensor:
    """Which matrices are rank-deficient, from a triangular factor.

    Args:
        R: upper triangular factors, (B, n, n), whose squares neither over- nor underflow; the strict lower triangle is
            not read.
        m: rows of the matrices that were factored.
        sizes: the norms of their columns, (B, n).

    Returns:
        Booleans, (B,); an overflowed factor is not called deficient.
    """
    eps = torch.finfo(R.dtype).eps
    pivots = R.diagonal(dim1=-2, dim2=-1).abs()
    doubtful: torch.Tensor = (pivots <= math.sqrt(eps) * sizes).any(dim=-1) & torch.isfinite(sizes).all(dim=-1)
    if not bool(doubtful.any()):
        return doubtful
    where = torch.nonzero(doubtful).squeeze(-1)
    scaled, _ = scale_columns(R[where].triu())
    s = singular_values(scaled)
    verdict: torch.Tensor = s[:, -1] <= max(m, R.shape[-1]) * eps * s[:, 0]
    return doubtful.index_put((where,), verdict)


def flag_deficient(A: Matrix, result: LstsqResult) -> LstsqResult:
    """Give the problems with a rank-deficient matrix that status, whatever their iteration thought.

    Args:
        A: matrices, (B, m, n); of an operator nothing is said.
        result: a flat result.

    Returns:
        The result with its statuses corrected; x is left as it is.
    """
    if isinstance(A, Operator):
        return result
    status = torch.where(deficient(A), int(Status.RANK_DEFICIENT), torch.as_tensor(result.status))
    return replace(result, status=status)
