"""What every learned solver is: a step that a model emits, applied to problems of the size that it was trained on.

Problem: min_x ‖b − A x‖₂, by a step Φ that is handed over as a function. Nothing here knows a model.
Scaling: A and b by powers of two, to the size of Φ's training; x is scaled back. No digit is lost either way.
Iteration: one application of Φ, which is given tensors of the problem's dtype and may compute in another.
Stopping: ‖Aᵀr‖ <= τ σ₁ (σ₁ ‖x‖ + ‖r‖), τ = 32 u unless given; then ‖x − x*‖ <= 2 τ (κ² ‖x*‖ + κ²‖r*‖/σ₁).
Status: CONVERGED is said of the residual of A, b and x itself, never of what Φ emitted: r and Aᵀr are taken in
    double-double, and so, from A = Q R, is x* − x ≈ R⁻¹R⁻ᵀAᵀr. It has to be within c(m, n) τ (κ^p ‖x‖ + κ²‖r‖/σ₁),
    and c τ κ^p and c τ κ² count for no more than ¼ there, so that a digit is right. Where κ u > 1/(16 max(m, n)) no
    answer is vouched for. RANK_DEFICIENT by the rule of `solvers._core.rank`, before Φ is asked. BREAKDOWN where Φ
    emits a NaN or inf; x is then the iterate before. MAX_ITERATIONS elsewhere.
Alone and control: with `refinement=None` every digit of x is Φ's: nothing is computed above the problem's dtype but
    the status. Beside each solver stands its step as the formula has it; around that, the same solver is the control,
    and what a model adds is the difference. `in_dtype` has it computed in the dtype of the model.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import update_wrapper
from typing import Any, ClassVar, NamedTuple

import torch

from solvers._core import double_double as dd
from solvers._core.arrays import require_count, require_nonnegative
from solvers._core.loop import RUNNING, iterate, taken
from solvers._core.rank import judged
from solvers._core.scaling import ldexp, scale
from solvers._core.triangular import back_substitute, forward_substitute, matvec, norm, rmatvec
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

Step = Callable[..., torch.Tensor]

DEFAULT_TOLERANCE_ULPS = 32
RIGHT_EXPONENT = 2
"""The largest entry of b is brought below 2 to this power."""
_DIGIT = 0.25
_VOUCHED = 1 / 16


class Problem(NamedTuple):
    """Problems of the size of a model's training."""

    A: torch.Tensor
    b: torch.Tensor
    start: torch.Tensor
    R: torch.Tensor  # of A = Q R, float64
    largest: torch.Tensor  # σ₁, float64
    smallest: torch.Tensor  # σₙ, float64
    unit: torch.Tensor  # u of the caller's dtype, (B,)
    to_model: torch.Tensor  # A is the caller's times 2 to this, (B,)
    back: torch.Tensor  # and x is to be multiplied by 2 to this, (B, 1) or (B, n)

    @classmethod
    def of(
        cls,
        A: torch.Tensor,
        b: torch.Tensor,
        x0: torch.Tensor | None,
        to_unit: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> "Problem":
        """Problems scaled by one power of two each: `to_unit` has it from A of entries below 1 and σ₁."""
        bounded = scale(A, b, x0)
        R, s = factored(bounded.A)
        e = torch.where(s[:, 0] > 0, to_unit(bounded.A, s[:, 0]), 0.0).to(torch.int64)
        return cls(
            A=ldexp(bounded.A, e[:, None, None]),
            b=bounded.b * 2.0**RIGHT_EXPONENT,
            start=ldexp(bounded.start, RIGHT_EXPONENT - e.unsqueeze(-1)),
            R=ldexp(R, e[:, None, None]),
            largest=ldexp(s[:, 0], e),
            smallest=ldexp(s[:, -1], e),
            unit=torch.full_like(s[:, 0], torch.finfo(A.dtype).eps / 2),
            to_model=e - bounded.matrix_exponent,
            back=(bounded.right_exponent - bounded.matrix_exponent + e).unsqueeze(-1) - RIGHT_EXPONENT,
        )

    def truth(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """R = b − A x and Aᵀr, both in double-double, and then rounded to float64."""
        r, e = dd.residual(self.A, self.b, dd.from_double(x))
        g = dd.matvec(self.A.mT.double(), r)
        return ldexp(r.hi, e.unsqueeze(-1)), ldexp(g.hi, e.unsqueeze(-1))


def factored(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """R of A = Q R, (B, n, n), and the singular values, (B, n), in float64."""
    R = torch.geqrf(A.double())[0][:, : A.shape[-1], :].triu()
    return R, torch.linalg.svdvals(R)


class State(NamedTuple):
    """Where an iteration stands."""

    x: torch.Tensor
    memory: Any  # what a method carries from step to step: a tuple of tensors
    problem: Problem
    ended: torch.Tensor  # RANK_DEFICIENT, BREAKDOWN or RUNNING
    age: torch.Tensor  # applications of the step


@dataclass(frozen=True, eq=False)
class LearnedSolver(Solver):
    """A step made into a solver.

    Args:
        step: emits what the method asks for, for a batch, in any precision.
        name: what the solver is called.
        max_iterations: cap on applications of the step.
        tolerance: τ of the stopping rule; None means 32 u of the problem's dtype, and 0 never stops early.
        refinement: None: the digits are the step's alone. Methods that can refine say what a number means.
    """

    condition_power: ClassVar[int] = 2
    error_constant: ClassVar[float] = 64.0
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING})
    refinable: ClassVar[bool] = False

    step: Step
    _: KW_ONLY
    name: str = "learned"
    max_iterations: int = 1000
    tolerance: float | None = None
    refinement: int | None = None

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)
        if self.tolerance is not None and self.tolerance >= 1:
            raise ValueError(f"tolerance: got {self.tolerance}, wants a number below 1")
        if self.refinement is not None:
            require_count("refinement", self.refinement, least=1)
            if not self.refinable:
                raise ValueError(f"refinement: got {self.refinement}, wants None; see solvers.refinement")

    @abstractmethod
    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        """The batch in the model's size."""

    def _memory(self, problem: Problem) -> Any:
        """What the method carries, at the start."""
        del problem
        return ()

    @abstractmethod
    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        """The next x and memory, by one application of the step."""

    def _ruling(self, s: State) -> torch.Tensor:
        """CONVERGED or RUNNING, or what else a method has to say."""
        return torch.where(self._holds(s.problem, s.x), int(Status.CONVERGED), RUNNING)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = self._problem(A, b, x0)
        running = torch.full(A.shape[:1], int(Status.MAX_ITERATIONS), device=A.device)
        unasked = LstsqResult(x=problem.start, status=running, iterations=torch.zeros_like(running))
        found = judged(A, unasked, columnwise=Promise.COLUMNWISE in self.promises)
        ended = torch.where(torch.as_tensor(found.status) == running, RUNNING, int(Status.RANK_DEFICIENT))
        state = State(problem.start, self._memory(problem), problem, ended, torch.zeros_like(running))
        result = iterate(state, self._next, self._verdict, max_iterations=self.max_iterations, record=record)
        trace = None if result.trace is None else ldexp(torch.as_tensor(result.trace), problem.back).to(A.dtype)
        return LstsqResult(
            x=ldexp(torch.as_tensor(result.x), problem.back).to(A.dtype),
            status=result.status,
            iterations=result.iterations,
            condition=found.condition,
            trace=trace,
        )

    def _next(self, s: State) -> State:
        x, memory = self._advance(s)
        finite = x.isfinite().all(dim=-1)
        ended = torch.where(finite, RUNNING, int(Status.BREAKDOWN))
        return State(torch.where(finite[:, None], x, s.x), memory, s.problem, ended, s.age + 1)

    def _verdict(self, s: State) -> torch.Tensor:
        return torch.where(s.ended == RUNNING, self._ruling(s), s.ended)

    def _holds(self, problem: Problem, x: torch.Tensor) -> torch.Tensor:
        """Whether the stopping rule holds, in float64 first, and then of the true residual and error."""
        r = problem.b - matvec(problem.A.double(), x.double())
        claimed = self._small(problem, x, r, rmatvec(problem.A.double(), r))
        where = torch.nonzero(claimed).squeeze(-1)
        if len(where):
            part, x = taken(problem, where), x[where]
            claimed[where] = self._small(part, x, *part.truth(x)) & self._vouched(part, x)
        return claimed

    def _small(self, problem: Problem, x: torch.Tensor, r: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        largest, tolerance = problem.largest, DEFAULT_TOLERANCE_ULPS * problem.unit
        if self.tolerance is not None:
            tolerance = torch.full_like(tolerance, self.tolerance)
        allowed = tolerance * largest * (largest * norm(x.double()) + norm(r))
        # Where squares overflow both sides are inf, and nothing has been solved.
        small: torch.Tensor = norm(g) <= allowed
        return small & allowed.isfinite() & (tolerance > 0)

    def _vouched(self, problem: Problem, x: torch.Tensor) -> torch.Tensor:
        """Whether the error is within what is documented, and leaves a digit."""
        m, n = problem.A.shape[-2:]
        kappa = problem.largest / problem.smallest
        unit = problem.unit.clamp(min=self.tolerance or 0.0)
        share = self.error_constant * math.sqrt(m + n) * unit * torch.stack([kappa**self.condition_power, kappa**2])
        of_x, of_r = share.clamp(max=_DIGIT)
        r, g = problem.truth(x)
        d = back_substitute(problem.R, forward_substitute(problem.R, g))
        # What is left at x + d is taken too: d is rounding where the larger part of Aᵀr is that of large σ.
        _, g = problem.truth(x + d)
        error = norm(d) + norm(back_substitute(problem.R, forward_substitute(problem.R, g)))
        allowed = of_x * norm(x.double()) + of_r * norm(r) / problem.largest
        vouched: torch.Tensor = (error <= allowed) & (max(m, n) * problem.unit * kappa <= _VOUCHED)
        return vouched


def in_dtype(step: Step, dtype: torch.dtype) -> Step:
    """A step computed in another dtype: what a model of that dtype is to be held against.

    Args:
        step: a function of tensors.
        dtype: to compute in.

    Returns:
        The step, with its attributes; it answers in the dtype of its first argument.
    """

    def rounded(A: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return step(A.to(dtype), *(part.to(dtype) for part in rest)).to(A.dtype)

    return update_wrapper(rounded, step)


def near_one(A: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """The power of two that brings the root mean square of A nearest to 1."""
    del largest
    return -(A.double().square().mean(dim=(-2, -1)).log2() / 2).round()
