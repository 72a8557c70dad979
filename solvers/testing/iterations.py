"""Checks of iterations: the trace, the starting point, the cap, and the rates that a solver promises."""

import copy
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np
import torch

from solvers.result import Status
from solvers.solver import Promise
from solvers.testing.accuracy import condition_power, constant, documented_unit, promises, view
from solvers.testing.answers import held_accurate
from solvers.testing.checks import GENTLE, ORDINARY_KINDS, check, claiming, iterating, promising
from solvers.testing.exact import Exact
from solvers.testing.findings import Violation, attempt, solved, spent, status_of
from solvers.testing.invariances import same
from solvers.testing.recipes import GeneratedProblem

RATES = (Promise.GRADIENT_RATE, Promise.CHEBYSHEV_RATE, Promise.KRYLOV_RATE, Promise.NEWTON_RATE)
"""Promises about ‖x_k − x*‖/‖x₀ − x*‖."""

STEEP = {"kinds": ("spectrum",), "max_condition": GENTLE, "steep": True, "max_rows": 24, "max_unknowns": 8}
"""Problems that no method solves in one step."""

FAR = 1e10
"""The size of a starting point that is far from the solution."""


_RECORDED = "solver.solve(p.A, p.b, x0=solvers.testing.start_of(p), record=True)"


def rate(promise: Promise, known: Exact, k: int) -> float:
    """What a promise allows ‖x_k − x*‖/‖x₀ − x*‖ to be."""
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


def start_of(problem: GeneratedProblem, size: float = 3.0) -> torch.Tensor:
    """A starting point that no method chooses by itself.

    Args:
        problem: a drawn problem.
        size: of every entry; their signs alternate.

    Returns:
        x0, (n,), of the problem's dtype.
    """
    signs = 1.0 - 2.0 * torch.arange(len(problem.x)).remainder(2)
    return (size * signs).to(problem.x.dtype)


@check("trace", share=1, gentle=True, draws={"kinds": ORDINARY_KINDS, "full": True}, skip=claiming("interface"))
def trace(solver: Any, problem: GeneratedProblem) -> float:
    """The trace begins at x0, ends at x and has a row an iteration."""
    x0 = start_of(problem)
    result = solved(solver, problem, x0=x0, record=True)
    if result.trace is None:
        return 0.0
    rows, count = len(result.trace), spent(result)
    if tuple(result.trace.shape) != (count + 1, *result.x.shape):
        raise Violation(
            problem,
            measured=f"trace of shape {tuple(result.trace.shape)} after {count} iterations",
            allowed=f"shape {(count + 1, *result.x.shape)}: the starting point and every iterate",
            cause="the trace does not include the start" if rows == count else "iterations are miscounted",
            call=_RECORDED,
        )
    if not same(result.trace[-1], result.x):
        raise Violation(
            problem,
            measured=f"the last row of the trace is {result.trace[-1].tolist()} and x is {result.x.tolist()}",
            allowed="the same: the last iterate is what counts",
            cause="the trace holds other iterates than those computed with, or x is a better one on the way",
            call=_RECORDED,
        )
    off = view(solver, problem).error(result.trace[0])
    if count and not same(result.trace[0], x0) and off > _floor(solver, problem, x0):
        raise Violation(
            problem,
            measured=f"the first row of the trace is {result.trace[0].tolist()}",
            allowed=f"x0 = {x0.tolist()}, or an answer that is right already",
            cause="the trace does not include the start, or x0 is ignored",
            call=_RECORDED,
        )
    return 0.0


@check("start", share=1, draws=STEEP, skip=iterating)
def start(solver: Any, problem: GeneratedProblem) -> float:
    """An iteration starts at the x0 that it records."""
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
            call=_RECORDED,
        )
    return held_accurate(solver, problem, zero)


