"""What cgls, lsqr and lsmr share: the start, the rules, and the check of what a recurrence says against b − A x.

Each gives the same iterates in exact arithmetic, or nearly so, from products A v and Aᵀu alone.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from solvers._core.arrays import require_count, require_nonnegative
from solvers._core.loop import Held, iterate, recheck, ruled
from solvers._core.operators import Matrix
from solvers._core.triangular import divide, norm
from solvers.result import LstsqResult
from solvers.solver import ProductSolver, Promise


@dataclass(frozen=True, kw_only=True)
class Krylov(ProductSolver):
    """A method of conjugate directions for least squares.

    Args:
        max_iterations: the cap, a problem.
        tolerance: τ of the stopping rules; None for eps, the spacing of the problem's dtype.
    """

    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.MONOTONE, Promise.KRYLOV_RATE})
    error_constant: ClassVar[float] = 16.0
    max_iterations: int = 1000
    tolerance: float | None = None

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)

    @staticmethod
    @abstractmethod
    def _begun(problem: Held, x: torch.Tensor) -> Any:
        """The state that begins at x, with fields `x` and `problem`."""

    @staticmethod
    @abstractmethod
    def _step(state: Any) -> Any:
        """The next state."""

    @staticmethod
    @abstractmethod
    def _sizes(state: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """‖r‖ and ‖Aᵀr‖, (B,) each, as the recurrence has them."""

    def _solve(self, A: Matrix, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem, x = Held.of(A, b, x0)
        tolerance = torch.finfo(A.dtype).eps if self.tolerance is None else self.tolerance

        def verdict(state: Any) -> torch.Tensor:
            held: Held = state.problem
            (r_norm, g_norm), x_norm = self._sizes(state), norm(state.x)
            return ruled(held.paige_saunders(r_norm, g_norm, x_norm, tolerance), r_norm, g_norm, x_norm)

        def holds(state: Any, steady: torch.Tensor) -> torch.Tensor:
            held: Held = state.problem
            (r_norm, g_norm), x_norm = self._sizes(state), norm(state.x)
            rest = steady & held.at_rest(g_norm, x_norm, held.noise)
            return held.paige_saunders(r_norm, g_norm, x_norm, tolerance) | rest

        result = iterate(
            self._begun(problem, x),
            self._step,
            verdict,
            max_iterations=self.max_iterations,
            record=record,
            checked=recheck(lambda _, problem, x: self._begun(problem, x), holds),
        )
        return problem.judged(A, result)


def normalised(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Length, (B,), and direction, (B, k); the direction of a zero vector is zero."""
    length = norm(values)
    return length, divide(values, length[:, None])
