"""A learned gradient made into a solver: min_x ‖b − A x‖₂ by descent, with refinement.

Problem: a model emits g(A, b, x) ≈ Aᵀ(A x − b), within ε of it where A, b and x are of order one, as in its training.
Iteration, alone: x ← x − η g(A, b, x), η = 2/(σ₁² + σₙ²) unless given.
    With refinement, from x̄ at every so many steps, where r = b − A x̄ is taken in double-double arithmetic:
        d₀ = 0,   d_{k+1} = d_k − η (g(A, f/β, d_k) + h/β),   x = x̄ + β d_k.
    At first f = r and h = 0: the model reads the problem. From the second round on f = 0 and h = −Aᵀr, in double-double
    as well, and the model emits how the gradient changes with d: at the solution r need not be small, and what the
    model makes of it is only ever within ε ‖r‖ of zero. β = 2^e ≈ max(|f|, |h|), so that ε is relative to the
    correction still to be made.
Scaling: the root mean square of A nearest to 1. See `solvers.learned.base`.
Rate: (κ² − 1)/(κ² + 1) a step, as gradient descent. Limiting accuracy: about u κ² ‖x‖ whatever the residual, while ε κ²
    is well below 1; alone κ² ε (‖x‖ + ‖r‖/‖A‖).
Stopping: the rule of the base, looked at after each round, or every ten steps.
Equivalent to: iterative refinement in extended precision, around a few steps of inexact gradient descent.

Reference: Wilkinson, Rounding Errors in Algebraic Processes (1963), on refinement; Liu et al., arXiv 2503.12295, on
iterating a learned gradient.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch

from solvers._core.arrays import require_choice, require_nonnegative
from solvers._core.loop import RUNNING
from solvers._core.scaling import exponent, ldexp
from solvers._core.triangular import matvec, rmatvec
from solvers.learned.base import LearnedSolver, Problem, State, near_one

STEPS_BETWEEN_CHECKS = 10


def exact_gradient(A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient as the formula has it, Aᵀ(A x − b), (B, n), in the dtype given."""
    return rmatvec(A, matvec(A, x) - b)


class _Round(NamedTuple):
    x: torch.Tensor  # x̄
    d: torch.Tensor
    b: torch.Tensor  # f/β
    h: torch.Tensor  # h/β
    exponent: torch.Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedGradient(LearnedSolver):
    """Descent along a learned gradient.

    Args:
        step: emits Aᵀ(A x − b) for a batch: (A (B, m, n), b (B, m), x (B, n)) → (B, n).
        name: what the solver is called.
        max_iterations: cap on applications of the gradient.
        tolerance: of the stopping rule; see the base.
        refinement: steps between two residuals in extended precision; None is the model alone.
        step_size: "spectrum" for 2/(σ₁² + σₙ²) of each problem, or a number η that multiplies Aᵀ(A x − b).
    """

    refinable: ClassVar[bool] = True

    name: str = "learned-gradient"
    refinement: int | None = 10
    step_size: float | str = "spectrum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.step_size, str):
            require_choice("step_size", self.step_size, ("spectrum",))
        else:
            require_nonnegative("step_size", self.step_size, positive=True)

    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        return Problem.of(A, b, x0, near_one)

    def _memory(self, problem: Problem) -> Any:
        x, none = torch.zeros_like(problem.start), torch.zeros_like(problem.back)
        return _Round(x, x, torch.zeros_like(problem.b), x, none)

    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        p, dtype = s.problem, s.x.dtype
        eta = 2 / (p.largest.square() + p.smallest.square())
        if not isinstance(self.step_size, str):
            # The caller's η belongs to the caller's A.
            eta = ldexp(torch.full_like(eta, self.step_size), -2 * p.to_model)
        eta = eta.unsqueeze(-1).to(dtype)
        if self.refinement is None:
            return s.x - eta * self.step(p.A, p.b, s.x).to(dtype), s.memory
        age = int(s.age[0])
        now = s.memory if age % self.refinement else _begun(p, s.x, first=age == 0)
        d = now.d - eta * (self.step(p.A, now.b, now.d).to(dtype) + now.h)
        return now.x + ldexp(d, now.exponent), now._replace(d=d)

    def _ruling(self, s: State) -> torch.Tensor:
        due = int(s.age[0]) % (self.refinement or STEPS_BETWEEN_CHECKS) == 0
        return super()._ruling(s) if due else torch.full_like(s.age, RUNNING)


def _begun(problem: Problem, x: torch.Tensor, *, first: bool) -> _Round:
    """A round of corrections to x, of which the model reads the residual or is told the gradient."""
    r, g = problem.truth(x)
    f, h = (r, 0 * g) if first else (0 * r, -g)
    e = exponent(f if first else h, -1).unsqueeze(-1)
    return _Round(x, torch.zeros_like(x), ldexp(f, -e).to(x.dtype), ldexp(h, -e).to(x.dtype), e)
