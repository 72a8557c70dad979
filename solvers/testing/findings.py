"""What a check found: a property that a solver breaks, on a problem that can be had again, and the likely cause."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from solvers.result import LstsqResult, Status
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
        cause: the likely cause, or what finds it, once the problem is the simplest.
        call: what to do with the problem, called p.
    """

    def __init__(
        self,
        problem: GeneratedProblem,
        *,
        measured: str,
        allowed: str,
        cause: str | Callable[[], str] = "",
        call: str = "solver.solve(p.A, p.b)",
    ) -> None:
        super().__init__(measured, allowed)
        self.problem, self.cause = problem, cause
        self._said = {"measured": measured, "allowed": allowed, "code": f"p = {problem.code}; {call}"}

    @property
    def finding(self) -> Finding:
        """What there is to say."""
        cause = self.cause if isinstance(self.cause, str) else self.cause()
        return Finding(cause=cause, problem=self.problem.line, **self._said)


def attempt(problem: GeneratedProblem, call: str, solve: Callable[[], Any]) -> LstsqResult:
    """Call a solver with a valid problem; an exception is a violation."""
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
    """The result for a valid problem, options being x0 and record."""
    said = "".join(f", {name}={value!r}" for name, value in options.items() if name == "record")
    said += ", x0=x0" if "x0" in options else ""
    return attempt(problem, f"solver.solve(p.A, p.b{said})", lambda: solver.solve(problem.A, problem.b, **options))


def stacked(solver: Any, problems: list[GeneratedProblem]) -> tuple[list[LstsqResult], str]:
    """Problems of one shape and dtype solved as one batch."""
    recipes = ", ".join(repr(p.recipe) for p in problems)
    call = f"ps = [r.problem() for r in [{recipes}]]; "
    call += "solver.solve(torch.stack([q.A for q in ps]), torch.stack([q.b for q in ps]))"
    A, b = torch.stack([p.A for p in problems]), torch.stack([p.b for p in problems])
    result = attempt(problems[0], call, lambda: solver.solve(A, b))

    def entry(i: int) -> LstsqResult:
        rest = {name: getattr(result, name, None) for name in ("residual_norm", "condition")}
        return LstsqResult(
            x=result.x[i],
            status=result.status[i],
            iterations=result.iterations[i],
            **{name: None if value is None else value[i] for name, value in rest.items()},
        )

    return [attempt(p, call, partial(entry, i)) for i, p in enumerate(problems)], call


def status_of(result: LstsqResult) -> Status | None:
    """The status of one problem, or None where the value is none of `Status`."""
    value = torch.as_tensor(result.status).reshape(-1)
    known = [int(status) for status in Status]
    return Status(int(value[0])) if len(value) == 1 and int(value[0]) in known else None


def spent(result: LstsqResult) -> int:
    """The iterations of one problem."""
    return int(torch.as_tensor(result.iterations).max())
