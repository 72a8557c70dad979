"""The loop that every iterative method shares: each problem stops when it is its time, and then costs nothing.

A method supplies a state (a NamedTuple whose tensors have the batch as their first dimension, one of them `x`), a step,
and a verdict. Problems that are done leave the batch, so the remaining ones go on without them.

Stopping, unless a method says otherwise, with r = b − A x and the tolerance τ:
    R1  ‖r‖ <= τ (‖b‖ + ‖A‖_F ‖x‖)      x solves a consistent problem as near as τ
    R2  ‖Aᵀr‖ <= τ ‖A‖_F ‖r‖             x solves a least-squares problem as near as τ
    R3  ‖Aᵀr‖ had no new minimum for some iterations, and is at the level of its own rounding:
        ‖Aᵀr‖ <= max(m, n) eps ‖A‖_F (‖A‖_F ‖x‖ + ‖b‖). Only for methods that say so.
    R4  x has returned to an iterate of up to 32 steps ago, to the bit: a method whose next iterate depends on x alone
        is then in a cycle, and nothing more will change. Only for methods that say so, and that contract by more than
        rounding: such a cycle is as wide as rounding makes it.
R1 or R2 makes x the exact solution for a change of relative size τ in A and b (Paige and Saunders): the forward error
is at most about τ κ (1 + κ‖r‖/(‖A‖‖x‖)). Below τ ≈ u the rules ask for more than rounding lets r show.

Truth: a method that updates r drifts from b − A x by u times the largest iterate on the way, and a large x0 is one. So
where its verdict is CONVERGED, r is taken afresh from A, b and x, in powers of two that fit b and x as they are now.
The verdict stands where R1 or R2 holds for that r, or where ‖Aᵀr‖ is at R3's level and the iteration began at an x no
more than twice as large as where it ended. Elsewhere the iteration begins again from x, with the iterations that are
left; each time multiplies what a large x0 left behind by about κ u.

Reference: Paige and Saunders, LSQR: an algorithm for sparse linear equations and least squares, ACM TOMS 8 (1982),
section 6; Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 17; Greenbaum, Estimating the
attainable accuracy of recursively computed residual methods, SIAM J. Matrix Anal. Appl. 18 (1997), for the drift.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar, cast

import torch

from solvers._core.operators import Matrix, Operator
from solvers._core.rank import judged
from solvers._core.scaling import fitted, ldexp, scale
from solvers._core.triangular import matvec, norm
from solvers.result import LstsqResult, Status

RUNNING = -1
"""A verdict beside the values of `Status`."""

_PERIOD = 32
"""Steps that an iterate is kept to be compared with those that follow; cycles are rarely longer than four."""

_GROWN = 2.0
"""How much larger a start may be than the answer, for the drift of r to be within that of a start from 0."""

S = TypeVar("S", bound=tuple[Any, ...])
"""A NamedTuple of tensors, the batch first in each, or of such tuples; one of the tensors is called `x`."""


class Held(NamedTuple):
    """What an iteration holds of its problems, in powers of two of their size.

    Args:
        A: A · 2^(−matrix_exponent), (B, m, n), or an operator.
        b: given · 2^(−right_exponent), (B, m).
        A_norm: ‖A‖_F, (B,).
        b_norm: ‖b‖, (B,).
        given: b in the caller's units, (B, m).
        matrix_exponent: (B,), integer.
        right_exponent: (B,), integer.
        start_norm: ‖x‖ where the iteration began, or began again, (B,).
    """

    A: Matrix
    b: torch.Tensor
    A_norm: torch.Tensor
    b_norm: torch.Tensor
    given: torch.Tensor
    matrix_exponent: torch.Tensor
    right_exponent: torch.Tensor
    start_norm: torch.Tensor

    @classmethod
    def of(cls, A: Matrix, b: torch.Tensor, x0: torch.Tensor | None) -> tuple["Held", torch.Tensor]:
        """Problems in the caller's units, held, and x0, or 0, in theirs."""
        unit, right_hand, _, matrix, right = problem = scale(A, b, x0)
        x = problem.start
        return cls(unit, right_hand, frobenius(unit), norm(right_hand), b, matrix, right, norm(x)), x

    def afresh(self, x: torch.Tensor) -> tuple["Held", torch.Tensor]:
        """The same problems in powers of two that fit x, and x in them."""
        if bool((self.b_norm >= 0.5).all()):
            # b is whole as it is: it was a large x0 that made it small.
            return self._replace(start_norm=norm(x)), x
        b, x, right = cast(tuple[torch.Tensor, ...], fitted(self.given, x, self.right_exponent))
        return self._replace(b=b, b_norm=norm(b), right_exponent=right, start_norm=norm(x)), x

    def restored(self, x: torch.Tensor) -> torch.Tensor:
        """X in the caller's units."""
        return ldexp(x, (self.right_exponent - self.matrix_exponent).unsqueeze(-1))

    @property
    def noise(self) -> float:
        """The relative level at which Aᵀr is rounding, max(m, n) eps."""
        return max(self.A.shape[-2:]) * float(torch.finfo(self.A.dtype).eps)

    def paige_saunders(
        self, r_norm: torch.Tensor, g_norm: torch.Tensor, x_norm: torch.Tensor, tolerance: float
    ) -> torch.Tensor:
        """Where rule R1 or R2 holds, (..., B), from ‖r‖, ‖Aᵀr‖ and ‖x‖, or a method's estimates, and τ."""
        consistent = r_norm <= tolerance * (self.b_norm + self.A_norm * x_norm)
        return consistent | (g_norm <= tolerance * self.A_norm * r_norm)

    def at_rest(self, g_norm: torch.Tensor, x_norm: torch.Tensor, noise: float | torch.Tensor) -> torch.Tensor:
        """The level of rule R3, ‖Aᵀr‖ <= noise ‖A‖_F (‖A‖_F ‖x‖ + ‖b‖), (..., B)."""
        return g_norm <= noise * self.A_norm * (self.A_norm * x_norm + self.b_norm)

    def readable(self, x: torch.Tensor) -> torch.Tensor:
        """Where rounding in Aᵀr has a square that does not underflow, as beside a huge x0 it may; or x is 0."""
        info = torch.finfo(x.dtype)
        return (self.b_norm > math.sqrt(info.tiny) / info.eps) | (x == 0).all(dim=-1)

    def judged(self, A: Matrix, result: LstsqResult) -> LstsqResult:
        """A result in the caller's units with its residual norm, the condition of A as it stands, and its rank."""
        x = torch.as_tensor(result.x)
        finite = torch.isfinite(x).all(dim=-1)
        b, x, e = cast(Any, fitted(self.given, torch.where(finite[:, None], x, 0.0), self.matrix_exponent))
        residual_norm = torch.where(finite, ldexp(norm(b - matvec(self.A, x)), e), float("inf"))
        return judged(A, replace(result, residual_norm=residual_norm), columnwise=False)


