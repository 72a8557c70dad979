"""The loop that every iterative method shares: each problem stops when it is its time, and then costs nothing.

A method supplies a state (a NamedTuple of tensors whose first dimension is the batch, one of them `x`), a step, and a
verdict. Problems that are done leave the batch, so the remaining ones go on without them.

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

Reference: Paige and Saunders, LSQR: an algorithm for sparse linear equations and least squares, ACM TOMS 8 (1982),
section 6; Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 17.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from solvers._core.operators import Matrix, Operator
from solvers._core.triangular import norm
from solvers.result import LstsqResult, Status

RUNNING = -1
"""A verdict beside the values of `Status`."""

_PERIOD = 32
"""Steps that an iterate is kept to be compared with those that follow; cycles are rarely longer than four."""

S = TypeVar("S", bound=tuple[Matrix, ...])
"""A NamedTuple of tensors, the batch first in each, one of them called `x`."""


def iterate(
    state: S,
    step: Callable[[S], S],
    verdict: Callable[[S], torch.Tensor],
    *,
    max_iterations: int,
    record: bool,
) -> LstsqResult:
    """Step until the verdict falls or the cap is reached.

    Args:
        state: the starting state; its `x` is iterate 0.
        step: state → next state.
        verdict: state → a `Status` value or RUNNING for each problem, (B,), integer.
        max_iterations: the cap.
        record: whether to keep the iterates.

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
            ended = active[done]
            x[ended], status[ended], iterations[ended] = _iterate_of(state)[done], ruling[done], k
            active = active[~done]
            if not len(active):
                break
            state = _rebuilt(state, [part[~done] for part in state])
        if k == max_iterations:
            x[active], iterations[active] = _iterate_of(state), k
            break
        state = step(state)
        if record:
            x[active] = _iterate_of(state)
            trace.append(x.clone())
    return LstsqResult(x=x, status=status, iterations=iterations, trace=torch.stack(trace) if record else None)


def _rebuilt(state: S, parts: list[Any]) -> S:
    return type(state)(*parts)


def _iterate_of(state: Any) -> torch.Tensor:
    return cast(torch.Tensor, state.x)


def paige_saunders(
    r_norm: torch.Tensor,
    g_norm: torch.Tensor,
    x_norm: torch.Tensor,
    A_norm: torch.Tensor,
    b_norm: torch.Tensor,
    tolerance: float,
) -> torch.Tensor:
    """Rules R1 and R2.

    Args:
        r_norm: ‖b − A x‖, or the method's estimate of it, (B,).
        g_norm: ‖Aᵀr‖, likewise.
        x_norm: ‖x‖.
        A_norm: ‖A‖_F.
        b_norm: ‖b‖.
        tolerance: τ.

    Returns:
        Booleans, (B,).
    """
    consistent = r_norm <= tolerance * (b_norm + A_norm * x_norm)
    return consistent | (g_norm <= tolerance * A_norm * r_norm)


def stalled(
    idle: torch.Tensor,
    g_norm: torch.Tensor,
    x_norm: torch.Tensor,
    A_norm: torch.Tensor,
    b_norm: torch.Tensor,
    noise: float,
    patience: int,
) -> torch.Tensor:
    """Rule R3, for methods whose rounded updates may come to rest before R1 or R2 holds.

    Args:
        idle: iterations since ‖Aᵀr‖ was smallest, (B,).
        g_norm: ‖Aᵀr‖.
        x_norm: ‖x‖.
        A_norm: ‖A‖_F.
        b_norm: ‖b‖.
        noise: the relative level at which Aᵀr is rounding, max(m, n) eps.
        patience: iterations without a new minimum that count as rest.

    Returns:
        Booleans, (B,).
    """
    return (idle >= patience) & (g_norm <= noise * A_norm * (A_norm * x_norm + b_norm))


def watched(x: torch.Tensor, kept: torch.Tensor, age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rule R4's memory, one step on.

    Args:
        x: the new iterate, (B, n).
        kept: an earlier one, (B, n).
        age: steps that it has been kept, (B,), integer.

    Returns:
        The iterate to keep from now on, its age, and whether x has returned to the one kept, (B,).
    """
    renew = age >= _PERIOD
    return torch.where(renew[:, None], x, kept), torch.where(renew, 0, age + 1), (x == kept).all(dim=-1)


def ruled(met: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
    """A verdict: CONVERGED where a rule is met, BREAKDOWN where a value is not finite.

    Args:
        met: booleans, (B,).
        *values: what must be finite, (B,) each.

    Returns:
        Integers, (B,).
    """
    verdict = torch.where(met, int(Status.CONVERGED), RUNNING)
    for value in values:
        verdict = torch.where(torch.isfinite(value), verdict, int(Status.BREAKDOWN))
    return verdict


def frobenius(A: Matrix) -> torch.Tensor:
    """‖A‖_F of matrices of size 1.

    Args:
        A: (B, m, n); of an operator, its estimate of ‖A‖₂.

    Returns:
        (B,).
    """
    if isinstance(A, Operator):
        return torch.full((1,), A.norm, dtype=A.dtype)
    return norm(A.flatten(start_dim=1))


def default_tolerance(A: Matrix) -> float:
    """τ where the user asks for none: eps, below which r is rounding.

    Args:
        A: matrices, whose dtype counts.

    Returns:
        The spacing of the dtype.
    """
    return float(torch.finfo(A.dtype).eps)
