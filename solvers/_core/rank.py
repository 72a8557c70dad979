"""One rule for rank, and one number for condition, so that all methods give one answer.

A is rank-deficient when, with its columns brought to comparable size by powers of two, σ_min <= max(m, n) eps σ_max: a
change of A in its last bits then makes the columns dependent. Whether a zero or duplicated column is one is thus
independent of the units of the unknowns. Beyond κ = 1/(max(m, n) eps) the rule cannot tell a dependent column from a
nearly dependent one, nor can anything that works in this precision; `solvers.reference` can.

The condition is ‖R‖_F ‖R⁻¹‖_F of the triangular factor with columns of comparable size: at least κ₂, at most n κ₂, and
never fooled, as an estimate from the diagonal of R is (by Kahan's matrix, or I − triu(1, 1)). Where it is below the
threshold the rank is full; only elsewhere are singular values computed.

Reference: Golub and Van Loan, Matrix Computations, 4th ed. (2013), section 5.4.1; Kahan, Numerical linear algebra,
Canad. Math. Bull. 9 (1966).
"""

import math
from dataclasses import replace

import torch

from solvers._core.operators import Matrix, Operator
from solvers._core.scaling import ldexp, power_below, scale_columns
from solvers.result import LstsqResult, Status


def triangular_factor(A: torch.Tensor) -> torch.Tensor:
    """R of A = Q R with the columns of A brought to comparable size, (B, n, n), for A (B, m, n), m >= n."""
    scaled, _ = scale_columns(A)
    return torch.geqrf(scaled)[0][:, : A.shape[-1], :].triu()


def condition_of(R: torch.Tensor) -> torch.Tensor:
    """κ, (B,), of matrices with these triangular factors and columns of comparable size: ‖R‖_F ‖R⁻¹‖_F, or inf."""
    upper = R.triu()
    return _condition(upper / power_below(upper.abs().amax(dim=-2, keepdim=True)))


def standing_condition(R: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """κ of A as it stands, (B,), from R of A · diag(2^(−e)), for e (B, n)."""
    return _condition(ldexp(R.triu(), (e - e.amax(dim=-1, keepdim=True)).unsqueeze(-2)))


def _condition(upper: torch.Tensor) -> torch.Tensor:
    eye = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device)
    inverse = torch.linalg.solve_triangular(upper, eye, upper=True)
    kappa = _frobenius(upper) * _frobenius(inverse)
    return torch.nan_to_num(kappa, nan=torch.inf, posinf=torch.inf)


def _frobenius(A: torch.Tensor) -> torch.Tensor:
    size: torch.Tensor = torch.linalg.vector_norm(A, dim=(-2, -1))
    return size


def rank_limit(m: int, n: int, dtype: torch.dtype) -> float:
    """The κ from which on matrices are called rank-deficient, 1 / (max(m, n) eps)."""
    return 1.0 / (max(m, n) * torch.finfo(dtype).eps)


def deficient_factor(R: torch.Tensor, m: int, condition: torch.Tensor) -> torch.Tensor:
    """Which matrices of m rows are rank-deficient, (B,), by their R and its condition; not one that overflowed."""
    return beyond(R, condition, rank_limit(m, R.shape[-1], R.dtype))


def beyond(R: torch.Tensor, condition: torch.Tensor, limit: float) -> torch.Tensor:
    """Which finite factors have κ₂ >= limit with columns of comparable size; otherwise as `deficient_factor`."""
    doubtful: torch.Tensor = ~(condition < limit)
    if not bool(doubtful.any()):
        return doubtful
    doubtful &= torch.isfinite(R).all(dim=-1).all(dim=-1)
    where = torch.nonzero(doubtful).squeeze(-1)
    scaled, _ = scale_columns(R[where].triu())
    s = torch.linalg.svdvals(scaled)
    return doubtful.index_put((where,), s[:, -1] * limit <= s[:, 0])


def judged(A: Matrix, result: LstsqResult, *, columnwise: bool = True) -> LstsqResult:
    """A flat result with the condition of its matrices, and RANK_DEFICIENT where they are so; x is left as it is."""
    # Of an operator nothing is said. An accuracy that keeps the units of the unknowns depends on κ of A as it stands.
    if isinstance(A, Operator):
        return result
    (scaled, e), (m, n) = scale_columns(A), A.shape[-2:]
    R = torch.geqrf(scaled)[0][:, :n, :].triu()
    condition = condition_of(R) if columnwise else standing_condition(R, e)
    # Columns of comparable size cannot make κ more than 2 √(m n) times as large.
    plain = columnwise or bool((2 * math.sqrt(m * n) * condition < rank_limit(m, n, A.dtype)).all())
    bad = deficient_factor(R, m, condition if plain else condition_of(R))
    status = torch.as_tensor(result.status).masked_fill(bad, int(Status.RANK_DEFICIENT))
    return replace(result, status=status, condition=condition)
