"""Newton–Schulz: the pseudo-inverse by multiplication alone, then refinement with it.

Problem: min_x ‖b − A x‖₂, by way of X ≈ A⁺, (n, m).
Iteration: X ← X (2I − A X), from X₀ = Aᵀ/(‖A‖₁ ‖A‖_∞), evaluated as 2X − (X A) X with X A only n×n; x = X b. Once X has
    converged, x ← x + X (b − A x), a stationary iteration with the factor ‖I − X A‖. Memory: some m n + n² a problem.
Convergence: quadratic: an eigenvalue 1 − ε of X A becomes 1 − ε². From X₀ it takes about 2 log₂ κ steps until
    ‖I − X A‖ < ½, plus log₂ log₂ (1/u) more.
Acceleration: with [l, h] the eigenvalues of X A, from the singular values of A, X is multiplied by c = 2/(l + h) before
    each step: the smallest grow fourfold, not twofold, and errors no longer fall at every step. An eigenvalue near 2
    would be lost to rounding: c h stays below 2 − 2⁻¹⁰. X has converged when [l, h] has, if ‖I − X A‖_F is below ½.
Limiting accuracy: X A comes within c u κ of I, and refinement contracts by that. What X has outside the range of A,
    about u κ²/‖A‖, no step corrects, and it costs u κ²‖r‖/‖A‖. The forward error is c u κ (1 + κ‖r‖/(‖A‖‖x‖)), with
    c = 0.7 √(m + n) at most in 2,800 problems of up to 220×24, κ to 1e10. Where u κ² >= 1, with κ = ‖R‖_F ‖R⁻¹‖_F of A
    as it stands, X is A⁺ to no digit and no answer is vouched for: hence `condition_power` 2, and an `error_constant`
    by which such a κ leaves no digit even where it is n/2 times σ₁/σₙ.
Stopping: an X has converged when ‖I − X A‖_F is below ½ and has stopped falling by half a step; x when a refinement
    changes it by less than eps ‖x‖, or by no less than half as much as the one before.
Rank: X converges to A⁺ whatever the rank, and ‖I − X A‖_F to √(n − rank). A deficient A is flagged; x = X b is then the
    minimum-norm solution for a zero x0. Full rank with u κ² >= 1 is a BREAKDOWN.

Reference: Schulz (1933); Ben-Israel and Cohen, SIAM J. Numer. Anal. 3 (1966); Söderström and Stewart, On the numerical
properties of an iterative method for computing the Moore–Penrose generalized inverse, SIAM J. Numer. Anal. 11 (1974).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, NamedTuple, cast

import torch

from solvers import fused
from solvers._core.arrays import require_choice, require_count
from solvers._core.loop import RUNNING, Held, frobenius, iterate, recheck
from solvers._core.triangular import divide, matvec, norm
from solvers.fused import BACKENDS, Backend
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

_NEAR_TWO = 2.0**-10


class Spectrum(NamedTuple):
    """Bounds on the eigenvalues of X A, and how a factor and a step change them."""

    low: torch.Tensor
    high: torch.Tensor

    def factor(self) -> torch.Tensor:
        """What X is multiplied by before a step: the interval is then as much above 1 as below, if it may be."""
        return torch.minimum(2 / (self.low + self.high), (2 - _NEAR_TWO) / self.high)

    def stepped(self) -> "Spectrum":
        """The bounds after one step with that factor, λ ↦ λ (2 − λ)."""
        c = self.factor()
        low, high = self.low * c, self.high * c
        ends = low * (2 - low), high * (2 - high)
        return Spectrum(torch.minimum(*ends), torch.where(high >= 1, 1.0, torch.maximum(*ends)))

    def met(self, defect: torch.Tensor) -> torch.Tensor:
        """Whether X A is the identity to rounding by these bounds, and ‖I − X A‖_F does not deny it."""
        return (self.low >= 1 - torch.finfo(self.low.dtype).eps) & (defect < 0.5)


class _State(NamedTuple):
    x: torch.Tensor
    X: torch.Tensor
    spectrum: Spectrum
    defect: torch.Tensor  # ‖I − X A‖_F
    refining: torch.Tensor
    change: torch.Tensor  # ‖x‖ of the last refinement
    settled: torch.Tensor
    offset: torch.Tensor  # x0: x = x0 + X (b − A x0) until X has converged
    problem: Held


@dataclass(frozen=True, kw_only=True)
class NewtonSchulz(Solver):
    """Newton–Schulz iteration with refinement.

    Args:
        max_iterations: the cap on steps and refinements together, a problem.
        backend: "eager" is plain torch; "fused" one kernel for a step and its ‖I − X A‖_F; "auto" takes the kernel
            where it can run. They agree to rounding, not to the bit.
        accelerate: whether X is multiplied before each step by what brings its eigenvalues together fastest.
    """

    name: ClassVar[str] = "newton-schulz"
    condition_power: ClassVar[int] = 2
    error_constant: ClassVar[float] = 24.0
    max_iterations: int = 200
    backend: Backend = "auto"
    accelerate: bool = False

    @property
    def promises(self) -> frozenset[Promise]:
        """What the solver holds to."""
        return frozenset({Promise.EXACT_SCALING, Promise.NEWTON_RATE, *([] if self.accelerate else [Promise.MONOTONE])})

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem, x = Held.of(A, b, x0)
        matrix = cast(torch.Tensor, problem.A)
        sums = matrix.abs().sum(dim=-2).amax(dim=-1) * matrix.abs().sum(dim=-1).amax(dim=-1)
        X = divide(matrix.mT, sums[:, None, None]).contiguous()
        s = torch.linalg.svdvals(matrix) if self.accelerate else sums[:, None]  # not read unless X is accelerated
        no = torch.zeros_like(problem.matrix_exponent, dtype=torch.bool)
        start = _State(
            x=x,
            X=X,
            spectrum=Spectrum(divide(s[:, -1].square(), sums), divide(s[:, 0].square(), sums)),
            defect=_defect(X, matrix),
            refining=no,
            change=torch.full_like(sums, float("inf")),
            settled=no,
            offset=x,
            problem=problem,
        )
        m, n = A.shape[-2:]
        by_kernel = fused.chosen(self.backend, matrix, X, columns=n, entries=m * n)
        result = iterate(
            start,
            partial(_step, by_kernel=by_kernel, accelerate=self.accelerate),
            _verdict,
            max_iterations=self.max_iterations,
            record=record,
            checked=recheck(_begun_again, lambda _, steady: steady),
        )
        result = problem.judged(A, result)
        status, condition = torch.as_tensor(result.status), torch.as_tensor(result.condition)
        lost = (torch.finfo(A.dtype).eps / 2 * condition.square() >= 1) & (status != int(Status.RANK_DEFICIENT))
        return replace(result, status=torch.where(lost, int(Status.BREAKDOWN), status))


def exact_step(A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """One Newton–Schulz step, X ← X (2I − A X).

    Args:
        A: matrices, (..., m, n).
        X: approximate pseudo-inverses, (..., n, m).

    Returns:
        The next X, (..., n, m).
    """
    return 2 * X - (X @ A) @ X


def _defect(X: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    return frobenius(torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - X @ A)


def _step(s: _State, *, by_kernel: bool, accelerate: bool) -> _State:
    """One Newton–Schulz step where X has not converged, one refinement where it has."""
    A = cast(torch.Tensor, s.problem.A)
    X = s.X * s.spectrum.factor()[:, None, None] if accelerate else s.X
    if by_kernel:
        from solvers.fused.schulz import newton_schulz_step

        X, defect = newton_schulz_step(A, X)
    else:
        X = exact_step(A, X)
        defect = _defect(X, A)
    X = torch.where(s.refining[:, None, None], s.X, X)
    defect = torch.where(s.refining, s.defect, defect)
    # Converged: below ½, and a quadratic step no longer even halves it.
    refining = s.refining | ((s.defect < 0.5) & (defect >= 0.5 * s.defect))
    spectrum = s.spectrum
    if accelerate:
        spectrum = spectrum.stepped()
        refining = refining | spectrum.met(defect)
    base = torch.where(s.refining[:, None], s.x, s.offset)
    x = base + matvec(X, s.problem.b - matvec(s.problem.A, base))
    change = norm(x - s.x)
    eps = torch.finfo(x.dtype).eps
    settled = s.refining & ((change <= eps * norm(x)) | (change >= 0.5 * s.change))
    change = torch.where(s.refining, change, float("inf"))
    return s._replace(x=x, X=X, spectrum=spectrum, defect=defect, refining=refining, change=change, settled=settled)


def _begun_again(s: _State, problem: Held, x: torch.Tensor) -> _State:
    """Refinement from x, in the units of the problem."""
    again = torch.full_like(s.change, float("inf"))
    return s._replace(x=x, problem=problem, change=again, settled=torch.zeros_like(s.settled))


def _verdict(s: _State) -> torch.Tensor:
    verdict = torch.where(s.settled, int(Status.CONVERGED), RUNNING)
    broken = ~torch.isfinite(s.defect) | ~torch.isfinite(norm(s.x))
    return torch.where(broken, int(Status.BREAKDOWN), verdict)
