"""LSQR: conjugate gradients for least squares, by way of a bidiagonal matrix.

Problem: min_x ‖b − A x‖₂.
Iteration: Golub–Kahan bidiagonalisation, β u ← A v − α u, α v ← Aᵀu − β v, and a QR factorisation of the growing
    bidiagonal matrix by one plane rotation a step. Equivalent to CGLS in exact arithmetic.
Convergence: that of CGLS, 2 ((κ − 1)/(κ + 1))^k in ‖A(x_k − x*)‖.
Limiting accuracy: that of a backward stable method, c u κ (1 + κ‖r‖/(‖A‖‖x‖)), with c = 3 √(m + n) at most in 2,200
    problems of up to 220×24, κ to 1e6, from x₀ = 0 and from any x₀ up to 1e12 times x. At κ = 1e8 and a residual of
    size 1 that is no digit, as for every such method: `condition` and `residual_norm` say so.
Stopping: R1 or R2 of `solvers._core.loop`, with ‖r‖ and ‖Aᵀr‖ as the rotations give them, φ̄ and φ̄ α |c|, and then with
    those of b − A x.
Rank: a deficient A is flagged; x then is the minimiser nearest to x0.
Operators: A may be a `scipy.sparse.linalg.LinearOperator`, see `solvers._core.operators`.

Reference: Paige and Saunders, LSQR, ACM TOMS 8 (1982); Golub and Kahan, SIAM J. Numer. Anal. 2 (1965).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from solvers._core.krylov import Krylov, normalised
from solvers._core.loop import Held
from solvers._core.triangular import divide, matvec, rmatvec


class _State(NamedTuple):
    x: torch.Tensor
    u: torch.Tensor
    v: torch.Tensor
    w: torch.Tensor
    alpha: torch.Tensor
    phi_bar: torch.Tensor
    rho_bar: torch.Tensor
    g_norm: torch.Tensor
    problem: Held


@dataclass(frozen=True, kw_only=True)
class LSQR(Krylov):
    """LSQR."""

    name: ClassVar[str] = "lsqr"

    @staticmethod
    def _begun(problem: Held, x: torch.Tensor) -> _State:
        beta, u = normalised(problem.b - matvec(problem.A, x))
        alpha, v = normalised(rmatvec(problem.A, u))
        return _State(
            x=x, u=u, v=v, w=v, alpha=alpha, phi_bar=beta, rho_bar=alpha, g_norm=alpha * beta, problem=problem
        )

    @staticmethod
    def _sizes(state: _State) -> tuple[torch.Tensor, torch.Tensor]:
        return state.phi_bar, state.g_norm

    @staticmethod
    def _step(s: _State) -> _State:
        A = s.problem.A
        beta, u = normalised(matvec(A, s.v) - s.alpha[:, None] * s.u)
        alpha, v = normalised(rmatvec(A, u) - beta[:, None] * s.v)
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
