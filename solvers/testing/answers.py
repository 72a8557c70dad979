"""Checks of one answer: its accuracy, its status, and what the result says of it."""

import math
from functools import partial
from typing import Any

import torch

from solvers._core import double_double as dd
from solvers._core.scaling import ldexp
from solvers.result import LstsqResult, Status
from solvers.solver import Promise
from solvers.testing.accuracy import allowed_error, describe_bound, meaningful, measured_error, promises, view, vouched
from solvers.testing.adapters import claims
from solvers.testing.causes import by_scale, likely_cause
from solvers.testing.checks import GENTLE, check, claiming, is_iterative, promising
from solvers.testing.findings import Violation, solved, spent, status_of
from solvers.testing.recipes import DEFICIENT_KINDS, GeneratedProblem

_CONDITION_SLACK = 100.0
"""How far from κ a reported condition may be, beside the n that it may be too large."""


@check("accuracy", share=24)
def accuracy(solver: Any, problem: GeneratedProblem) -> float:
    """An answer that is CONVERGED is within the documented error, for κ up to the largest."""
    return held_accurate(solver, problem, solved(solver, problem))


def held_accurate(solver: Any, problem: GeneratedProblem, result: LstsqResult, call: str = "") -> float:
    """Hold one answer to the documented error."""
    if "status" in claims(solver) and status_of(result) != Status.CONVERGED:
        return 0.0
    measured = measured_error(solver, problem, result.x)
    if measured > 1:
        known = view(solver, problem)
        error, size = known.error(result.x), known.size
        relative = f"‖x − x*‖/‖x*‖ = {error / size:.2e}" if size else f"‖x − x*‖ = {error:.2e} with x* = 0"
        said = "status CONVERGED with " if "status" in claims(solver) else ""
        raise Violation(
            problem,
            measured=f"{said}{relative}, {measured:.2g} times what is allowed",
            allowed=f"{allowed_error(solver, problem) / (size or 1):.2e} = {describe_bound(solver, problem)}",
            cause=partial(likely_cause, solver, problem, result.x, spent(result)),
            call=call or "solver.solve(p.A, p.b)",
        )
    return measured


@check("statuses", share=14, skip=claiming("status"))
def statuses(solver: Any, problem: GeneratedProblem) -> float:
    """Full rank is not given up while the documented accuracy leaves digits, and NaN is not silent."""
    held_status(solver, problem, solved(solver, problem))
    return 0.0


@check("rank", share=6, draws={"kinds": DEFICIENT_KINDS}, skip=claiming("rank"))
def rank(solver: Any, problem: GeneratedProblem) -> float:
    """Exactly dependent columns are RANK_DEFICIENT."""
    return statuses(solver, problem)


@check(
    "columns",
    share=6,
    draws={"columns": 60, "kinds": ("spectrum", "kahan", "recurrence"), "full": True},
    skip=promising(Promise.COLUMNWISE),
)
def columns(solver: Any, problem: GeneratedProblem) -> float:
    """Columns of several sizes change no status, and are solved as well as those of one."""
    return held(solver, problem, solved(solver, problem))


def held(solver: Any, problem: GeneratedProblem, result: LstsqResult, call: str = "") -> float:
    """Hold a result to its status, where the solver claims to have one, and to its accuracy; the error."""
    if "status" in claims(solver):
        held_status(solver, problem, result, call)
    return 0.0 if problem.rank_deficient else held_accurate(solver, problem, result, call)


def held_status(solver: Any, problem: GeneratedProblem, result: LstsqResult, call: str = "") -> None:
    """Hold one status to what it may be."""
    status, call = status_of(result), call or "solver.solve(p.A, p.b)"
    trusted = status in {Status.CONVERGED, Status.MAX_ITERATIONS}
    finite = bool(torch.isfinite(torch.as_tensor(result.x)).all())
    if status is None or (trusted and not finite):
        raise Violation(
            problem,
            measured=f"status {torch.as_tensor(result.status).tolist()} with x = {result.x.tolist()}",
            allowed="a Status; x is finite unless it is BREAKDOWN or RANK_DEFICIENT",
            cause="a silent NaN or inf" if status is not None else "the status is no value of solvers.Status",
            call=call,
        )
    # Who promises every component whatever κ is judges the rank exactly.
    exactly = Promise.COMPONENTWISE in promises(solver) and not problem.rank_deficient
    verdict = "full" if exactly else problem.known.rank(problem.A.dtype)
    if verdict == "deficient":
        if "rank" in claims(solver) and status != Status.RANK_DEFICIENT:
            raise _lost_rank(problem, status, finite, call)
        return
    if status == Status.CONVERGED or (status == Status.MAX_ITERATIONS and is_iterative(solver)):
        return
    if status == Status.RANK_DEFICIENT:
        # A rule that looks at A as it stands, where no other is promised, is right to see small columns in it.
        standing = view(solver, problem).spread * max(problem.A.shape) * torch.finfo(problem.A.dtype).eps
        allowed = verdict == "either" or standing > 1 / _CONDITION_SLACK
    else:
        allowed = status != Status.MAX_ITERATIONS and not meaningful(solver, problem)
    if allowed:
        return
    causes = {
        Status.RANK_DEFICIENT: "false rank deficiency: as a threshold that is absolute, or not far enough below σ₁",
        Status.BREAKDOWN: "a breakdown where digits are left: overflow, or a rule on pivots too strict",
        Status.MAX_ITERATIONS: "MAX_ITERATIONS from a solver that has no max_iterations",
    }
    raise Violation(
        problem,
        measured=f"status {status.name} at κ = {view(solver, problem).spread:.2g}",
        allowed="CONVERGED, or MAX_ITERATIONS of a solver with max_iterations",
        cause=lambda: by_scale(solver, problem) or causes[status],
        call=call,
    )


