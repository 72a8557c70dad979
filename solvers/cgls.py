"""Conjugate gradients on the normal equations, without forming them.

Problem: min_x ‖b − A x‖₂.
Iteration: with r = b − A x and s = Aᵀr,  q = A p,  α = ‖s‖²/‖q‖²,  x ← x + α p,  r ← r − α q,  s' = Aᵀr,
    p ← s' + (‖s'‖²/‖s‖²) p. Equivalent to LSQR in exact arithmetic; minimises ‖r‖ over the Krylov space of AᵀA.
Convergence: ‖A(x_k − x*)‖ <= 2 ((κ − 1)/(κ + 1))^k ‖A(x₀ − x*)‖, and n steps in exact arithmetic. Rounding delays it;
    for κ near 1/u far beyond n.
Limiting accuracy: that of a backward stable method, c u κ (1 + κ‖r‖/(‖A‖‖x‖)), with c = 3 √(m + n) at most in 2,200
    problems of up to 220×24, κ to 1e6, from x₀ = 0 and from any x₀ up to 1e12 times x. Where κ is large, Aᵀr may rest
    above the rules: the status then is MAX_ITERATIONS, and LSQR is the method.
Stopping: R1 or R2 of `solvers._core.loop`, on the updated r and s, and then on b − A x.
Rank: a deficient A is flagged; x then is the minimiser nearest to x0.
Operators: A may be a `scipy.sparse.linalg.LinearOperator`, see `solvers._core.operators`.

Reference: Hestenes and Stiefel (1952), section 10; Björck, Elfving and Strakoš, Stability of conjugate gradient and
Lanczos methods for linear least squares problems, SIAM J. Matrix Anal. Appl. 19 (1998), algorithm CGLS1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from solvers._core.krylov import Krylov
from solvers._core.loop import Held
from solvers._core.triangular import divide, matvec, norm, rmatvec


class _State(NamedTuple):
    x: torch.Tensor
    r: torch.Tensor
    s: torch.Tensor
    p: torch.Tensor
    s_norm: torch.Tensor
    problem: Held


@dataclass(frozen=True, kw_only=True)
class CGLS(Krylov):
    """Conjugate gradients for least squares."""

    name: ClassVar[str] = "cgls"

    @staticmethod
    def _begun(problem: Held, x: torch.Tensor) -> _State:
        r = problem.b - matvec(problem.A, x)
        s = rmatvec(problem.A, r)
        return _State(x=x, r=r, s=s, p=s, s_norm=norm(s), problem=problem)

    @staticmethod
    def _sizes(state: _State) -> tuple[torch.Tensor, torch.Tensor]:
        return norm(state.r), state.s_norm

    @staticmethod
    def _step(s: _State) -> _State:
        A = s.problem.A
        q = matvec(A, s.p)
        alpha = divide(s.s_norm, norm(q)).square()[:, None]
        r = s.r - alpha * q
        gradient = rmatvec(A, r)
        size = norm(gradient)
        beta = divide(size, s.s_norm).square()[:, None]
        return s._replace(x=s.x + alpha * s.p, r=r, s=gradient, p=gradient + beta * s.p, s_norm=size)
