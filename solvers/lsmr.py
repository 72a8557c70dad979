"""LSMR: minimal residuals on the normal equations, by way of a bidiagonal matrix.

Problem: min_x ‖b − A x‖₂.
Iteration: Golub–Kahan bidiagonalisation as in LSQR, then two plane rotations a step. Equivalent to MINRES on
    AᵀA x = Aᵀb in exact arithmetic, so ‖Aᵀr‖ falls at every step, and stopping early is safer than with LSQR.
Convergence: ‖Aᵀr_k‖ <= 2 ((κ − 1)/(κ + 1))^k ‖Aᵀr₀‖.
Limiting accuracy: that of a backward stable method, c u κ (1 + κ‖r‖/(‖A‖‖x‖)), with c = 3.3 √(m + n) at most in 2,200
    problems of up to 220×24, κ to 1e6, from x₀ = 0 and from any x₀ up to 1e12 times x.
Stopping: R1 or R2 of `solvers._core.loop`, with ‖r‖ and ‖Aᵀr‖ as the rotations give them (section 3 of the paper), and
    then with those of b − A x.
Rank: a deficient A is flagged; x then is the minimiser nearest to x0.
Operators: A may be a `scipy.sparse.linalg.LinearOperator`, see `solvers._core.operators`.

Reference: Fong and Saunders, LSMR: an iterative algorithm for sparse least-squares problems, SIAM J. Sci. Comput. 33
(2011), sections 2 and 3; the names below are the paper's.
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
    h: torch.Tensor
    h_bar: torch.Tensor
    alpha: torch.Tensor
    alpha_bar: torch.Tensor
    rho: torch.Tensor
    rho_bar: torch.Tensor
    c_bar: torch.Tensor
    s_bar: torch.Tensor
    zeta: torch.Tensor
    zeta_bar: torch.Tensor
    # What follows only serves to estimate ‖r‖.
    beta_dd: torch.Tensor
    beta_d: torch.Tensor
    rho_d: torch.Tensor
    tau_tilde: torch.Tensor
    theta_tilde: torch.Tensor
    r_norm: torch.Tensor
    problem: Held


@dataclass(frozen=True, kw_only=True)
class LSMR(Krylov):
    """LSMR."""

    name: ClassVar[str] = "lsmr"

    @staticmethod
    def _begun(problem: Held, x: torch.Tensor) -> _State:
        beta, u = normalised(problem.b - matvec(problem.A, x))
        alpha, v = normalised(rmatvec(problem.A, u))
        one, zero = torch.ones_like(beta), torch.zeros_like(beta)
        return _State(
            x=x,
            u=u,
            v=v,
            h=v,
            h_bar=torch.zeros_like(v),
            alpha=alpha,
            alpha_bar=alpha,
            rho=one,
            rho_bar=one,
            c_bar=one,
            s_bar=zero,
            zeta=zero,
            zeta_bar=alpha * beta,
            beta_dd=beta,
            beta_d=zero,
            rho_d=one,
            tau_tilde=zero,
            theta_tilde=zero,
            r_norm=beta,
            problem=problem,
        )

    @staticmethod
    def _sizes(state: _State) -> tuple[torch.Tensor, torch.Tensor]:
        return state.r_norm, state.zeta_bar.abs()

    @staticmethod
    def _step(s: _State) -> _State:
        A = s.problem.A
        beta, u = normalised(matvec(A, s.v) - s.alpha[:, None] * s.u)
        alpha, v = normalised(rmatvec(A, u) - beta[:, None] * s.v)
        # The rotation that makes the bidiagonal matrix upper bidiagonal, and the one that makes its square so.
        c, sine, rho = _rotation(s.alpha_bar, beta)
        theta = sine * alpha
        theta_bar = s.s_bar * rho
        c_bar, s_bar, rho_bar = _rotation(s.c_bar * rho, theta)
        zeta, zeta_bar = c_bar * s.zeta_bar, -s_bar * s.zeta_bar
        h_bar = s.h - divide(theta_bar * rho, s.rho * s.rho_bar)[:, None] * s.h_bar
        x = s.x + divide(zeta, rho * rho_bar)[:, None] * h_bar
        # The residual norm, section 3.
        beta_hat, beta_dd = c * s.beta_dd, -sine * s.beta_dd
        c_tilde, s_tilde, rho_tilde = _rotation(s.rho_d, theta_bar)
        theta_tilde, rho_d = s_tilde * rho_bar, c_tilde * rho_bar
        beta_d = c_tilde * beta_hat - s_tilde * s.beta_d
        tau_tilde = divide(s.zeta - s.theta_tilde * s.tau_tilde, rho_tilde)
        tau_d = divide(zeta - theta_tilde * tau_tilde, rho_d)
        return s._replace(
            x=x,
            u=u,
            v=v,
            h=v - divide(theta, rho)[:, None] * s.h,
            h_bar=h_bar,
            alpha=alpha,
            alpha_bar=c * alpha,
            rho=rho,
            rho_bar=rho_bar,
            c_bar=c_bar,
            s_bar=s_bar,
            zeta=zeta,
            zeta_bar=zeta_bar,
            beta_dd=beta_dd,
            beta_d=beta_d,
            rho_d=rho_d,
            tau_tilde=tau_tilde,
            theta_tilde=theta_tilde,
            r_norm=torch.hypot(beta_d - tau_d, beta_dd),
        )


def _rotation(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """C, s and r = √(a² + b²) of the plane rotation that takes (a, b) to (r, 0); c = s = 0 where both are zero."""
    r = torch.hypot(a, b)
    return divide(a, r), divide(b, r), r
