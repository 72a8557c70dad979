"""Chebyshev semi-iteration: gradient descent with a memory, where the spectrum is known.

Problem: min_x ‖b − A x‖₂.
Iteration: with g = Aᵀ(b − A x), θ = (σ₁² + σₙ²)/2, δ = (σ₁² − σₙ²)/2:  d₀ = g₀/θ,  ρ₀ = δ/θ,  x ← x + d,
    ρ' = δ/(2θ − ρδ),  d ← ρ'ρ d + 2g/(2θ − ρδ). No inner products: the steps depend on A alone.
Convergence: ‖x_k − x*‖ <= 2 q^k/(1 + q^{2k}) ‖x₀ − x*‖ with q = (κ − 1)/(κ + 1): about κ ln(2/u)/2 iterations to the
    floor, where gradient descent takes κ times as many.
Limiting accuracy: c u κ² at worst, where an update falls below the last bit of x; measured, about u κ^1.5, with
    c = 1.8 √(m + n) at most in 1,600 problems of up to 220×24, κ to 100.
Stopping: R1, R2 or R3 of `solvers._core.loop`, R3 after max(30, κ) iterations, since ‖g‖ does not fall monotonically,
    and at the level 4 (κ + 1) eps: at rest the memory carries up to 3 κ times the rounding of one step.
Rank: a deficient A is flagged; with σₙ the smallest singular value that is not rounding, the iterates converge to the
    minimiser nearest to x0.

Reference: Golub and Varga, Numer. Math. 3 (1961); Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003),
algorithm 12.1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch

from solvers import fused
from solvers._core.arrays import require_choice, require_count, require_nonnegative
from solvers._core.loop import Held, iterate
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.fused import BACKENDS, Backend
from solvers.fused.chunks import Interval, iterate_in_chunks
from solvers.gradient_descent import extreme_singular_values
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

_PATIENCE = 30
_NOISE = 4.0
"""The memory carries rounding along: at rest ‖Aᵀr‖ has minima of up to 3 κ eps times its scale, whatever m and n."""


class _State(NamedTuple):
    x: torch.Tensor
    d: torch.Tensor
    g: torch.Tensor
    rho: torch.Tensor
    r_norm: torch.Tensor
    best: torch.Tensor  # the smallest ‖g‖ so far
    idle: torch.Tensor  # iterations since then
    interval: Interval
    problem: Held


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
    error_constant: ClassVar[float] = 8.0
    max_iterations: int = 10_000
    tolerance: float | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem, x = Held.of(A, b, x0)
        matrix = cast(torch.Tensor, problem.A)
        tolerance = torch.finfo(A.dtype).eps / 2 if self.tolerance is None else self.tolerance
        interval = _interval(matrix, problem.noise)
        m, n = A.shape[-2:]
        if fused.chosen(self.backend, matrix, problem.b, x, columns=n, entries=m * n):
            result = iterate_in_chunks(
                problem, interval, x, tolerance, max_iterations=self.max_iterations, record=record
            )
            return problem.judged(A, result)

        def verdict(s: _State) -> torch.Tensor:
            return s.interval.verdict(s.problem, s.x, s.r_norm, norm(s.g), s.idle, tolerance)

        r = problem.b - matvec(matrix, x)
        g = rmatvec(matrix, r)
        start = _State(
            x=x,
            d=g * (1 / interval.theta).to(g.dtype)[:, None],
            g=g,
            rho=interval.delta / interval.theta,
            r_norm=norm(r),
            best=norm(g),
            idle=torch.zeros_like(problem.matrix_exponent),
            interval=interval,
            problem=problem,
        )
        result = iterate(start, _step, verdict, max_iterations=self.max_iterations, record=record)
        return problem.judged(A, result)


def _interval(A: torch.Tensor, widened: float) -> Interval:
    """The spectrum of AᵀA, rather too wide than too narrow: beyond the interval the polynomial grows."""
    # In float32 σ₁² and σ₁² − σₙ² would be the same number from κ = 3000 on.
    low, high = (value.double() for value in extreme_singular_values(A))
    high = high * (1 + widened)
    theta = (high**2 + low**2) / 2
    kappa = torch.where(high == 0, 1.0, high / torch.where(high == 0, 1.0, low))
    return Interval(
        theta=torch.where(theta == 0, 1.0, theta),
        delta=(high**2 - low**2) / 2,
        noise=(_NOISE * torch.finfo(A.dtype).eps * (1 + kappa)).to(A.dtype),
        patience=kappa.clamp(min=_PATIENCE),
    )


def _step(s: _State) -> _State:
    """One step."""
    x, (theta, delta, *_) = s.x + s.d, s.interval
    r = s.problem.b - matvec(s.problem.A, x)
    g = rmatvec(s.problem.A, r)
    denominator = 2 * theta - s.rho * delta
    rho = delta / denominator
    d = (rho * s.rho).to(g.dtype)[:, None] * s.d + (2 / denominator).to(g.dtype)[:, None] * g
    g_norm = norm(g)
    idle = torch.where(g_norm < s.best, 0, s.idle + 1)
    return s._replace(x=x, d=d, g=g, rho=rho, r_norm=norm(r), best=torch.minimum(g_norm, s.best), idle=idle)
