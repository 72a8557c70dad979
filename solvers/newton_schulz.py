"""Newton–Schulz: the pseudo-inverse by multiplication alone, then refinement with it.

Problem: min_x ‖b − A x‖₂, by way of X ≈ A⁺, (n, m).
Iteration: X ← X (2I − A X), from X₀ = Aᵀ/(‖A‖₁ ‖A‖_∞), evaluated as 2X − (X A) X with X A only n×n; x = X b. Once X has
    converged, x ← x + X (b − A x), a stationary iteration with the factor ‖I − X A‖.
Convergence: quadratic: an eigenvalue 1 − ε of X A becomes 1 − ε². From X₀ it takes about 2 log₂ κ steps until
    ‖I − X A‖ < ½, plus log₂ log₂ (1/u) more.
Limiting accuracy: X is off by about u κ², but self-corrects in the refinement: forward error c u κ (1 + κ‖r‖/(‖A‖‖x‖))
    while u κ² < 1.
Stopping: an X has converged when ‖I − X A‖_F is below ½ and has stopped falling by half a step; x when a refinement
    changes it by less than eps ‖x‖, or by no less than half as much as the one before.
Rank: X converges to A⁺ whatever the rank, and ‖I − X A‖_F to √(n − rank). A deficient A is flagged; x = X b is then the
    minimum-norm solution for a zero x0. Full rank by the rule of `solvers._core.rank` but ‖I − X A‖_F never below ½
    (u κ² > 1) is a BREAKDOWN.

Reference: Schulz (1933); Ben-Israel and Cohen, SIAM J. Numer. Anal. 3 (1966); Söderström and Stewart, On the numerical
properties of an iterative method for computing the Moore–Penrose generalized inverse, SIAM J. Numer. Anal. 11 (1974).
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from solvers import fused
from solvers._core.arrays import require_choice, require_count
from solvers._core.loop import RUNNING, frobenius, iterate
from solvers._core.rank import judged
from solvers._core.scaling import scale
from solvers._core.triangular import divide, matvec, norm
from solvers.fused import BACKENDS, Backend
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver


class _State(NamedTuple):
    x: torch.Tensor
    X: torch.Tensor
    defect: torch.Tensor  # ‖I − X A‖_F
    refining: torch.Tensor
    change: torch.Tensor  # ‖x‖ of the last refinement
    settled: torch.Tensor
    offset: torch.Tensor  # x0: x = x0 + X (b − A x0)
    A: torch.Tensor
    b: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class NewtonSchulz(Solver):
    """Newton–Schulz iteration with refinement.

    Args:
        max_iterations: the cap on steps and refinements together, a problem.
        backend: "eager" is plain torch; "fused" one kernel for a step and its ‖I − X A‖_F; "auto" takes the kernel
            where it can run. They agree to rounding, not to the bit.
    """

    name: ClassVar[str] = "newton-schulz"
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.MONOTONE, Promise.NEWTON_RATE})
    max_iterations: int = 200
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_choice("backend", self.backend, BACKENDS)

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = scale(A, b, x0)
        matrix = problem.A
        x = torch.zeros_like(matrix[:, 0, :]) if problem.x0 is None else problem.x0
        sums = matrix.abs().sum(dim=-2).amax(dim=-1) * matrix.abs().sum(dim=-1).amax(dim=-1)
        X = divide(matrix.mT, sums[:, None, None])
        start = _State(
            x=x,
            X=X.contiguous(),
            defect=_defect(X, matrix),
            refining=torch.zeros_like(problem.matrix_exponent, dtype=torch.bool),
            change=torch.full_like(sums, float("inf")),
            settled=torch.zeros_like(problem.matrix_exponent, dtype=torch.bool),
            offset=x,
            A=matrix,
            b=problem.b - matvec(matrix, x),
        )
        m, n = A.shape[-2:]
        by_kernel = fused.chosen(self.backend, matrix, start.X, columns=n, entries=m * n)
        step = _step_by_kernel if by_kernel else _step
        result = iterate(start, step, _verdict, max_iterations=self.max_iterations, record=record)
        return judged(matrix, problem.restored(result))


def step_matrix(X: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """One Newton–Schulz step, X ← X (2I − A X).

    Args:
        X: approximate pseudo-inverses, (..., n, m).
        A: matrices, (..., m, n).

    Returns:
        The next X, (..., n, m).
    """
    return 2 * X - _product(_product(X, A), X)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A matrix product whose bits do not depend on the batch: one column at a time.

    Args:
        left: (B, p, q).
        right: (B, q, k).

    Returns:
        (B, p, k).
    """
    # Columns of all problems go through one batched matrix–vector product.
    B, p, q = left.shape
    k = right.shape[-1]
    spread = left.unsqueeze(1).expand(B, k, p, q).reshape(B * k, p, q)
    columns = matvec(spread, right.mT.reshape(B * k, q))
    return columns.reshape(B, k, p).mT.contiguous()


def _defect(X: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    n = A.shape[-1]
    return frobenius(torch.eye(n, dtype=A.dtype, device=A.device) - _product(X, A))


def _step(s: _State) -> _State:
    """One Newton–Schulz step where X has not converged, one refinement where it has.

    Args:
        s: the state.

    Returns:
        The next state.
    """
    X = step_matrix(s.X, s.A)
    return _advanced(s, X, _defect(X, s.A))


def _step_by_kernel(s: _State) -> _State:
    from solvers.fused.schulz import newton_schulz_step

    return _advanced(s, *newton_schulz_step(s.A, s.X))


def _advanced(s: _State, X: torch.Tensor, defect: torch.Tensor) -> _State:
    """The next state, given the next X of those problems whose X has not converged.

    Args:
        s: the state.
        X: one Newton–Schulz step from s.X.
        defect: ‖I − X A‖_F of it.

    Returns:
        The next state.
    """
    X = torch.where(s.refining[:, None, None], s.X, X)
    defect = torch.where(s.refining, s.defect, defect)
    # Converged: below ½, and a quadratic step no longer even halves it.
    refining = s.refining | ((s.defect < 0.5) & (defect >= 0.5 * s.defect))
    correction = s.x - s.offset
    correction = torch.where(s.refining[:, None], correction + matvec(X, s.b - matvec(s.A, correction)), matvec(X, s.b))
    x = s.offset + correction
    change = norm(x - s.x)
    eps = torch.finfo(x.dtype).eps
    settled = s.refining & ((change <= eps * norm(x)) | (change >= 0.5 * s.change))
    return s._replace(
        x=x,
        X=X,
        defect=defect,
        refining=refining,
        change=torch.where(s.refining, change, float("inf")),
        settled=settled,
    )


def _verdict(s: _State) -> torch.Tensor:
    verdict = torch.where(s.settled, int(Status.CONVERGED), RUNNING)
    broken = ~torch.isfinite(s.defect) | ~torch.isfinite(norm(s.x))
    return torch.where(broken, int(Status.BREAKDOWN), verdict)
