"""Checks of iterations: the trace, the starting point, the cap, and the rates that a solver promises."""

import copy
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch

from solvers.result import Array, Status
from solvers.solver import Promise
from solvers.testing.accuracy import Exact, condition_power, documented_unit, exact
from solvers.testing.answers import held_accurate, is_iterative, status_of
from solvers.testing.findings import Violation, attempt, solved
from solvers.testing.invariances import promises, same
from solvers.testing.recipes import GeneratedProblem

RATES = (Promise.GRADIENT_RATE, Promise.CHEBYSHEV_RATE, Promise.KRYLOV_RATE, Promise.NEWTON_RATE)
"""Promises about ‖x_k − x*‖/‖x₀ − x*‖."""


def rate(promise: Promise, known: Exact, k: int) -> float:
    """What a promise allows ‖x_k − x*‖/‖x₀ − x*‖ to be.

    Args:
        promise: one of `RATES`.
        known: the problem.
        k: the iteration.

    Returns:
        The factor, 1 or more for k = 0.
    """
    kappa, (m, n) = known.spread, known.A.shape
    q = (kappa - 1) / (kappa + 1)
    if promise == Promise.GRADIENT_RATE:
        return float(((kappa**2 - 1) / (kappa**2 + 1)) ** k)
    if promise == Promise.CHEBYSHEV_RATE:
        return float(2 * q**k / (1 + q ** (2 * k)))
    if promise == Promise.KRYLOV_RATE:
        return float(2 * kappa**2 * q**k)
    # Past 2^60 the power is 0 for every κ that Newton–Schulz can deal with.
    return float((1 - 1 / (kappa**2 * np.sqrt(m * n))) ** (2.0 ** min(k, 60))) if k else 1.0


def start_of(problem: GeneratedProblem) -> torch.Tensor:
    """A starting point that no method chooses by itself.

    Args:
        problem: any.

    Returns:
        (3, −3, 3, …) in the units of x.
    """
    signs = 1.0 - 2.0 * torch.arange(len(problem.x)).remainder(2)
    return (3.0 * signs).to(problem.x.dtype)


def check_trace(solver: Any, problem: GeneratedProblem) -> float:
    """The trace begins at x0, ends at x, and is as long as the iterations.

    Args:
        solver: the solver.
        problem: of full rank.

    Returns:
        0.

    Raises:
        Violation: if it does not.
    """
    x0 = start_of(problem)
    result = solved(solver, problem, x0=x0, record=True)
    if result.trace is None:
        return 0.0
    call = "solver.solve(p.A, p.b, x0=solvers.testing.start_of(p), record=True)"
    rows, spent = len(result.trace), int(torch.as_tensor(result.iterations))
    if tuple(result.trace.shape) != (spent + 1, *result.x.shape):
        raise Violation(
            problem,
            measured=f"trace of shape {tuple(result.trace.shape)} after {spent} iterations",
            allowed=f"shape {(spent + 1, *result.x.shape)}: the starting point and every iterate",
            cause="the trace does not include the start" if rows == spent else "iterations are miscounted",
            call=call,
        )
    if not same(result.trace[-1], result.x):
        raise Violation(
            problem,
            measured=f"the last row of the trace is {result.trace[-1].tolist()} and x is {result.x.tolist()}",
            allowed="the same: the last iterate is what counts",
            cause="the trace holds other iterates than those computed with, or x is a better one on the way",
            call=call,
        )
    if spent and not same(result.trace[0], x0) and exact(problem).error(result.trace[0]) > _floor(solver, problem, x0):
        raise Violation(
            problem,
            measured=f"the first row of the trace is {result.trace[0].tolist()}",
            allowed=f"x0 = {x0.tolist()}, or an answer that is right already",
            cause="the trace does not include the start, or x0 is ignored",
            call=call,
        )
    return 0.0


def check_start(solver: Any, problem: GeneratedProblem) -> float:
    """An iteration starts where it is told to.

    Args:
        solver: the solver.
        problem: of full rank, n >= 2 and κ > 1, so that one step from anywhere does not solve it.

    Returns:
        The error in units of what is allowed.

    Raises:
        Violation: if x0 is recorded and not used.
    """
    x0 = start_of(problem)
    told, zero = solved(solver, problem, x0=x0, record=True), solved(solver, problem, x0=0 * x0, record=True)
    if told.trace is None or zero.trace is None or min(len(told.trace), len(zero.trace)) < 2:
        return 0.0
    if same(told.trace[0], x0) and same(told.trace[1], zero.trace[1]):
        raise Violation(
            problem,
            measured=f"the iterates from x0 = {x0.tolist()} and from x0 = 0 are the same from the first on",
            allowed="an iteration from x0",
            cause="ignores x0 while recording it",
            call="solver.solve(p.A, p.b, x0=solvers.testing.start_of(p), record=True)",
        )
    return held_accurate(solver, problem, zero)


