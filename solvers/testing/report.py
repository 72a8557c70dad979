"""What the battery says: a report of what holds, or an exception that says what does not."""

from dataclasses import dataclass
from html import escape

from solvers.testing.findings import Finding


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check, carried out.

    Args:
        name: of the check.
        claim: the property, in a line.
        examples: problems tried.
        worst: the largest error in units of what is allowed; 0 where nothing is measured but equality.
        seconds: spent.
        skipped: why it does not apply, or nothing.
        expected: why it was expected to fail, where it did, or nothing.
        finding: what was found wrong, or None.
    """

    name: str
    claim: str
    examples: int = 0
    worst: float = 0.0
    seconds: float = 0.0
    skipped: str = ""
    expected: str = ""
    finding: Finding | None = None

    @property
    def outcome(self) -> str:
        """Passed, FAILED, or skipped or failed as expected with the reason."""
        if self.skipped or self.expected:
            return f"skipped: {self.skipped}" if self.skipped else f"fails as expected: {self.expected}"
        return "FAILED" if self.finding else "passed"


@dataclass(frozen=True, kw_only=True, repr=False)
class CheckReport:
    """The battery on one solver.

    Args:
        solver: its name.
        max_condition: the largest κ tried.
        max_examples: the examples asked for, over all drawn checks.
        seed: of the draws.
        checks: one result a check.
    """

    solver: str
    max_condition: float
    max_examples: int
    seed: int
    checks: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What was found, check by check."""
        return tuple(check.finding for check in self.checks if check.finding is not None)

    @property
    def examples(self) -> int:
        """Problems tried, over all checks."""
        return sum(check.examples for check in self.checks)

    @property
    def seconds(self) -> float:
        """Time spent, over all checks."""
        return sum(check.seconds for check in self.checks)

    @property
    def worst(self) -> float:
        """The largest error in units of what is allowed."""
        return max((check.worst for check in self.checks), default=0.0)

    def _title(self) -> str:
        held = [check for check in self.checks if not check.skipped]
        failed = len(self.failures)
        verdict = f"fails {failed} of {len(held)} checks" if failed else f"passes {len(held)} checks"
        return (
            f"solver {self.solver!r} {verdict} (κ to {self.max_condition:.3g}, {self.examples} examples, "
            f"seed {self.seed}, {self.seconds:.1f} s)"
        )

    def _rows(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (check.name, check.outcome, str(check.examples), f"{check.worst:.2g}", f"{check.seconds:.2f}")
            for check in self.checks
        ]

    def __repr__(self) -> str:
        table = [_HEADER, *self._rows()]
        widths = [max(len(row[k]) for row in table) for k in range(len(_HEADER))]
        lines = [
            "  ".join(
                cell.ljust(width) if k < 2 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]
        return "\n".join([self._title(), *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(cell)}</th>" for cell in _HEADER)
        body = "".join(
            f"<tr title='{escape(check.claim, quote=True)}'>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
            for check, row in zip(self.checks, self._rows(), strict=True)
        )
        found = "".join(f"<pre>{escape(str(finding))}</pre>" for finding in self.failures)
        return f"<p>{escape(self._title())}</p><table><tr>{head}</tr>{body}</table>{found}"


_HEADER = ("check", "outcome", "examples", "worst / allowed", "seconds")


class SolverCheckFailed(AssertionError):
    """A solver broke a property.

    Args:
        report: of the whole battery.
    """

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        super().__init__("\n\n".join([report._title(), *map(str, report.failures)]))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What was found, check by check."""
        return self.report.failures

    def __reduce__(self) -> tuple[type["SolverCheckFailed"], tuple[CheckReport]]:
        # Test runners with several processes send exceptions from one to another.
        return type(self), (self.report,)
