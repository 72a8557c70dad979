"""Conjugate gradients on the normal equations, without forming them.

Problem: min_x ‖b − A x‖₂.
Iteration: with r = b − A x and s = Aᵀr,  q = A p,  α = ‖s‖²/‖q‖²,  x ← x + α p,  r ← r − α q,  s' = Aᵀr,
    p ← s' + (‖s'‖²/‖s‖²) p. Equivalent to LSQR in exact arithmetic; minimises ‖r‖ over the Krylov space of AᵀA.
Convergence: ‖A(x_k − x*)‖ <= 2 ((κ − 1)/(κ + 1))^k ‖A(x₀ − x*)‖, and n steps in exact arithmetic. Rounding delays it;
    for κ near 1/u far beyond n.
Limiting accuracy: r is updated and not recomputed, and drifts by u times the largest iterate on the way; from x₀ = 0
    the iterates grow, and x is as good as a backward stable method's: c u κ (1 + κ‖r‖/(‖A‖‖x‖)).
Stopping: R1 or R2 of `solvers._core.loop`, on the updated r and s.
Rank: a deficient A is flagged; x then is the minimiser nearest to x0.
Operators: A may be a `scipy.sparse.linalg.LinearOperator`, see `solvers._core.operators`.

Reference: Hestenes and Stiefel (1952), section 10; Björck, Elfving and Strakoš, Stability of conjugate gradient and
Lanczos methods for linear least squares problems, SIAM J. Matrix Anal. Appl. 19 (1998), algorithm CGLS1.
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
    r: torch.Tensor
    s: torch.Tensor
    p: torch.Tensor
    A: Matrix
    A_norm: torch.Tensor
    b_norm: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class CGLS(ProductSolver):
    """Conjugate gradients for least squares.

    Args:
        max_iterations: the cap, a problem.
        tolerance: τ of the stopping rules; None for eps, the spacing of the problem's dtype.
    """

    name: ClassVar[str] = "cgls"
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
            q = matvec(s.A, s.p)
            old = norm(s.s)
            alpha = divide(old, norm(q)).square()[:, None]
            r = s.r - alpha * q
            gradient = rmatvec(s.A, r)
            beta = divide(norm(gradient), old).square()[:, None]
            return s._replace(x=s.x + alpha * s.p, r=r, s=gradient, p=gradient + beta * s.p)

        def verdict(s: _State) -> torch.Tensor:
            r_norm, g_norm, x_norm = norm(s.r), norm(s.s), norm(s.x)
            met = paige_saunders(r_norm, g_norm, x_norm, s.A_norm, s.b_norm, tolerance)
            return ruled(met, r_norm, g_norm, x_norm)

        x = problem.start
        r = problem.b - matvec(problem.A, x)
        s = rmatvec(problem.A, r)
        start = _State(x=x, r=r, s=s, p=s, A=problem.A, A_norm=frobenius(problem.A), b_norm=norm(problem.b))
        result = iterate(start, step, verdict, max_iterations=self.max_iterations, record=record)
        return judged(problem.A, problem.restored(result))