def _lost_rank(problem: GeneratedProblem, status: Status, finite: bool, call: str) -> Violation:
    exactly = "exactly dependent" if problem.rank_deficient else "dependent to working precision"
    ratio = f": σ_min/σ_max = {problem.known.ratio:.2g}, threshold max(m, n) eps" if not problem.rank_deficient else ""
    return Violation(
        problem,
        measured=f"status {status.name}" + ("" if finite else ", and x is not finite"),
        allowed=f"RANK_DEFICIENT: the columns of A are {exactly}{ratio}",
        cause="unreported rank deficiency: "
        + ("one minimiser of many is passed off as the solution" if finite else "a silent NaN"),
        call=call,
    )


@check("convergence", share=8, draws={"max_condition": GENTLE / 2, "full": True})
def convergence(solver: Any, problem: GeneratedProblem) -> float:
    """A problem with a small κ is CONVERGED, within the documented error."""
    result = solved(solver, problem)
    status = status_of(result)
    if status != Status.CONVERGED:
        raise Violation(
            problem,
            measured=f"status {getattr(status, 'name', status)} after {spent(result)} iterations",
            allowed="CONVERGED: κ is small",
            cause="the iteration diverges, stagnates, or its stopping rule asks for more than rounding allows"
            if status == Status.MAX_ITERATIONS
            else "a status that does not belong to a well-conditioned problem",
        )
    return held_accurate(solver, problem, result)


@check("residual norm", share=4, skip=claiming("interface"))
def residual_norm(solver: Any, problem: GeneratedProblem) -> float:
    """The residual norm of a result is that of the x beside it, to rounding."""
    result = solved(solver, problem)
    stated = getattr(result, "residual_norm", None)
    x = torch.as_tensor(result.x).detach().cpu()
    if stated is None or not bool(torch.isfinite(x).all()):
        return 0.0
    r, e = dd.residual(problem.A, problem.b, dd.from_double(x))
    true = float(ldexp(dd.norm(r).hi, e))
    size = float(torch.linalg.matrix_norm(problem.A.double()) * x.double().norm() + problem.b.double().norm())
    unit = torch.finfo(problem.A.dtype).eps * (sum(problem.A.shape) + 10)
    measured = abs(float(stated) - true) / (unit * (size + true)) if size else float(abs(float(stated)) > 0)
    if not measured <= 1:
        raise Violation(
            problem,
            measured=f"residual_norm = {float(stated):.6e}",
            allowed=f"‖b − A x‖ = {true:.6e}, to {unit * (size + true):.1e}",
            cause="the residual is not that of the x beside it: of another iterate, or of a scaled problem",
        )
    return measured


@check("condition", share=4, skip=claiming("interface"))
def condition(solver: Any, problem: GeneratedProblem) -> float:
    """The condition of a result is κ within a factor of 100, and so tells when no digit is left."""
    return held_condition(solver, problem, solved(solver, problem))


def held_condition(solver: Any, problem: GeneratedProblem, result: LstsqResult) -> float:
    """Hold a result's condition to κ with columns of one size; how far it is, in units of what it may be."""
    if getattr(result, "condition", None) is None:
        return 0.0
    stated = float(torch.as_tensor(result.condition))
    m, n = problem.A.shape
    # Where κ is beyond what the dtype can tell, so may be what is said of it.
    beyond = 1 / (max(m, n) * torch.finfo(problem.A.dtype).eps)
    kappa = 1 / problem.known.ratio if problem.known.ratio else float("inf")
    lost = not problem.rank_deficient and not vouched(solver, problem)
    # An iteration may say κ of A as it stands; and has to, where that is what leaves no digit.
    low = min(view(solver, problem).spread if lost else kappa, beyond) / _CONDITION_SLACK
    largest = max(kappa, float(problem.condition)) if Promise.COLUMNWISE not in promises(solver) else kappa
    high = largest * _CONDITION_SLACK * n if largest < beyond else float("inf")
    if not low <= stated <= high:
        raise Violation(
            problem,
            measured=f"condition = {stated:.3g}, status {getattr(status_of(result), 'name', None)}",
            allowed=f"{low:.3g} to {high:.3g}: κ = {kappa:.3g} with columns of one size",
            cause="κ leaves the answer no digit, and the result does not say so"
            if lost and stated < low
            else "the condition is that of another matrix, or its estimate is fooled",
        )
    return abs(math.log(stated / kappa)) / math.log(_CONDITION_SLACK * n) if high < float("inf") else 0.0