def capped(solver: Any, cap: int) -> Any:
    """The same solver with another cap on its iterations.

    Args:
        solver: with a `max_iterations`.
        cap: the cap.

    Returns:
        A copy.
    """
    if is_dataclass(solver) and not isinstance(solver, type):
        return replace(solver, max_iterations=cap)
    other = copy.copy(solver)
    other.max_iterations = cap
    return other


def check_cap(solver: Any, case: tuple[GeneratedProblem, int]) -> float:
    """`max_iterations` is honoured, and x is then the iterate reached.

    Args:
        solver: with a `max_iterations`.
        case: a problem of full rank and a cap.

    Returns:
        The error of an answer that converged, in units of what is allowed.

    Raises:
        Violation: if more iterations are spent, or the status or x is not that of the cap.
    """
    problem, cap = case
    limited = capped(solver, cap)
    call = f"solver with max_iterations={cap}: solver.solve(p.A, p.b)"
    result = attempt(problem, call, lambda: limited.solve(problem.A, problem.b))
    full = solved(solver, problem, record=True)
    spent, status = int(torch.as_tensor(result.iterations)), status_of(result)
    said = f"{spent} iterations, status {getattr(status, 'name', status)}"
    if spent > cap or (status == Status.MAX_ITERATIONS and spent != cap):
        raise Violation(
            problem,
            measured=f"{said} with max_iterations={cap}",
            allowed=f"at most {cap} iterations, and exactly that many where they ran out",
            cause="iteration cap ignored, or iterations miscounted",
            call=call,
        )
    if full.trace is not None and spent < len(full.trace) and not same(result.x, full.trace[spent]):
        raise Violation(
            problem,
            measured=f"{said}, and x = {result.x.tolist()} is not iterate {spent}, {full.trace[spent].tolist()}",
            allowed="the iterate that the cap allows",
            cause="iteration cap ignored: x is a later iterate than the count says, or the best one on the way",
            call=call,
        )
    return held_accurate(limited, problem, result, call)


def check_rates(solver: Any, problem: GeneratedProblem) -> float:
    """The promised rates and monotony hold along the trace.

    Args:
        solver: that promises some.
        problem: of full rank, κ small.

    Returns:
        The largest error in units of what the rates allow.

    Raises:
        Violation: if an iterate is further from the solution than promised.
    """
    x0 = start_of(problem)
    result = solved(solver, problem, x0=x0, record=True)
    if result.trace is None:
        return 0.0
    known, floor = exact(problem), _floor(solver, problem, x0)
    errors = _errors(known, result.trace)
    worst = 0.0
    for promise in sorted(promises(solver)):
        limits = _limits(promise, known, errors, floor)
        if limits is None:
            continue
        ratios = (errors / limits)[1:]
        if not len(ratios):
            continue
        k = 1 + int(ratios.argmax())
        if not ratios[k - 1] <= 1:
            raise Violation(
                problem,
                measured=f"‖x_k − x*‖ = {errors[k]:.2e} at k = {k}, from {errors[0]:.2e} at the start",
                allowed=f"{limits[k]:.2e} by the promise {promise.value!r}",
                cause="the error grows on the way"
                if promise == Promise.MONOTONE
                else "slower than the documented rate: a step size or a recurrence is not what it should be",
                call="solver.solve(p.A, p.b, x0=solvers.testing.start_of(p), record=True)",
            )
        worst = max(worst, float(ratios[k - 1]))
    return worst


def _limits(promise: Promise, known: Exact, errors: Any, floor: float) -> Any:
    """What a promise allows each iterate.

    Args:
        promise: any.
        known: the problem.
        errors: ‖x_k − x*‖, (T+1,).
        floor: the error that rounding may leave.

    Returns:
        (T+1,), or None for a promise that is not about iterates.
    """
    if promise == Promise.MONOTONE:
        return np.concatenate([errors[:1], errors[:-1]]) + floor
    if promise not in RATES:
        return None
    return np.array([rate(promise, known, k) for k in range(len(errors))]) * errors[0] + floor


def _errors(known: Exact, trace: Array) -> Any:
    rows = (known.scaled(trace) - known.hi) - known.lo
    return np.where(np.isfinite(rows).all(axis=-1), np.linalg.norm(rows, axis=-1), np.inf)


def _floor(solver: Any, problem: GeneratedProblem, x0: torch.Tensor) -> float:
    """The error that rounding may leave when an iteration starts at x0.

    Args:
        solver: the solver.
        problem: of full rank.
        x0: the starting point.

    Returns:
        The documented error, for a solution as large as the larger of x* and x0.
    """
    known = exact(problem)
    size = known.size + float(np.linalg.norm(known.scaled(x0)))
    unit = documented_unit(solver, problem.A.dtype)
    return replace(known, size=size).allowance(unit, max(1, condition_power(solver)))


def iterates(solver: Any) -> str:
    """Why checks of the cap do not apply.

    Args:
        solver: any.

    Returns:
        A reason, or nothing.
    """
    return "" if is_iterative(solver) else "no max_iterations"
