"""Least-squares problems whose answer is known before anyone solves them.

`random_problem` prescribes what decides how hard a problem is: the singular values, the solution, and the residual,
which is orthogonal to range(A). `gaussian_problem` is the setting of the learned solvers. `hilbert` and `lauchli` are
the two classical ways to be ill-conditioned: gradually, and through the normal equations alone.

A prescribed solution belongs to the problem before its entries were rounded. The solution of the rounded problem
differs from it by about κ·u (and κ²·u times ‖r‖/(‖A‖‖x‖)): `solvers.reference` gives that one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from solvers._core.arrays import DTYPES, require_count, require_nonnegative


@dataclass(frozen=True, kw_only=True, eq=False)
class LstsqProblem:
    """A batch of problems min_x ‖b − A x‖₂ and what is known of them.

    Args:
        A: matrices, (..., m, n).
        b: right-hand sides, (..., m).
        x: prescribed solutions, (..., n).
        singular_values: of A, descending, float64, (..., n).
        condition: σ₁/σₙ, float64, (...).
        residual_norm: ‖b − A x‖₂, float64, (...).
        x0: starting points, (..., n), where the setting has one.
    """

    A: torch.Tensor
    b: torch.Tensor
    x: torch.Tensor
    singular_values: torch.Tensor
    condition: torch.Tensor
    residual_norm: torch.Tensor
    x0: torch.Tensor | None = None

    def __repr__(self) -> str:
        kappa = self.condition.reshape(-1)
        span = f"{float(kappa.min()):.3g} to {float(kappa.max()):.3g}" if len(kappa) else "none"
        dtype = str(self.A.dtype).removeprefix("torch.")
        return f"LstsqProblem(A: {tuple(self.A.shape)} {dtype}; condition: {span})"


def random_problem(
    m: int,
    n: int,
    *,
    condition: float = 10.0,
    residual: float = 0.0,
    scale: float = 1.0,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    generator: torch.Generator | None = None,
) -> LstsqProblem:
    """Problems with prescribed singular values, solution and residual.

    A = scale · U diag(s) Vᵀ with s geometric from 1 to 1/condition and U, V from the Haar distribution; x ~ N(0, I);
    b = A x + r with r orthogonal to range(A) and ‖r‖ = scale · residual.

    Args:
        m: rows, at least n.
        n: unknowns, at least 1; with n = 1 the condition number is 1 whatever `condition` says.
        condition: σ₁/σₙ, at least 1.
        residual: ‖r‖ in units of `scale`; needs m > n where it is not 0.
        scale: σ₁; multiplies A and b alike, so that x does not depend on it.
        batch: leading dimensions.
        dtype: of A, b and x; everything is made in float64 and rounded once.
        generator: source of randomness, on the CPU; equal seeds give equal problems in every dtype and scale.

    Returns:
        The problems, on the CPU.

    Raises:
        ValueError: if an argument is out of range.

    Cost:
        Two QR factorisations, O(m n²) a problem.

    Reference:
        Mezzadri, How to generate random matrices from the classical compact groups (2007), section 5.
    """
    _check_shape(m, n, dtype)
    require_nonnegative("residual", residual)
    require_nonnegative("scale", scale, positive=True)
    if not condition >= 1 or condition == float("inf"):
        raise ValueError(f"condition: got {condition}, wants a finite number of at least 1")
    if residual and m == n:
        raise ValueError(f"residual: got {residual} with m = n = {n}, wants 0: a square A leaves no residual")
    shape = tuple(batch)
    # One column more than n: the extra column of U is a random direction orthogonal to range(A).
    U = _orthonormal(shape, m, min(m, n + 1), generator)
    V = _orthonormal(shape, n, n, generator)
    x = torch.randn(*shape, n, dtype=torch.float64, generator=generator)
    exponents = torch.linspace(0.0, 1.0, n, dtype=torch.float64)
    s = torch.pow(torch.tensor(condition, dtype=torch.float64), -exponents)
    A = (U[..., :n] * s) @ V.mT
    b = (A @ x.unsqueeze(-1)).squeeze(-1)
    if residual:
        b = b + residual * U[..., n]
    return LstsqProblem(
        A=(scale * A).to(dtype),
        b=(scale * b).to(dtype),
        x=x.to(dtype),
        singular_values=(scale * s).expand(*shape, n).clone(),
        condition=torch.full(shape, condition if n > 1 else 1.0, dtype=torch.float64),
        residual_norm=torch.full(shape, scale * residual, dtype=torch.float64),
    )


def gaussian_problem(
    m: int,
    n: int,
    *,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
    generator: torch.Generator | None = None,
) -> LstsqProblem:
    """The setting of the learned solvers: A, x, x0 ~ N(0, I) and b = A x.

    Args:
        m: rows, at least n.
        n: unknowns, at least 1.
        batch: leading dimensions.
        dtype: of A, b, x and x0; everything is made in float64 and rounded once.
        generator: source of randomness, on the CPU.

    Returns:
        The problems, on the CPU, with `x0`.

    Cost:
        One set of singular values, O(m n²) a problem.

    Reference:
        Liu et al., Towards learning high-precision least squares algorithms with sequence models, ICLR 2025.
    """
    _check_shape(m, n, dtype)
    shape = tuple(batch)
    A = torch.randn(*shape, m, n, dtype=torch.float64, generator=generator).to(dtype).double()
    x = torch.randn(*shape, n, dtype=torch.float64, generator=generator).to(dtype).double()
    x0 = torch.randn(*shape, n, dtype=torch.float64, generator=generator)
    b = (A @ x.unsqueeze(-1)).squeeze(-1)
    s = torch.linalg.svdvals(A)
    return LstsqProblem(
        A=A.to(dtype),
        b=b.to(dtype),
        x=x.to(dtype),
        singular_values=s,
        condition=s[..., 0] / s[..., -1],
        residual_norm=torch.zeros(shape, dtype=torch.float64),
        x0=x0.to(dtype),
    )


def hilbert(n: int, *, m: int | None = None, dtype: torch.dtype = torch.float64) -> LstsqProblem:
    """The first n columns of the Hilbert matrix, a_ij = 1/(i + j − 1), with x = (1, …, 1).

    κ grows like e^{3.5 n}: past 1/u at n = 12 in float64.

    Args:
        n: unknowns.
        m: rows, at least n; n unless given.
        dtype: of A, b and x.

    Returns:
        One problem. Its singular values belong to A before rounding, and are right to float64 whatever κ is.

    Cost:
        A singular value decomposition at 30 + 2n digits.

    Reference:
        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 28.1.
    """
    import mpmath

    rows = n if m is None else m
    _check_shape(rows, n, dtype)
    with mpmath.workdps(30 + 2 * n):
        exact = mpmath.matrix(rows, n)
        for i in range(rows):
            for j in range(n):
                exact[i, j] = mpmath.mpf(1) / (i + j + 1)
        s = torch.tensor([float(value) for value in mpmath.svd_r(exact, compute_uv=False)], dtype=torch.float64)
        b = torch.tensor([float(mpmath.fsum(exact[i, :])) for i in range(rows)], dtype=torch.float64)
    index = torch.arange(rows, dtype=torch.float64).unsqueeze(-1) + torch.arange(1, n + 1, dtype=torch.float64)
    return LstsqProblem(
        A=(1.0 / index).to(dtype),
        b=b.to(dtype),
        x=torch.ones(n, dtype=dtype),
        singular_values=s,
        condition=s[0] / s[-1],
        residual_norm=torch.zeros((), dtype=torch.float64),
    )


def lauchli(n: int, *, epsilon: float = 2.0**-27, dtype: torch.dtype = torch.float64) -> LstsqProblem:
    """Läuchli's matrix: a row of ones above ε·I, with x = (1, …, 1).

    Its condition number is about √n/ε. Where ε² < u the ones swallow ε² and AᵀA is singular to working precision,
    while A itself is far from it: methods that keep to A solve it, the normal equations cannot.

    Args:
        n: unknowns; m is n + 1.
        epsilon: the small diagonal; a power of two makes A, b and x exact.
        dtype: of A, b and x.

    Returns:
        One problem, consistent.

    Reference:
        Läuchli, Jordan-Elimination und Ausgleichung nach kleinsten Quadraten, Numer. Math. 3 (1961).
    """
    _check_shape(n + 1, n, dtype)
    require_nonnegative("epsilon", epsilon, positive=True)
    eye = torch.eye(n, dtype=torch.float64) * epsilon
    s = torch.full((n,), epsilon, dtype=torch.float64)
    s[0] = torch.sqrt(torch.tensor(n + epsilon**2, dtype=torch.float64))
    return LstsqProblem(
        A=torch.cat([torch.ones(1, n, dtype=torch.float64), eye]).to(dtype),
        b=torch.tensor([float(n), *[epsilon] * n], dtype=torch.float64).to(dtype),
        x=torch.ones(n, dtype=dtype),
        singular_values=s,
        condition=s[0] / s[-1],
        residual_norm=torch.zeros((), dtype=torch.float64),
    )


def _check_shape(m: int, n: int, dtype: torch.dtype) -> None:
    """Refuse a shape or dtype that no solver takes."""
    require_count("n", n, least=1)
    require_count("m", m, least=n)
    if dtype not in DTYPES:
        raise TypeError(f"dtype: got {dtype}, wants torch.float32 or torch.float64")


def _orthonormal(batch: tuple[int, ...], m: int, n: int, generator: torch.Generator | None) -> torch.Tensor:
    """Matrices with orthonormal columns, (*batch, m, n), Haar distributed, float64."""
    Q, R = torch.linalg.qr(torch.randn(*batch, m, n, dtype=torch.float64, generator=generator))
    # LAPACK fixes the signs of R's diagonal; undoing that makes the distribution uniform.
    signs = torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(torch.float64)
    columns: torch.Tensor = Q * signs.unsqueeze(-2)
    return columns
