"""A learned iterate made into a solver: min_x ‖b − A x‖₂ by applying a model to what it emitted.

Problem: a model emits, for a problem and an iterate x, the iterate k steps of gradient descent on:
    x ← (I − (η/N) AᵀA) x + (η/N) Aᵀb, k times, N being the rows that it was trained on.
Iteration: x_{j+1} = Φ(2^e A, 2^f b, x_j), from x₀; one application of the model is one iteration.
Scaling: 2^e is the power of two that puts (η/N) σ₁² between 1/2 and 2, so that every problem contracts, and A looks as
    it did in training; 2^f brings the entries of b and A x₀ below 4, about as large as there. x is scaled back exactly.
Rate: max |1 − η λ/N|^k an application, over the eigenvalues λ of AᵀA; (κ² − 1)/(κ² + 1) to the k-th where η is at its
    best.
Limiting accuracy: c κ² ε, ε being the absolute error of what is emitted; `solvers.refinement` takes it further.
Stopping: ‖Aᵀr‖ <= tolerance σ₁ (σ₁ ‖x‖ + ‖r‖), or the cap.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on iterating learned steps.
"""

from typing import ClassVar, NamedTuple, Protocol

import torch

from solvers._core.arrays import require_count, require_nonnegative
from solvers._core.loop import iterate, ruled
from solvers._core.rank import judged
from solvers._core.scaling import ldexp, scale
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

DEFAULT_TOLERANCE_ULPS = 32
LARGEST_CONTRACTION = 1.96
"""(η/N) σ₁² never exceeds it: at 2 the largest component no longer shrinks."""
RIGHT_EXPONENT = 2
"""The largest entry of b is brought below 2 to this power."""


class DescentStep(Protocol):
    """A map from an iterate to the one k steps of gradient descent on."""

    @property
    def rows(self) -> int:
        """N, by which the step is divided whatever the rows of a problem."""

    @property
    def step_size(self) -> float:
        """η."""

    def __call__(self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Emit the iterate k steps on.

        Args:
            A: Matrices, (B, m, n), m at most N.
            b: Right-hand sides, (B, m).
            x: Iterates, (B, n).

        Returns:
            (B, n).
        """


class _State(NamedTuple):
    x: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor
    largest: torch.Tensor


class LearnedIteration(Solver):
    """Apply a learned iterate again and again.

    Args:
        step: emits the iterate k steps on; it is given tensors of the problem's dtype.
        name: what the solver is called.
        max_iterations: cap on applications of the step.
        tolerance: of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
    """

    condition_power: ClassVar[int] = 2
    promises: frozenset[Promise] = frozenset()

    def __init__(
        self,
        step: DescentStep,
        *,
        name: str = "learned-iteration",
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
        largest = torch.linalg.svdvals(problem.A.double())[:, 0]
        bound = (LARGEST_CONTRACTION * self._step.rows / self._step.step_size) ** 0.5
        to_unit = torch.where(largest > 0, (bound / largest).log2().floor(), 0.0).to(torch.int64)
        start = torch.zeros_like(A[:, 0]) if problem.x0 is None else problem.x0
        back = to_unit.unsqueeze(-1) - RIGHT_EXPONENT
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = DEFAULT_TOLERANCE_ULPS * torch.finfo(A.dtype).eps / 2

        def verdict(s: _State) -> torch.Tensor:
            residual = s.b - matvec(s.A, s.x)
            optimality = norm(rmatvec(s.A, residual))
            small = optimality <= tolerance * s.largest * (s.largest * norm(s.x) + norm(residual))
            return ruled(small & (tolerance > 0), optimality)

        state = _State(
            x=ldexp(start, -back),
            A=ldexp(problem.A, to_unit[:, None, None]),
            b=problem.b * 2.0**RIGHT_EXPONENT,
            largest=ldexp(largest, to_unit).to(A.dtype),
        )
        result = iterate(
            state,
            lambda s: s._replace(x=self._step(s.A, s.b, s.x)),
            verdict,
            max_iterations=self.max_iterations,
            record=record,
        )
        found = LstsqResult(
            x=ldexp(torch.as_tensor(result.x), back),
            status=result.status,
            iterations=result.iterations,
            trace=None if result.trace is None else ldexp(torch.as_tensor(result.trace), back),
        )
        return judged(A, problem.restored(found))
