"""Chebyshev semi-iteration: gradient descent with a memory, where the spectrum is known.

Problem: min_x ‖b − A x‖₂.
Iteration: with g = Aᵀ(b − A x), θ = (σ₁² + σₙ²)/2, δ = (σ₁² − σₙ²)/2:  d₀ = g₀/θ,  ρ₀ = δ/θ,  x ← x + d,
    ρ' = δ/(2θ − ρδ),  d ← ρ'ρ d + 2g/(2θ − ρδ). No inner products: the steps depend on A alone.
Convergence: ‖x_k − x*‖ <= 2 q^k/(1 + q^{2k}) ‖x₀ − x*‖ with q = (κ − 1)/(κ + 1): about κ ln(2/u)/2 iterations to the
    floor, where gradient descent takes κ times as many.
Limiting accuracy: c u κ² at worst, where an update falls below the last bit of x; measured, about u κ^1.5.
Stopping: R1, R2 or R3 of `solvers._core.loop`, R3 after 30 iterations (‖g‖ does not fall monotonically) and at 32
    times its level: at rest the memory carries about κ/3 times the rounding of one step.
Rank: a deficient A is flagged; with σₙ the smallest singular value that is not rounding, the iterates converge to the
    minimiser nearest to x0.

Reference: Golub and Varga, Numer. Math. 3 (1961); Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003),
algorithm 12.1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from solvers import fused
from solvers._core.arrays import require_choice, require_count, require_nonnegative
from solvers._core.loop import at_rest, frobenius, iterate, paige_saunders, readable, ruled
from solvers._core.rank import judged
from solvers._core.scaling import scale
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.fused import BACKENDS, Backend
from solvers.gradient_descent import extreme_singular_values
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

_PATIENCE = 30
_NOISE = 32
"""The memory carries rounding along: at κ = 100 its level in Aᵀr is up to thirty times that of one step."""


class _State(NamedTuple):
    x: torch.Tensor
    d: torch.Tensor
    g: torch.Tensor
    rho: torch.Tensor
    r_norm: torch.Tensor
    best: torch.Tensor  # the smallest ‖g‖ so far
    idle: torch.Tensor  # iterations since then
    theta: torch.Tensor  # float64, as rho and delta
    delta: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor
    A_norm: torch.Tensor
    b_norm: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Chebyshev(Solver):
    """Chebyshev semi-iteration on the singular values of each A.

    Args:
        max_iterations: the cap, a problem.
        tolerance: τ of the stopping rules; None for u, the unit roundoff of the problem's dtype.
        backend: "eager" is plain torch; "fused" a kernel that takes many steps a call; "auto" takes the kernel where it
            can run. They agree to rounding, not to the bit, and at rest may stop some iterations apart.
    """

    name: ClassVar[str] = "chebyshev"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.CHEBYSHEV_RATE})
    condition_power: ClassVar[int] = 2
    max_iterations: int = 10_000
    tolerance: float | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = scale(A, b, x0)
        eps = torch.finfo(A.dtype).eps
        tolerance = eps / 2 if self.tolerance is None else self.tolerance
        noise = _NOISE * max(A.shape[-2:]) * eps

        def verdict(s: _State) -> torch.Tensor:
            g_norm, x_norm = norm(s.g), norm(s.x)
            met = paige_saunders(s.r_norm, g_norm, x_norm, s.A_norm, s.b_norm, tolerance)
            rest = (s.idle >= _PATIENCE) & at_rest(g_norm, x_norm, s.A_norm, s.b_norm, noise)
            return ruled((met | rest) & readable(s.b_norm, s.x), g_norm, x_norm)

        x = torch.zeros_like(problem.A[:, 0, :]) if problem.x0 is None else problem.x0
        # In float32 σ₁² and σ₁² − σₙ² would be the same number from κ = 3000 on.
        low, high = (value.double() for value in extreme_singular_values(problem.A))
        high = high * (1 + noise)  # beyond the interval the polynomial grows: rather too wide than too narrow
        theta, delta = (high**2 + low**2) / 2, (high**2 - low**2) / 2
        theta = torch.where(theta == 0, 1.0, theta)
        A_norm, b_norm = frobenius(problem.A), norm(problem.b)
        m, n = A.shape[-2:]
        if fused.chosen(self.backend, problem.A, problem.b, x, columns=n, entries=m * n):
            from solvers.fused.chunks import Rules, iterate_in_chunks

            rules = Rules(tolerance=tolerance, noise=noise, patience=_PATIENCE, A_norm=A_norm, b_norm=b_norm)
            result = iterate_in_chunks(
                problem.A, problem.b, x, theta, delta, rules, max_iterations=self.max_iterations, record=record
            )
            return judged(problem.A, problem.restored(result), columnwise=False)
        r = problem.b - matvec(problem.A, x)
        g = rmatvec(problem.A, r)
        start = _State(
            x=x,
            d=g * (1 / theta).to(g.dtype)[:, None],
            g=g,
            rho=delta / theta,
            r_norm=norm(r),
            best=norm(g),
            idle=torch.zeros_like(problem.matrix_exponent),
            theta=theta,
            delta=delta,
            A=problem.A,
            b=problem.b,
            A_norm=A_norm,
            b_norm=b_norm,
        )
        result = iterate(start, _step, verdict, max_iterations=self.max_iterations, record=record)
        return judged(problem.A, problem.restored(result), columnwise=False)


def _step(s: _State) -> _State:
    """One step.

    Args:
        s: the state.

    Returns:
        The next state.
    """
    x = s.x + s.d
    r = s.b - matvec(s.A, x)
    g = rmatvec(s.A, r)
    denominator = 2 * s.theta - s.rho * s.delta
    rho = s.delta / denominator
    d = (rho * s.rho).to(g.dtype)[:, None] * s.d + (2 / denominator).to(g.dtype)[:, None] * g
    g_norm = norm(g)
    idle = torch.where(g_norm < s.best, 0, s.idle + 1)
    return s._replace(x=x, d=d, g=g, rho=rho, r_norm=norm(r), best=torch.minimum(g_norm, s.best), idle=idle)
