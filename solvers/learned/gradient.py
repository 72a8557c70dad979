"""A learned gradient made into a solver: min_x ‖b − A x‖₂ by descent with refinement.

Problem: a model emits g(A, b, x) ≈ Aᵀ(A x − b), within ε of it where A, b and x are of order one, as in its training.
Iteration, from x̄ at every `refinement`-th step, where r = b − A x̄ is taken in double-double arithmetic:
    d₀ = 0,   d_{k+1} = d_k − η (g(A, f/β, d_k) + h/β),   x = x̄ + β d_k,   η = 2/(σ₁² + σₙ²) unless given.
At first f = r and h = 0: the model reads the problem. From the second round on f = 0 and h = −Aᵀr, in double-double as
well, and the model emits how the gradient changes with d: at the solution r need not be small, and what the model makes
of it is only ever within ε ‖r‖ of zero. β = 2^e ≈ max (|f|, |h|).
Every problem is first scaled by powers of two so that A has entries of order one; that costs no rounding error. A
problem thus looks to the model as those of its training did, whatever the scale of A and b and however close x̄ has
come: the model's absolute error ε becomes an error relative to the correction still to be made.
Rate: (κ² − 1)/(κ² + 1) a step, as gradient descent. Limiting accuracy: about u κ² ‖x‖ whatever the residual, while ε κ²
is well below 1; without refinement κ² ε (‖x‖ + ‖r‖/‖A‖).
Stopping: ‖Aᵀr‖ ≤ tolerance · σ₁ (σ₁ ‖x‖ + ‖r‖), which bounds ‖x − x*‖/‖x‖ by tolerance · κ² (1 + ‖r‖/(σ₁ ‖x‖)).
Equivalent to: iterative refinement in extended precision, around a few steps of inexact gradient descent.

Reference: Wilkinson, Rounding Errors in Algebraic Processes (1963), on refinement; Liu et al., arXiv 2503.12295, on
iterating a learned gradient.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch

from solvers._core import double_double as dd
from solvers._core import scaling
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

GradientStep = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x (B, n)) → an approximation to Aᵀ(A x − b), (B, n)."""

DEFAULT_TOLERANCE_ULPS = 32
STEPS_BETWEEN_CHECKS = 10


class LearnedSolver(Solver):
    """Descent along a learned gradient.

    Args:
        gradient: emits Aᵀ(A x − b) for a batch, in any precision; it is given tensors of the problem's dtype.
        name: what the solver is called.
        step_size: "spectrum" for 2/(σ₁² + σₙ²) of each problem, or a number η that multiplies Aᵀ(A x − b).
        max_iterations: cap on applications of the gradient.
        tolerance: of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
        refinement: steps between two residuals in extended precision; None takes none, and iterates on x itself.

    Raises:
        ValueError: if an option is out of range.
    """

    condition_power: ClassVar[int] = 2
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    """Whether a batch changes bits is up to the gradient that it is handed."""

    def __init__(
        self,
        gradient: GradientStep,
        *,
        name: str = "learned",
        step_size: float | str = "spectrum",
        max_iterations: int = 1000,
        tolerance: float | None = None,
        refinement: int | None = 10,
    ) -> None:
        if isinstance(step_size, str) and step_size != "spectrum":
            raise ValueError(f"step_size: got {step_size!r}, want 'spectrum' or a positive number")
        if not isinstance(step_size, str) and not 0 < step_size < float("inf"):
            raise ValueError(f"step_size: got {step_size!r}, want 'spectrum' or a positive number")
        if max_iterations < 0:
            raise ValueError(f"max_iterations: got {max_iterations}, want 0 or more")
        if tolerance is not None and not 0 <= tolerance < 1:
            raise ValueError(f"tolerance: got {tolerance}, want None or a number from 0 to below 1")
        if refinement is not None and refinement < 1:
            raise ValueError(f"refinement: got {refinement}, want None or 1 or more")
        self._gradient, self._name, self._step_size = gradient, name, step_size
        self.max_iterations, self.tolerance, self.refinement = max_iterations, tolerance, refinement

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = _Scaled.of(A, b, x0, self._step_size)
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = DEFAULT_TOLERANCE_ULPS * torch.finfo(A.dtype).eps / 2
        deficient = problem.smallest <= max(A.shape[-2:]) * torch.finfo(A.dtype).eps * problem.largest
        x, status = problem.start, torch.where(deficient, int(Status.RANK_DEFICIENT), int(Status.MAX_ITERATIONS))
        iterations = torch.zeros(len(A), dtype=torch.int64, device=A.device)
        trace = [problem.unscale(x)] if record else []
        active, taken = torch.nonzero(~deficient).squeeze(-1), 0
        while len(active):
            part = problem.take(active)
            residual = part.residual(x[active])
            converged = part.converged(x[active], residual, tolerance)
            status[active[converged]] = int(Status.CONVERGED)
            active, part, residual = active[~converged], part.take(~converged), residual[~converged]
            steps = min(self.refinement or STEPS_BETWEEN_CHECKS, self.max_iterations - taken)
            if not len(active) or not steps:
                break
            for iterate in self._descend(part, x[active], residual, steps, first=not taken):
                # A problem whose iterate overflows stays at its last finite one for the rest of the round.
                finite = iterate.isfinite().all(dim=-1) & (status[active] != Status.BREAKDOWN)
                status[active[~finite]] = int(Status.BREAKDOWN)
                iterations[active[finite]] += 1
                x = x.index_copy(0, active[finite], iterate[finite])
                if record:
                    trace.append(problem.unscale(x))
            active = active[status[active] != Status.BREAKDOWN]
            taken += steps
        stacked = torch.stack(trace) if record else None
        return LstsqResult(x=problem.unscale(x), status=status, iterations=iterations, trace=stacked)

    def _descend(
        self, problem: "_Scaled", x: torch.Tensor, residual: torch.Tensor, steps: int, *, first: bool
    ) -> "list[torch.Tensor]":
        """Iterates from x: of the correction d, or, without refinement, of x itself."""
        A, iterates = problem.A, []
        if self.refinement is None:
            for _ in range(steps):
                x = x - problem.step_size * self._gradient(A, problem.b, x).to(x.dtype)
                iterates.append(x)
            return iterates
        known = torch.zeros_like(x, dtype=torch.float64) if first else problem.gradient(x)
        exponent = scaling.exponent(residual if first else known, -1).unsqueeze(-1)
        b = scaling.ldexp(residual * first, -exponent).to(A.dtype)
        h, d = scaling.ldexp(known, -exponent).to(A.dtype), torch.zeros_like(x)
        for _ in range(steps):
            d = d - problem.step_size * (self._gradient(A, b, d).to(x.dtype) + h)
            iterates.append(x + scaling.ldexp(d, exponent))
        return iterates


