"""A learned momentum step made into a solver: min_x ‖b − A x‖₂ in about κ iterations instead of κ².

Problem: a model emits the next iterate of gradient descent with momentum, from two iterates, for matrices with singular
    values in [1/κ, 1].
Iteration: x_{k+1} = step(A/σ₁, b, x_k, x_{k−1}), from x₀ twice; x is scaled back by σ₁.
Rate: (κ − 1)/(κ + 1) a step in the limit, for the κ that the step was made for; a problem of larger κ goes slower,
    one of smaller κ no faster.
Limiting accuracy: c κ² ε, ε being the error of what is emitted, of which the division by σ₁ is no more than u.
Stopping: ‖Aᵀr‖ <= tolerance σ₁ (σ₁ ‖x‖ + ‖r‖), or the cap.

Reference: Polyak, Some methods of speeding up the convergence of iteration methods (1964).
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch

from solvers.iteration import iterate, ruled
from solvers.products import matvec, norm, rmatvec
from solvers.rank import flag_deficient
from solvers.result import LstsqResult
from solvers.scaling import scale
from solvers.solver import Promise, Solver
from solvers.validation import require_count, require_nonnegative

MomentumStep = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x (B, n), the x before (B, n)) → the next x, (B, n)."""

DEFAULT_TOLERANCE_ULPS = 32


class _State(NamedTuple):
    x: torch.Tensor
    before: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor


class LearnedMomentum(Solver):
    """Descent with a learned momentum step.

    Args:
        step: emits the next iterate for a batch; it is given tensors of the problem's dtype.
        name: what the solver is called.
        max_iterations: cap on applications of the step.
        tolerance: of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
    """

    condition_power: ClassVar[int] = 2
    promises: frozenset[Promise] = frozenset()

    def __init__(
        self,
        step: MomentumStep,
        *,
        name: str = "learned-momentum",
        max_iterations: int = 1000,
        tolerance: float | None = None,
    ) -> None:
        require_count("max_iterations", max_iterations)
        if tolerance is not None:
            require_nonnegative("tolerance", tolerance)
        self._step, self._name = step, name
        self.max_iterations, self.tolerance = max_iterations, tolerance

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = scale(A, b, x0)
        largest = torch.linalg.matrix_norm(problem.A, ord=2)
        largest = torch.where(largest > 0, largest, 1.0).unsqueeze(-1)
        start = torch.zeros_like(A[:, 0]) if problem.x0 is None else problem.x0
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = DEFAULT_TOLERANCE_ULPS * torch.finfo(A.dtype).eps / 2

        def verdict(s: _State) -> torch.Tensor:
            residual = s.b - matvec(s.A, s.x)
            optimality = norm(rmatvec(s.A, residual))
            small = optimality <= tolerance * (norm(s.x) + norm(residual))
            return ruled(small & (tolerance > 0), optimality)

        def advance(s: _State) -> _State:
            return s._replace(x=self._step(s.A, s.b, s.x, s.before), before=s.x)

        unit = _State(x=start * largest, before=start * largest, A=problem.A / largest.unsqueeze(-1), b=problem.b)
        result = iterate(unit, advance, verdict, max_iterations=self.max_iterations, record=record)
        back = LstsqResult(
            x=torch.as_tensor(result.x) / largest,
            status=result.status,
            iterations=result.iterations,
            trace=None if result.trace is None else torch.as_tensor(result.trace) / largest,
        )
        return flag_deficient(A, problem.restored(back))