def iterate(
    state: S,
    step: Callable[[S], S],
    verdict: Callable[[S], torch.Tensor],
    *,
    max_iterations: int,
    record: bool,
    checked: Callable[[S], tuple[S, torch.Tensor]] | None = None,
) -> LstsqResult:
    """Step until the verdict falls or the cap is reached.

    Args:
        state: the starting state; its `x` is iterate 0. Where there is a `Held` in it, called `problem`, the result is
            in the caller's units.
        step: state → next state.
        verdict: state → a `Status` value or RUNNING for each problem, (B,), integer.
        max_iterations: the cap.
        record: whether to keep the iterates.
        checked: for the problems said to have CONVERGED, state → a state that begins afresh at x, and whether they
            have; see `recheck`.

    Returns:
        The result, flat.
    """
    x = _iterate_of(state).clone()
    active = torch.arange(x.shape[0], device=x.device)
    status = torch.full_like(active, int(Status.MAX_ITERATIONS))
    iterations = torch.zeros_like(active)
    trace = [x.clone()] if record else []
    for k in range(max_iterations + 1):
        ruling = verdict(state)
        done = ruling != RUNNING
        if bool(done.any()):
            claimed = torch.nonzero(ruling == int(Status.CONVERGED)).squeeze(-1)
            if checked is not None and len(claimed):
                begun, holds = checked(taken(state, claimed))
                again = torch.nonzero(~holds).squeeze(-1)
                if len(again):
                    state, done[claimed[again]] = merged(state, claimed[again], taken(begun, again)), False
            ended = active[done]
            x[ended], status[ended], iterations[ended] = _iterate_of(state)[done], ruling[done], k
            running = torch.nonzero(~done).squeeze(-1)
            if not len(running):
                break
            active, state = active[running], taken(state, running)
        if k == max_iterations:
            x[active], iterations[active] = _iterate_of(state), k
            break
        state = step(state)
        if record:
            x[active] = _iterate_of(state)
            trace.append(x.clone())
    return LstsqResult(x=x, status=status, iterations=iterations, trace=torch.stack(trace) if record else None)


