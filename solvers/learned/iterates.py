"""Learned iterates made into solvers: min_x ‖b − A x‖₂ by applying a model to what it emitted.

What the model emits, and so the solver:
    LearnedDirect     the solution itself, Φ(A, b). It is asked once.
    LearnedIteration  the iterate k steps of gradient descent on: x ← x − (η/N) Aᵀ(A x − b), k times.
    LearnedMomentum   the next iterate of gradient descent with momentum, Φ(A, b, x_k, x_{k−1}), for matrices with
                      singular values in [1/κ, 1]: x + α Aᵀ(b − A x) + β (x − y).
    LearnedChebyshev  the next iterate of Chebyshev's method, Φ(A, b, x_k, x_{k−1}, ω): y + ω (x − y + Aᵀ(b − A x)),
                      with the weights ω₁ = 1, ω₂ = 1/(1 − ρ²/2), ω_{k+1} = 1/(1 − ρ² ω_k/4) of each problem's own κ,
                      ρ = (κ² − 1)/(κ² + 1).
Scaling: by powers of two. For LearnedDirect the root mean square of A is brought nearest to 1; for LearnedIteration
    (η/N) σ₁² below 1.96, so that every component shrinks. LearnedMomentum and LearnedChebyshev also divide A by a
    number c below 2, to have σ₁ = 1 and σ₁² + σₙ² = 2: that is off by u.
Rate, an application: max |1 − η λ/N|^k over the eigenvalues λ of AᵀA; with momentum and Chebyshev's weights
    (κ − 1)/(κ + 1) in the limit. With momentum a problem of larger κ than the step's goes slower, one of smaller κ no
    faster, and the error may exceed that rate's power by a factor that grows as k; Chebyshev's is below
    2 q^k/(1 + q^2k) times that of x₀ at every k.
Limiting accuracy: c κ² ε, ε being the error of what is emitted; of LearnedDirect, ε relative to the size of training's
    solutions. `solvers.refinement` makes more of it.
Stopping: the rule of `solvers.learned.base`, after each application.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on iterating learned steps; Polyak, Some methods of speeding up the
convergence of iteration methods (1964); Golub and Varga, Chebyshev semi-iterative methods, Numer. Math. 3 (1961).
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from solvers._core.triangular import back_substitute, matvec, rmatvec
from solvers.learned.base import LearnedSolver, Problem, State, near_one
from solvers.learned.gradient import exact_gradient

LARGEST_CONTRACTION = 1.96
"""(η/N) σ₁² never exceeds it: at 2 the largest component no longer shrinks."""


def exact_solution(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The solution by Householder QR, (B, n), in the dtype given: the control of a model that emits it."""
    factor = torch.geqrf(torch.cat([A, b.unsqueeze(-1)], dim=-1))[0]
    n = A.shape[-1]
    return back_substitute(factor[:, :n, :n], factor[:, :n, n])


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedDirect(LearnedSolver):
    """Ask a model for the solution, once; x0 is not looked at. See the base for the options.

    Args:
        step: (A (B, m, n), b (B, m)) → the solution, (B, n).
        name: what the solver is called.
        max_iterations: 1: it is asked once.
        tolerance: of what is called converged.
        refinement: None.
    """

    name: str = "learned-direct"
    max_iterations: int = field(default=1, init=False)

    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        del x0
        return Problem.of(A, b, None, near_one)

    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        return self.step(s.problem.A, s.problem.b).to(s.x.dtype), ()


