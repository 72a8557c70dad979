"""The loop that every iterative method shares: each problem stops when it is its time, and then costs nothing.

A method supplies a state (a NamedTuple of tensors whose first dimension is the batch, one of them `x`), a step, and a
verdict. Problems that are done leave the batch, so the remaining ones go on without them; as no operation depends on
the batch around a problem, its iterates are the same bits whether it is alone or among thousands.

Stopping, unless a method says otherwise, with r = b − A x and the tolerance τ:
    R1  ‖r‖ <= τ (‖b‖ + ‖A‖_F ‖x‖)      x solves a consistent problem as near as τ
    R2  ‖Aᵀr‖ <= τ ‖A‖_F ‖r‖             x solves a least-squares problem as near as τ
Either makes x the exact solution for a change of relative size τ in A and b (Paige and Saunders): the forward error is
at most about τ κ (1 + κ‖r‖/(‖A‖‖x‖)). Below τ ≈ u the rules ask for more than rounding lets r show.

Reference: Paige and Saunders, LSQR: an algorithm for sparse linear equations and least squares, ACM TOMS 8 (1982),
section 6; Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 17.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from solvers.products import norm
from solvers.result import LstsqResult, Status

RUNNING = -1
"""A verdict beside the values of `Status`."""


S = TypeVar("S", bound=tuple[torch.Tensor, ...])
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
            state = type(state)(*(part[~done] for part in state))
            if not len(active):
                break
        if k == max_iterations:
            x[active], iterations[active] = _iterate_of(state), k
            break
        state = step(state)
        if record:
            x[active] = _iterate_of(state)
            trace.append(x.clone())
    return LstsqResult(x=x, status=status, iterations=iterations, trace=torch.stack(trace) if record else None)


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


def frobenius(A: torch.Tensor) -> torch.Tensor:
    """‖A‖_F of matrices of size 1.

    Args:
        A: (B, m, n).

    Returns:
        (B,).
    """
    return norm(A.flatten(start_dim=1))
