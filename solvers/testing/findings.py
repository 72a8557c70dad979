"""What a check found: a property that a solver breaks, on a problem that can be had again, and the likely cause."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from solvers.result import LstsqResult
from solvers.testing.recipes import GeneratedProblem


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One property, broken.

    Args:
        measured: what was found.
        allowed: what should have been.
        problem: the problem, in a line.
        code: what makes the problem again and shows the failure.
        cause: the likely cause, where it can be told.
        check: the check's name.
        claim: the property, in a line.
    """

    measured: str
    allowed: str
    problem: str = ""
    code: str = ""
    cause: str = ""
    check: str = ""
    claim: str = ""

    def __str__(self) -> str:
        said = (
            ("problem", self.problem),
            ("measured", self.measured),
            ("allowed", self.allowed),
            ("cause", self.cause),
            ("again", self.code),
        )
        lines = [f"  {name:<9}{text}" for name, text in said if text]
        return "\n".join([f"{self.check}: {self.claim}", *lines])


class Violation(Exception):
    """Raised by a check where a solver breaks its property.

    Args:
        problem: on which.
        measured: what was found.
        allowed: what should have been.
        cause: the likely cause, or nothing.
        call: what to do with the problem, called p.
    """

    def __init__(
        self,
        problem: GeneratedProblem,
        *,
        measured: str,
        allowed: str,
        cause: str = "",
        call: str = "solver.solve(p.A, p.b)",
    ) -> None:
        line = repr(problem).split(": Recipe(", maxsplit=1)[0]
        code = f"p = {problem.code}; {call}"
        self.finding = Finding(measured=measured, allowed=allowed, cause=cause, problem=line, code=code)
        super().__init__(self.finding)


def attempt(problem: GeneratedProblem, call: str, solve: Callable[[], Any]) -> LstsqResult:
    """Call a solver with a valid problem; an exception is a violation.

    Args:
        problem: the problem.
        call: the call as code, the problem being p.
        solve: the call.

    Returns:
        The result.

    Raises:
        Violation: if the solver raises, or returns what is no result.
    """
    try:
        result: LstsqResult = solve()
        _ = result.x, result.status, result.iterations
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise Violation(
            problem,
            measured=f"raised {type(error).__name__}: {said}",
            allowed="a result; not converging is a status",
            cause="an exception where a status is due",
            call=call,
        ) from error
    return result


def solved(solver: Any, problem: GeneratedProblem, **options: Any) -> LstsqResult:
    """Solve a valid problem.

    Args:
        solver: any solver.
        problem: the problem.
        **options: x0 and record.

    Returns:
        The result.
    """
    said = "".join(f", {name}={value!r}" for name, value in options.items() if name == "record")
    said += ", x0=x0" if "x0" in options else ""
    return attempt(problem, f"solver.solve(p.A, p.b{said})", lambda: solver.solve(problem.A, problem.b, **options))


def entry_of(problem: GeneratedProblem, result: LstsqResult, i: int, call: str) -> LstsqResult:
    """One entry of a batched result.

    Args:
        problem: the problem of the entry.
        result: of the batch.
        i: which.
        call: the call as code.

    Returns:
        The entry's own result.
    """
    return attempt(
        problem,
        call,
        lambda: LstsqResult(x=result.x[i], status=result.status[i], iterations=result.iterations[i]),
    )