class DescentStep(Protocol):
    """A map from an iterate to the one k steps of gradient descent on."""

    @property
    def rows(self) -> int:
        """N, by which the step is divided whatever the rows of a problem."""

    @property
    def step_size(self) -> float:
        """η."""

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Emit the iterate k steps on, (B, n), from A (B, m, n), m at most N, b (B, m) and x (B, n)."""


@dataclass(frozen=True)
class ExactDescent:
    """K steps of gradient descent as the formula has them, in the dtype given.

    Args:
        rows: N.
        step_size: η.
        steps: k.
    """

    rows: int
    step_size: float
    steps: int

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """The iterate k steps on, (B, n)."""
        for _ in range(self.steps):
            x = x - self.step_size / self.rows * exact_gradient(A, b, x)
        return x


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedIteration(LearnedSolver):
    """Apply a learned iterate again and again; see the base for the other options.

    Args:
        step: (A (B, m, n), b (B, m), x (B, n)) → the iterate that follows x, (B, n).
        name: what the solver is called.
    """

    step: DescentStep = field(kw_only=False)
    name: str = "learned-iteration"

    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        bound = (LARGEST_CONTRACTION * self.step.rows / self.step.step_size) ** 0.5
        return Problem.of(A, b, x0, lambda _, largest: (bound / largest).log2().floor())

    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        return self.step(s.problem.A, s.problem.b, s.x).to(s.x.dtype), ()


class _Pace(NamedTuple):
    A: torch.Tensor  # the problem's, divided by c
    x: torch.Tensor  # c x
    before: torch.Tensor  # and the iterate before
    c: torch.Tensor
    weight: torch.Tensor  # ω of the next step, and ρ²; momentum has no use for them
    square: torch.Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedMomentum(LearnedSolver):
    """Descent with a learned momentum step; see the base for the options.

    Args:
        name: what the solver is called.
    """

    name: str = "learned-momentum"

    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        return Problem.of(A, b, x0, lambda _, largest: -largest.log2().floor())

    def _size(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """What A is divided by, from σₙ and σ₁."""
        del low
        return high

    def _memory(self, problem: Problem) -> Any:
        dtype, high = problem.A.dtype, torch.where(problem.largest > 0, problem.largest, 1.0)
        low = torch.minimum(problem.smallest, high)
        c = self._size(low, high).unsqueeze(-1).to(dtype)
        square = ((high - low) * (high + low) / (high**2 + low**2)) ** 2
        x = problem.start * c
        return _Pace(problem.A / c.unsqueeze(-1), x, x, c, torch.ones_like(c[:, 0]), square.to(dtype))

    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        m = s.memory
        x = self._emitted(s.problem.b, m).to(s.x.dtype)
        weight = following_weight(m.weight, m.square)
        return x / m.c, m._replace(x=x, before=m.x, weight=weight)

    def _emitted(self, b: torch.Tensor, m: _Pace) -> torch.Tensor:
        return self.step(m.A, b, m.x, m.before)


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedChebyshev(LearnedMomentum):
    """Chebyshev's method with a learned step; see the base for the options.

    Args:
        name: what the solver is called.
    """

    name: str = "learned-chebyshev"

    def _size(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return ((low**2 + high**2) / 2).sqrt()

    def _emitted(self, b: torch.Tensor, m: _Pace) -> torch.Tensor:
        return self.step(m.A, b, m.x, m.before, m.weight)


def following_weight(weight: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """ω_{k+1} of Chebyshev's method from ω_k, 1 at the first step alone unless ρ = 0, and ρ², (B,)."""
    return 1 / (1 - square * torch.where(weight == 1, 0.5, weight / 4))


def coefficients(condition: float) -> tuple[float, float]:
    """Step α and momentum β for singular values in [1/κ, 1]."""
    return 4 / (1 + 1 / condition) ** 2, ((condition - 1) / (condition + 1)) ** 2


@dataclass(frozen=True)
class ExactMomentum:
    """The step with momentum as the formula has it, in the dtype given.

    Args:
        condition: κ that α and β are for.
    """

    condition: float

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The next iterate, (B, n)."""
        alpha, beta = coefficients(self.condition)
        return x + alpha * rmatvec(A, b - matvec(A, x)) + beta * (x - before)


def exact_chebyshev(
    A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The next iterate of Chebyshev's method as the formula has it, (B, n), in the dtype given."""
    return before + weight.unsqueeze(-1) * (x - before + rmatvec(A, b - matvec(A, x)))
