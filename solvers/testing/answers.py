"""Checks of one answer: its accuracy, and what its status says."""

from typing import Any

import torch

from solvers.result import LstsqResult, Status
from solvers.testing.accuracy import allowed_error, describe_bound, exact, meaningful
from solvers.testing.causes import by_scale, likely_cause
from solvers.testing.findings import Violation, solved
from solvers.testing.recipes import GeneratedProblem


def is_iterative(solver: Any) -> bool:
    """Whether a solver may end for want of iterations.

    Args:
        solver: any solver.

    Returns:
        Whether it has a `max_iterations`.
    """
    return hasattr(solver, "max_iterations")


def status_of(result: LstsqResult) -> Status | None:
    """The status of one problem.

    Args:
        result: of a problem without batch dimensions.

    Returns:
        The status, or None where the value is none.
    """
    value = torch.as_tensor(result.status).reshape(-1)
    known = [int(status) for status in Status]
    return Status(int(value[0])) if len(value) == 1 and int(value[0]) in known else None


def ratio(error: float, allowed: float) -> float:
    """An error in units of what is allowed.

    Args:
        error: at least 0.
        allowed: at least 0.

    Returns:
        The quotient; 0 for 0/0.
    """
    if error == 0:
        return 0.0
    return error / allowed if allowed else float("inf")


def check_accuracy(solver: Any, problem: GeneratedProblem) -> float:
    """CONVERGED means within the documented error.

    Args:
        solver: the solver.
        problem: of full rank.

    Returns:
        The error in units of what is allowed; 0 where the solver does not claim to have converged.
    """
    result = solved(solver, problem)
    return held_accurate(solver, problem, result)


def held_accurate(solver: Any, problem: GeneratedProblem, result: LstsqResult, call: str = "") -> float:
    """Hold one answer to the documented error.

    Args:
        solver: the solver.
        problem: of full rank.
        result: its answer.
        call: the call that gave it, where it is not the plain one.

    Returns:
        The error in units of what is allowed.

    Raises:
        Violation: if the answer claims to have converged and has not.
    """
    if status_of(result) != Status.CONVERGED:
        return 0.0
    error, allowed = exact(problem).error(result.x), allowed_error(solver, problem)
    measured = ratio(error, allowed)
    if measured > 1:
        size = exact(problem).size
        relative = f"‖x − x*‖/‖x*‖ = {error / size:.2e}" if size else f"‖x − x*‖ = {error:.2e} with x* = 0"
        raise Violation(
            problem,
            measured=f"status CONVERGED with {relative}, {measured:.2g} times what is allowed",
            allowed=f"{allowed / size if size else allowed:.2e} = {describe_bound(solver, problem)}",
            cause=likely_cause(solver, problem, result.x, int(torch.as_tensor(result.iterations).max())),
            call=call or "solver.solve(p.A, p.b)",
        )
    return measured


def check_status(solver: Any, problem: GeneratedProblem) -> float:
    """A problem of full rank is not given up as long as the documented accuracy leaves digits.

    Args:
        solver: the solver.
        problem: of full rank.

    Returns:
        0.
    """
    held_status(solver, problem, solved(solver, problem))
    return 0.0


def held_status(solver: Any, problem: GeneratedProblem, result: LstsqResult) -> None:
    """Hold one status to what it may be for a problem of full rank.

    Args:
        solver: the solver.
        problem: of full rank.
        result: its answer.

    Raises:
        Violation: if it is called rank-deficient or a breakdown, or ends for want of iterations nobody counted.
    """
    status = status_of(result)
    finite = bool(torch.isfinite(torch.as_tensor(result.x)).all())
    trusted = status in {Status.CONVERGED, Status.MAX_ITERATIONS}
    if status is None or (trusted and not finite):
        raise Violation(
            problem,
            measured=f"status {torch.as_tensor(result.status).tolist()} with x = {result.x.tolist()}",
            allowed="a Status; x is finite unless it is BREAKDOWN or RANK_DEFICIENT",
            cause="a silent NaN or inf" if status is not None else "the status is no value of solvers.Status",
        )
    if status == Status.CONVERGED or (trusted and is_iterative(solver)):
        return
    if not trusted and not meaningful(solver, problem):
        return
    causes = {
        Status.RANK_DEFICIENT: "false rank deficiency: as a threshold that is absolute, or not far enough below σ₁",
        Status.BREAKDOWN: "a breakdown where digits are left: overflow, or a rule on pivots too strict",
        Status.MAX_ITERATIONS: "MAX_ITERATIONS from a solver that has no max_iterations",
    }
    raise Violation(
        problem,
        measured=f"status {status.name} at κ = {float(problem.condition):.2g}",
        allowed="CONVERGED, or MAX_ITERATIONS of a solver with max_iterations",
        cause=by_scale(solver, problem) or causes[status],
    )


def check_convergence(solver: Any, problem: GeneratedProblem) -> float:
    """A well-conditioned problem converges.

    Args:
        solver: the solver.
        problem: of full rank, κ small.

    Returns:
        The error in units of what is allowed.

    Raises:
        Violation: if the status is another.
    """
    result = solved(solver, problem)
    status = status_of(result)
    if status != Status.CONVERGED:
        spent = int(torch.as_tensor(result.iterations).max())
        raise Violation(
            problem,
            measured=f"status {getattr(status, 'name', status)} after {spent} iterations",
            allowed="CONVERGED: κ is small",
            cause="the iteration diverges, stagnates, or its stopping rule asks for more than rounding allows"
            if status == Status.MAX_ITERATIONS
            else "a status that does not belong to a well-conditioned problem",
        )
    return held_accurate(solver, problem, result)


def check_rank(solver: Any, problem: GeneratedProblem) -> float:
    """Exactly dependent columns are RANK_DEFICIENT.

    Args:
        solver: the solver.
        problem: whose columns are exactly dependent.

    Returns:
        0.

    Raises:
        Violation: if the status is another.
    """
    result = solved(solver, problem)
    status = status_of(result)
    if status != Status.RANK_DEFICIENT:
        finite = bool(torch.isfinite(torch.as_tensor(result.x)).all())
        raise Violation(
            problem,
            measured=f"status {getattr(status, 'name', status)}" + ("" if finite else ", and x is not finite"),
            allowed="RANK_DEFICIENT: the columns of A are exactly dependent",
            cause="unreported rank deficiency: "
            + ("one minimiser of many is passed off as the solution" if finite else "a silent NaN"),
        )
    return 0.0
