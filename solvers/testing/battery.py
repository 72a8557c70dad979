"""The battery: what carries out the table of checks.

Each check is a function of a solver and a drawn case; it returns an error in units of what is allowed, or raises a
`Violation`. Hypothesis draws the cases from a fixed seed, without a database, and shrinks what fails.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from solvers._core.arrays import require_count
from solvers.testing.answers import is_iterative
from solvers.testing.findings import Violation
from solvers.testing.report import CheckReport, CheckResult, SolverCheckFailed
from solvers.testing.table import CHECKS, GENTLE, Check, Strategy

_SHRINKING_SECONDS = 15.0


def check_solver(solver: Any, *, max_condition: float = 1e8, max_examples: int = 200, seed: int = 0) -> CheckReport:
    """Hold a solver for min_x ‖b − A x‖₂ to what it documents and to the interface of `solvers.Solver`.

    A solver documents by attributes, all optional: `condition_power` (p of its error u κ^p; 1 unless said), `tolerance`
    (of its stopping rule, where that is above u), `max_iterations` (that it iterates), `promises` (see
    `solvers.Promise`), `underdetermined`.

    Args:
        solver: anything with `solve(A, b, *, x0=None, record=False)` that answers as an `LstsqResult`.
        max_condition: the largest κ tried, at least 1.
        max_examples: examples over all drawn checks together, at least 1; every check has at least one.
        seed: of the draws; the same seed draws the same problems.

    Returns:
        What was checked, when nothing was found.

    Raises:
        SolverCheckFailed: if a property is broken; the message has each with a problem to see it on.
        ValueError: if an option is out of range.
        TypeError: if the solver has no `solve`.

    Error:
        Measured against the exact solution; the allowed error is at the top of `solvers.testing.accuracy`.

    Cost:
        About three solves an example.
    """
    require_count("max_examples", max_examples, least=1)
    require_count("seed", seed)
    if not 1 <= max_condition < float("inf"):
        raise ValueError(f"max_condition: got {max_condition}, wants a finite number of at least 1")
    if not callable(getattr(solver, "solve", None)):
        raise TypeError(f"solver: got {type(solver).__name__}, wants an object with a method solve(A, b)")
    results = tuple(_carried_out(check, solver, max_condition, max_examples, seed) for check in CHECKS)
    report = CheckReport(
        solver=str(getattr(solver, "name", type(solver).__name__)),
        max_condition=max_condition,
        max_examples=max_examples,
        seed=seed,
        checks=results,
    )
    if not report.passed:
        raise SolverCheckFailed(report)
    return report


def _carried_out(check: Check, solver: Any, max_condition: float, max_examples: int, start: int) -> CheckResult:
    """Run one check.

    Args:
        check: the check.
        solver: the solver.
        max_condition: the largest κ.
        max_examples: over all checks.
        start: the seed.

    Returns:
        Its result.
    """
    skipped = check.skip(solver)
    if skipped:
        return CheckResult(name=check.name, claim=check.claim, examples=0, worst=0.0, seconds=0.0, skipped=skipped)
    limit = min(max_condition, GENTLE) if check.gentle and is_iterative(solver) else max_condition
    begun, tally = time.perf_counter(), _Tally()
    finding = None
    try:
        if check.cases is None:
            tally.table(check.run(solver, limit))
        else:
            examples = max(1, round(max_examples * check.share / 100))
            tally.drawn(check, solver, check.cases(limit), examples, start)
    except Violation as found:
        finding = replace(found.finding, check=check.name, claim=check.claim)
    return CheckResult(
        name=check.name,
        claim=check.claim,
        examples=tally.examples,
        worst=tally.worst,
        seconds=time.perf_counter() - begun,
        finding=finding,
    )


class _EnoughShrinking(BaseException):
    """Raised past Hypothesis, which lets it through, when a counterexample has been shrunk for long enough."""


class _Tally:
    """Counts the examples of a check until one fails."""

    def __init__(self) -> None:
        self.examples, self.worst = 0, 0.0
        self.failure: Violation | None = None
        self.failed_at = 0.0

    def add(self, measured: float) -> None:
        """Count one example that passed.

        Args:
            measured: its error in units of what is allowed.
        """
        if self.failure is None:
            self.examples += 1
            self.worst = max(self.worst, measured)

    def table(self, cases: Iterable[float]) -> None:
        """Run a table.

        Args:
            cases: yields an error a case.
        """
        for measured in cases:
            self.add(measured)

    def drawn(self, check: Check, solver: Any, cases: Strategy, examples: int, start: int) -> None:
        """Run a check on drawn cases.

        Args:
            check: the check.
            solver: the solver.
            cases: where they are drawn from.
            examples: how many.
            start: the seed.

        Raises:
            Violation: if a case fails; the simplest found.
        """  # noqa: DOC501, DOC502 - raised by the check; Hypothesis's own errors are passed on

        def one(case: Any) -> None:
            if self.failure is not None and time.perf_counter() - self.failed_at > _SHRINKING_SECONDS:
                raise _EnoughShrinking
            try:
                self.add(check.run(solver, case))
            except Violation as found:
                if self.failure is None:
                    self.failed_at = time.perf_counter()
                if self.failure is None or len(found.finding.code) <= len(self.failure.finding.code):
                    self.failure = found
                raise

        quiet = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=False,
            print_blob=False,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        try:
            seed(start)(quiet(given(cases)(one)))()
        except (_EnoughShrinking, Flaky) as stopped:
            if self.failure is None:
                raise
            if isinstance(stopped, Flaky):
                cause = "nondeterministic: it failed once, and not again on the same problem"
                self.failure.finding = replace(self.failure.finding, cause=cause)
            raise self.failure from None