@check("far start", share=3, gentle=True, draws={"full": True}, skip=claiming("interface"))
def far_start(solver: Any, problem: GeneratedProblem) -> float:
    """From a starting point of size 1e10, CONVERGED still means within the documented error."""
    x0 = start_of(problem, FAR)
    call = f"solver.solve(p.A, p.b, x0=solvers.testing.start_of(p, {FAR:.0e}))"
    return held_accurate(solver, problem, solved(solver, problem, x0=x0), call)


def capped(solver: Any, cap: int) -> Any:
    """The same solver with another cap on its iterations."""
    if is_dataclass(solver) and not isinstance(solver, type):
        return replace(solver, max_iterations=cap)
    other = copy.copy(solver)
    other.max_iterations = cap
    return other


@check("cap", share=1, gentle=True, draws={"kinds": ORDINARY_KINDS, "full": True}, skip=iterating)
def cap(solver: Any, problem: GeneratedProblem) -> float:
    """max_iterations is honoured, and x is then the iterate reached."""
    most = problem.recipe.seed % 13
    limited = capped(solver, most)
    call = f"solver with max_iterations={most}: solver.solve(p.A, p.b)"
    result = attempt(problem, call, lambda: limited.solve(problem.A, problem.b))
    full = solved(solver, problem, record=True)
    count, status = spent(result), status_of(result)
    said = f"{count} iterations, status {getattr(status, 'name', status)}"
    if count > most or (status == Status.MAX_ITERATIONS and count != most):
        raise Violation(
            problem,
            measured=f"{said} with max_iterations={most}",
            allowed=f"at most {most} iterations, and exactly that many where they ran out",
            cause="iteration cap ignored, or iterations miscounted",
            call=call,
        )
    if full.trace is not None and count < len(full.trace) and not same(result.x, full.trace[count]):
        raise Violation(
            problem,
            measured=f"{said}, and x = {result.x.tolist()} is not iterate {count}, {full.trace[count].tolist()}",
            allowed="the iterate that the cap allows",
            cause="iteration cap ignored: x is a later iterate than the count says, or the best one on the way",
            call=call,
        )
    return held_accurate(limited, problem, result, call)


@check("rate", share=3, draws=STEEP, skip=promising(Promise.MONOTONE, *RATES))
def rates(solver: Any, problem: GeneratedProblem) -> float:
    """The iterates come closer at the promised rate."""
    x0 = start_of(problem)
    result = solved(solver, problem, x0=x0, record=True)
    if result.trace is None:
        return 0.0
    known, floor, worst = view(solver, problem), _floor(solver, problem, x0), 0.0
    errors = np.linalg.norm(known.off(result.trace), axis=-1)
    for promise in sorted(promises(solver).intersection({Promise.MONOTONE, *RATES})):
        if promise == Promise.MONOTONE:
            limits = errors[:-1] + floor
        else:
            limits = np.array([rate(promise, known, k) for k in range(1, len(errors))]) * errors[0] + floor
        ratios = errors[1:] / limits
        k = int(ratios.argmax()) if len(ratios) else -1
        if k >= 0 and not ratios[k] <= 1:
            raise Violation(
                problem,
                measured=f"‖x_k − x*‖ = {errors[k + 1]:.2e} at k = {k + 1}, from {errors[0]:.2e} at the start",
                allowed=f"{limits[k]:.2e} by the promise {promise.value!r}",
                cause="the error grows on the way"
                if promise == Promise.MONOTONE
                else "slower than the documented rate: a step size or a recurrence is not what it should be",
                call=_RECORDED,
            )
        worst = max(worst, *ratios, 0.0)
    return worst


def _floor(solver: Any, problem: GeneratedProblem, x0: torch.Tensor) -> float:
    """The error that rounding may leave when an iteration starts at x0."""
    known = view(solver, problem)
    size = known.size + float(np.linalg.norm(known.scaled(x0)))
    unit = constant(solver, *known.A.shape) * documented_unit(solver, problem.A.dtype)
    return unit * (known.spread ** max(1, condition_power(solver)) * size + known.spread**2 * known.slope)