def _mapped(function: Callable[..., Any], *parts: Any) -> Any:
    """A function of tensors, of each tensor of tuples of one kind."""
    if isinstance(parts[0], tuple):
        mapped = [_mapped(function, *each) for each in zip(*parts, strict=True)]
        return cast(Any, type(parts[0]))(*mapped)
    return parts[0] if isinstance(parts[0], Operator) else function(*parts)


def taken(state: S, where: torch.Tensor) -> S:
    """The state of some of the problems, by index."""
    return cast(S, _mapped(lambda part: part.index_select(0, where), state))


def merged(state: S, where: torch.Tensor, part: S) -> S:
    """The state with that of some problems, by index, replaced."""
    return cast(S, _mapped(lambda a, b: a.index_copy(0, where, b), state, part))


def _iterate_of(state: Any) -> torch.Tensor:
    problem = getattr(state, "problem", None)
    return cast(torch.Tensor, problem.restored(state.x) if isinstance(problem, Held) else state.x)


def recheck(
    begun: Callable[[S, Held, torch.Tensor], S], holds: Callable[[S, torch.Tensor], torch.Tensor]
) -> Callable[[S], tuple[S, torch.Tensor]]:
    """What `iterate` calls `checked`: CONVERGED held to the r of A, b and x, as the top of this file has it."""

    def checked(state: S) -> tuple[S, torch.Tensor]:
        then, x = cast(Any, state).problem, cast(Any, state).x
        steady = then.start_norm <= _GROWN * norm(x)
        state = begun(state, *then.afresh(x))
        return state, holds(state, steady)

    return checked


def watched(x: torch.Tensor, kept: torch.Tensor, age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rule R4's memory, one step on: the iterate to keep, (B, n), its age, and whether x is `kept` again, (B,)."""
    renew = age >= _PERIOD
    return torch.where(renew[:, None], x, kept), torch.where(renew, 0, age + 1), (x == kept).all(dim=-1)


def ruled(met: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
    """A verdict, (B,): CONVERGED where a rule is met, BREAKDOWN where one of the values is not finite."""
    finite = torch.isfinite(torch.stack(values)).all(dim=0)
    return torch.where(met, int(Status.CONVERGED), RUNNING).masked_fill(~finite, int(Status.BREAKDOWN))


def frobenius(A: Matrix) -> torch.Tensor:
    """‖A‖_F of matrices of size 1, (B,); of an operator, its estimate of ‖A‖₂, (1,)."""
    if isinstance(A, Operator):
        return torch.full((1,), A.norm, dtype=A.dtype)
    return norm(A.flatten(start_dim=1))
