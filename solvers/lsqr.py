"""LSQR: conjugate gradients for least squares, by way of a bidiagonal matrix.

Problem: min_x ‖b − A x‖₂.
Iteration: Golub–Kahan bidiagonalisation, β u ← A v − α u, α v ← Aᵀu − β v, and a QR factorisation of the growing
    bidiagonal matrix by one plane rotation a step. Equivalent to CGLS in exact arithmetic.
Convergence: that of CGLS, 2 ((κ − 1)/(κ + 1))^k in ‖A(x_k − x*)‖.
Limiting accuracy: c u κ (1 + κ‖r‖/(‖A‖‖x‖)); it holds up better than CGLS where κ is large and r is not small.
Stopping: R1 or R2 of `solvers._core.loop`, with ‖r‖ and ‖Aᵀr‖ as the rotations give them: φ̄ and φ̄ α |c|.
Rank: a deficient A is flagged; x then is the minimiser nearest to x0.
Operators: A may be a `scipy.sparse.linalg.LinearOperator`, see `solvers._core.operators`.

Reference: Paige and Saunders, LSQR, ACM TOMS 8 (1982); Golub and Kahan, SIAM J. Numer. Anal. 2 (1965).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from solvers._core.arrays import require_count, require_nonnegative
from solvers._core.loop import default_tolerance, frobenius, iterate, paige_saunders, ruled
from solvers._core.operators import Matrix
from solvers._core.rank import judged
from solvers._core.scaling import scale
from solvers._core.triangular import divide, matvec, norm, rmatvec
from solvers.result import LstsqResult
from solvers.solver import ProductSolver, Promise


class _State(NamedTuple):
    x: torch.Tensor
    u: torch.Tensor
    v: torch.Tensor
    w: torch.Tensor
    alpha: torch.Tensor
    phi_bar: torch.Tensor
    rho_bar: torch.Tensor
    g_norm: torch.Tensor
    A: Matrix
    A_norm: torch.Tensor
    b_norm: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LSQR(ProductSolver):
    """LSQR.

    Args:
        max_iterations: the cap, a problem.
        tolerance: τ of the stopping rules; None for eps, the spacing of the problem's dtype.
    """

    name: ClassVar[str] = "lsqr"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.MONOTONE, Promise.KRYLOV_RATE})
    max_iterations: int = 1000
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)

    def _solve(self, A: Matrix, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = scale(A, b, x0)
        tolerance = default_tolerance(A) if self.tolerance is None else self.tolerance

        def step(s: _State) -> _State:
            beta, u = normalised(matvec(s.A, s.v) - s.alpha[:, None] * s.u)
            alpha, v = normalised(rmatvec(s.A, u) - beta[:, None] * s.v)
            rho = torch.hypot(s.rho_bar, beta)
            c, sine = divide(s.rho_bar, rho), divide(beta, rho)
            phi, phi_bar = c * s.phi_bar, sine * s.phi_bar
            return s._replace(
                x=s.x + divide(phi, rho)[:, None] * s.w,
                u=u,
                v=v,
                w=v - divide(sine * alpha, rho)[:, None] * s.w,
                alpha=alpha,
                phi_bar=phi_bar,
                rho_bar=-c * alpha,
                g_norm=phi_bar * alpha * c.abs(),
            )

        def verdict(s: _State) -> torch.Tensor:
            x_norm = norm(s.x)
            met = paige_saunders(s.phi_bar, s.g_norm, x_norm, s.A_norm, s.b_norm, tolerance)
            return ruled(met, s.phi_bar, s.g_norm, x_norm)

        x = problem.start
        beta, u = normalised(problem.b - matvec(problem.A, x))
        alpha, v = normalised(rmatvec(problem.A, u))
        start = _State(
            x=x,
            u=u,
            v=v,
            w=v,
            alpha=alpha,
            phi_bar=beta,
            rho_bar=alpha,
            g_norm=alpha * beta,
            A=problem.A,
            A_norm=frobenius(problem.A),
            b_norm=norm(problem.b),
        )
        result = iterate(start, step, verdict, max_iterations=self.max_iterations, record=record)
        return judged(problem.A, problem.restored(result))


def normalised(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Length and direction; the direction of a zero vector is zero.

    Args:
        values: (B, k).

    Returns:
        (B,) and (B, k).
    """
    length = norm(values)
    return length, divide(values, length[:, None])