class _Scaled(NamedTuple):
    """Problems whose A has entries of order one, and what descent needs to know of them."""

    A: torch.Tensor
    b: torch.Tensor
    start: torch.Tensor
    largest: torch.Tensor
    smallest: torch.Tensor
    step_size: torch.Tensor
    back: torch.Tensor

    @classmethod
    def of(cls, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, step_size: float | str) -> "_Scaled":
        bounded = scaling.scale(A, b, x0)
        mean_square = bounded.A.double().square().mean(dim=(-2, -1))
        to_unit = torch.where(mean_square > 0, -(mean_square.log2() / 2).round(), 0.0).to(torch.int64)
        unit = scaling.ldexp(bounded.A, to_unit[:, None, None])
        start = torch.zeros_like(A[:, 0]) if bounded.x0 is None else bounded.x0
        s = torch.linalg.svdvals(unit.double())
        largest, smallest = s[:, 0], s[:, -1]
        if isinstance(step_size, str):
            eta = 2 / (largest.square() + smallest.square())
        else:
            # The caller's η belongs to the caller's A; the scaled one is larger by the square of the scale.
            eta = scaling.ldexp(torch.full_like(largest, step_size), 2 * (bounded.matrix_exponent - to_unit))
        return cls(
            A=unit,
            b=bounded.b,
            start=scaling.ldexp(start, -to_unit.unsqueeze(-1)),
            largest=largest,
            smallest=smallest,
            step_size=eta.unsqueeze(-1).to(A.dtype),
            back=(bounded.right_exponent - bounded.matrix_exponent + to_unit).unsqueeze(-1),
        )

    def take(self, chosen: torch.Tensor) -> "_Scaled":
        """The chosen problems of the batch."""
        return _Scaled(*(tensor[chosen] for tensor in self))

    def residual(self, x: torch.Tensor) -> torch.Tensor:
        """B − A x, rounded to float64 from double-double."""
        residual, exponent = dd.residual(self.A, self.b, dd.from_double(x.double()))
        return scaling.ldexp(residual.hi, exponent.unsqueeze(-1))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Aᵀ(A x − b), likewise."""
        residual, exponent = dd.residual(self.A, self.b, dd.from_double(x.double()))
        return scaling.ldexp(-dd.matvec(self.A.mT.double(), residual).hi, exponent.unsqueeze(-1))

    def unscale(self, x: torch.Tensor) -> torch.Tensor:
        """Iterates in the caller's units."""
        return scaling.ldexp(x, self.back)

    def converged(self, x: torch.Tensor, residual: torch.Tensor, tolerance: float) -> torch.Tensor:
        """Whether the stopping rule holds; never where an iterate has grown until its squares overflow."""
        optimality = (residual.unsqueeze(-2) @ self.A.double()).squeeze(-2).norm(dim=-1)
        size = self.largest * x.double().norm(dim=-1) + residual.norm(dim=-1)
        allowed = tolerance * self.largest * size
        small: torch.Tensor = (optimality <= allowed) & allowed.isfinite()
        return small & (tolerance > 0)
