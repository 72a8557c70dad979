"""Learned steps with a memory made into solvers: min_x ‖b − A x‖₂ in about κ iterations instead of κ².

Problem: a model emits the next iterate of gradient descent with momentum, for matrices with singular values in
    [1/κ, 1], or of Chebyshev's method, for any matrix, from two iterates.
Iteration: x_{k+1} = step(c A, b, x_k, x_{k−1}), from x₀/c twice; x is scaled back by c.
    Momentum: c = 1/σ₁; κ is the one that the step was made for.
    Chebyshev: c² = 2/(σ₁² + σₙ²), likewise, and the step is given the weight ω that is due: ω₁ = 1, ω₂ = 1/(1 − ρ²/2),
    ω_{k+1} = 1/(1 − ρ² ω_k/4), where ρ = (κ² − 1)/(κ² + 1), κ being each problem's own.
Rate: (κ − 1)/(κ + 1) a step in the limit. With momentum a problem of larger κ than the step's goes slower, one of
    smaller κ no faster, and the error may exceed that rate's power by a factor that grows as k; Chebyshev's is below
    2 q^k/(1 + q^2k) times that of x₀ at every k.
Limiting accuracy: c κ² ε, ε being the error of what is emitted, of which the scaling of A is no more than u.
Stopping: ‖Aᵀr‖ <= tolerance σ₁ (σ₁ ‖x‖ + ‖r‖), or the cap.

Reference: Polyak, Some methods of speeding up the convergence of iteration methods (1964); Golub and Varga, Chebyshev
semi-iterative methods, Numer. Math. 3 (1961).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch

from solvers._core.arrays import require_count, require_nonnegative
from solvers._core.loop import iterate, ruled
from solvers._core.rank import judged
from solvers._core.scaling import scale
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.gradient_descent import extreme_singular_values
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

MomentumStep = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x (B, n), the x before (B, n)) → the next x, (B, n)."""

DEFAULT_TOLERANCE_ULPS = 32


ChebyshevStep = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x (B, n), the x before (B, n), ω (B,)) → the next x, y + ω (x − y + Aᵀ(b − A x)), (B, n)."""


class _State(NamedTuple):
    x: torch.Tensor
    before: torch.Tensor
    weight: torch.Tensor  # ω of the next step, and ρ²; momentum has no use for them
    square: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor


class _Accelerated(Solver):
    """What the two methods share."""

    condition_power: ClassVar[int] = 2
    promises: frozenset[Promise] = frozenset()

    def __init__(self, name: str, max_iterations: int, tolerance: float | None) -> None:
        require_count("max_iterations", max_iterations)
        if tolerance is not None:
            require_nonnegative("tolerance", tolerance)
        self._name = name
        self.max_iterations, self.tolerance = max_iterations, tolerance

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    @abstractmethod
    def _advance(self, s: _State) -> _State:
        """One application of the step."""

    @abstractmethod
    def _unit(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """What A is divided by, from σₙ and σ₁."""

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = scale(A, b, x0)
        low, high = extreme_singular_values(problem.A)
        low, high = (torch.where(high > 0, value, 1.0) for value in (low, high))
        unit = self._unit(low, high).unsqueeze(-1)
        start = torch.zeros_like(A[:, 0]) if problem.x0 is None else problem.x0
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = DEFAULT_TOLERANCE_ULPS * torch.finfo(A.dtype).eps / 2

        def verdict(s: _State) -> torch.Tensor:
            residual = s.b - matvec(s.A, s.x)
            optimality = norm(rmatvec(s.A, residual))
            small = optimality <= tolerance * (norm(s.x) + norm(residual))
            return ruled(small & (tolerance > 0), optimality)

        state = _State(
            x=start * unit,
            before=start * unit,
            weight=torch.ones_like(high),
            square=((high - low) * (high + low) / (high**2 + low**2)) ** 2,
            A=problem.A / unit.unsqueeze(-1),
            b=problem.b,
        )
        result = iterate(state, self._advance, verdict, max_iterations=self.max_iterations, record=record)
        back = LstsqResult(
            x=torch.as_tensor(result.x) / unit,
            status=result.status,
            iterations=result.iterations,
            trace=None if result.trace is None else torch.as_tensor(result.trace) / unit,
        )
        return judged(A, problem.restored(back))


class LearnedMomentum(_Accelerated):
    """Descent with a learned momentum step.

    Args:
        step: emits the next iterate for a batch; it is given tensors of the problem's dtype.
        name: what the solver is called.
        max_iterations: cap on applications of the step.
        tolerance: of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
    """

    def __init__(
        self,
        step: MomentumStep,
        *,
        name: str = "learned-momentum",
        max_iterations: int = 1000,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(name, max_iterations, tolerance)
        self._step = step

    def _advance(self, s: _State) -> _State:
        return s._replace(x=self._step(s.A, s.b, s.x, s.before), before=s.x)

    def _unit(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        del low
        return high


class LearnedChebyshev(_Accelerated):
    """Chebyshev's method with a learned step.

    Args:
        step: emits the next iterate for a batch, given the weight of that step; it is given tensors of the problem's
            dtype.
        name: what the solver is called.
        max_iterations: cap on applications of the step.
        tolerance: of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
    """

    def __init__(
        self,
        step: ChebyshevStep,
        *,
        name: str = "learned-chebyshev",
        max_iterations: int = 1000,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(name, max_iterations, tolerance)
        self._step = step

    def _advance(self, s: _State) -> _State:
        x = self._step(s.A, s.b, s.x, s.before, s.weight)
        return s._replace(x=x, before=s.x, weight=following_weight(s.weight, s.square))

    def _unit(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return ((low**2 + high**2) / 2).sqrt()


def following_weight(weight: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
    """The weight of Chebyshev's next step.

    Args:
        weight: ω_k, (B,); 1 at the first step, and at that alone unless ρ = 0.
        square: ρ², (B,).

    Returns:
        ω_{k+1}, (B,).
    """
    return 1 / (1 - square * torch.where(weight == 1, 0.5, weight / 4))
