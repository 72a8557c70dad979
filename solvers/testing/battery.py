"""The battery: what carries out the table of checks.

Problems come from a fixed seed, region after region of (m, n); one that fails is made simpler, number by number, for as
long as it fails.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from solvers._core.arrays import require_choice, require_count
from solvers.testing.adapters import adapt, dtypes_of
from solvers.testing.checks import CHECKS, GENTLE, Check, is_iterative
from solvers.testing.findings import Finding, Violation
from solvers.testing.recipes import GeneratedProblem
from solvers.testing.report import CheckReport, CheckResult, SolverCheckFailed
from solvers.testing.strategies import Draw, simpler

if TYPE_CHECKING:
    import pytest

# Each of these enters its checks in the table, in this order.
for _module in ("answers", "sweeps", "invariances", "iterations", "interface"):
    import_module(f"solvers.testing.{_module}")

_SHRINKING_SECONDS = 10.0


def check_solver(
    solver_or_function: Any,
    *,
    max_condition: float = 1e8,
    max_examples: int = 200,
    max_rows: int = 64,
    max_unknowns: int = 24,
    expected_failures: Mapping[str, str] | None = None,
    seed: int = 0,
) -> CheckReport:
    """Hold a solver for min_x ‖b − A x‖₂ to what it documents and to the interface of `solvers.Solver`.

    A solver documents by attributes, all optional: `condition_power` (p of its error u κ^p; 1 unless said),
    `error_constant` (c₀ of it; LAPACK's unless said), `tolerance` (of its stopping rule, where that is above u),
    `max_iterations` (that it iterates), `promises` (see `solvers.Promise`), `underdetermined`.

    Args:
        solver_or_function: anything with `solve(A, b, *, x0=None, record=False)` that answers as an `LstsqResult`; or a
            function f(A, b) of NumPy arrays that returns x. What `adapt` makes is held to what it is said to claim.
        max_condition: the largest κ tried, at least 1.
        max_examples: examples over all drawn checks together, at least 1; every check has at least one.
        max_rows: the largest m drawn, at least 1; below 64 also that of checks with problems of their own.
        max_unknowns: the largest n drawn; below 24 likewise.
        expected_failures: names of checks that are expected to fail, each with the reason. One that passes is reported.
        seed: of the draws; the same seed draws the same problems.

    Returns:
        What was checked, when nothing was found that was not expected.

    Raises:
        SolverCheckFailed: if a property is broken; the message has each with a problem to see it on.
        ValueError: if an option is out of range.
        TypeError: if there is nothing to call.

    Error:
        Measured against the exact solution; the allowed error is at the top of `solvers.testing.accuracy`.

    Cost:
        About three solves an example.
    """  # noqa: DOC502 - raised by what tells solvers from functions
    sizes = {"max_rows": max_rows, "max_unknowns": max_unknowns}
    run = Run(max_condition=max_condition, max_examples=max_examples, seed=seed, **sizes)
    return run.over(_solver(solver_or_function), CHECKS, _expected(expected_failures))


def parametrize_with_checks(
    solvers: Sequence[Any], *, expected_failures: Mapping[str, str] | None = None, **options: Any
) -> "pytest.MarkDecorator":
    """A pytest decorator that makes one test of each check of each solver, with an id of its own.

    For example::

        @parametrize_with_checks([my_solver, my_function])
        def test_solver(solver, check):
            check(solver)

    Args:
        solvers: solvers or functions, as `check_solver` takes them; checks that do not apply to one are left out.
        expected_failures: names of checks that are expected to fail, each with the reason: strict xfails.
        **options: others of `check_solver`.

    Returns:
        The decorator, of a test with the arguments `solver` and `check`.

    Raises:
        ValueError: if an option is out of range.
        TypeError: if there is nothing to call.
    """  # noqa: DOC502 - raised by what tells solvers from functions, and by the checks of options
    import pytest

    run, expected, cases = Run(**options), _expected(expected_failures), []
    for solver in map(_solver, solvers):
        for check in CHECKS:
            if not check.skip(solver):
                reason = expected.get(check.name)
                marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
                name = f"{_name(solver)}-{check.name.replace(' ', '_')}"
                cases.append(pytest.param(solver, partial(run.over, checks=(check,)), id=name, marks=marks))
    return pytest.mark.parametrize(("solver", "check"), cases)


def _expected(failures: Mapping[str, str] | None) -> Mapping[str, str]:
    names = [check.name for check in CHECKS]
    for name in failures or {}:
        require_choice("expected_failures", name, names)
    return failures or {}


def _solver(solver_or_function: Any) -> Any:
    if callable(getattr(solver_or_function, "solve", None)):
        return solver_or_function
    if callable(solver_or_function) and not isinstance(solver_or_function, type):
        return adapt(solver_or_function)
    got = type(solver_or_function).__name__
    raise TypeError(f"solver: got {got}, wants a function f(A, b) or an object with a method solve(A, b)")


def _name(solver: Any) -> str:
    return str(getattr(solver, "name", type(solver).__name__))


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the battery: the options of `check_solver`.

    Args:
        max_condition: the largest κ that is drawn.
        max_examples: of all checks that share them.
        max_rows: the largest m.
        max_unknowns: the largest n.
        seed: of all that is drawn.
    """

    max_condition: float = 1e8
    max_examples: int = 200
    max_rows: int = 64
    max_unknowns: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_examples", "max_rows", "max_unknowns"):
            require_count(name, getattr(self, name), least=1)
        require_count("seed", self.seed)
        if not 1 <= self.max_condition < float("inf"):
            raise ValueError(f"max_condition: got {self.max_condition}, wants a finite number of at least 1")

    def over(
        self, solver: Any, checks: Sequence[Check], expected: Mapping[str, str] = MappingProxyType({})
    ) -> CheckReport:
        """Run some checks; a failure that was not expected is raised."""
        results = tuple(self._carried_out(check, solver, expected.get(check.name, "")) for check in checks)
        report = CheckReport(
            solver=_name(solver),
            max_condition=self.max_condition,
            max_examples=self.max_examples,
            seed=self.seed,
            checks=results,
        )
        if not report.passed:
            raise SolverCheckFailed(report)
        return report

    def _carried_out(self, check: Check, solver: Any, expected: str) -> CheckResult:
        """Run one check; where it is expected to fail, passing is what is found."""
        begun, finding, worst = time.perf_counter(), None, [0.0]
        skipped = check.skip(solver)
        try:
            worst.extend(() if skipped else self._errors(check, solver))
        except Violation as found:
            finding = found.finding
        if expected and not finding and not skipped:
            finding, expected = Finding(measured="it holds", allowed=f"a failure was expected: {expected}"), ""
        elif expected:
            finding = None
        return CheckResult(
            name=check.name,
            claim=check.claim,
            examples=len(worst) - 1,
            worst=max(worst),
            seconds=time.perf_counter() - begun,
            skipped=skipped,
            expected=expected,
            finding=finding and replace(finding, check=check.name, claim=check.claim),
        )

    def _errors(self, check: Check, solver: Any) -> Iterator[float]:
        """The errors of the examples of a check, one region of (m, n) after the other, until one fails."""
        draw = self._draw(check, solver)
        if not check.share:
            yield from check.run(solver, draw)
            return
        examples, places = max(1, round(self.max_examples * check.share / 100)), draw.regions
        # Where there are fewer examples than regions, they are spread over all.
        step = max(1.0, len(places) / examples)
        for i in range(examples):
            # Checks that draw from the same draw the same, whose solution is then known already.
            pick = random.Random(f"{self.seed} {i}").randrange
            problem = draw.problem(pick, places[int(i * step) % len(places)])
            try:
                yield check.run(solver, problem)
            except Violation as found:
                raise _simplest(check, solver, draw, problem, found) from None

    def _draw(self, check: Check, solver: Any) -> Draw:
        """What a check is tried on, within what was asked for."""
        chosen = {"dtypes": dtypes_of(solver), "solver": solver, **check.draws}
        for name in ("max_condition", "max_rows", "max_unknowns"):
            chosen[name] = min(getattr(self, name), chosen.get(name, getattr(self, name)))
        if check.gentle and is_iterative(solver):
            chosen["max_condition"] = min(chosen["max_condition"], GENTLE)
        return Draw(**chosen | {"min_rows": min(chosen.get("min_rows", 1), chosen["max_rows"])})


def _simplest(check: Check, solver: Any, draw: Draw, problem: GeneratedProblem, found: Violation) -> Violation:
    """The violation on the simplest problem that can be had from the one that failed, in a few seconds."""
    until = time.perf_counter() + _SHRINKING_SECONDS

    def failing(candidate: GeneratedProblem) -> Violation | None:
        try:
            check.run(solver, candidate)
        except Violation as again:
            return again
        return None

    # Made again, in case the solver wrote to it.
    if failing(problem.recipe.problem()) is None:
        found.cause = "nondeterministic: it failed once, and not again on the same problem"
        return found
    improved = True
    while improved and time.perf_counter() < until:
        improved = False
        for recipe in simpler(problem.recipe):
            if recipe.kind not in draw.kinds or recipe.m < draw.min_rows or recipe.dtype not in draw.dtypes:
                continue
            candidate = recipe.problem()
            again = failing(candidate) if draw.admits(candidate) else None
            if again:
                problem, found, improved = candidate, again, True
                break
            if time.perf_counter() > until:
                break
    return found
