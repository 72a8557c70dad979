"""What a check is, and the table of them: each is a function with its claim for a docstring, entered where it stands.

A check takes a solver and a problem; it returns an error in units of what is allowed, or raises a `Violation`. Where it
has problems of its own it takes a solver and a `Draw`, which gives sizes and the largest κ, and yields an error each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from solvers.solver import Promise
from solvers.testing.accuracy import promises
from solvers.testing.adapters import claims

GENTLE = 8.0
"""The κ up to which a solver that iterates is tried where only bits are compared, and must converge."""

ORDINARY_KINDS = ("spectrum", "powers-of-two", "duplicated-rows", "recurrence")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property.

    Args:
        name: a word or two.
        claim: the property, in a line.
        run: of a solver and a problem, or, where `share` is 0, of a solver and a `Draw`.
        share: of the examples, in hundredths.
        gentle: whether a solver that iterates is only tried to κ = `GENTLE`, since the check is not about κ.
        draws: what it is tried on, where that is not what is usual, as fields of `Draw`.
        skip: of a solver: why the check does not apply, or nothing.
    """

    name: str
    claim: str
    run: Callable[..., Any]
    share: int = 0
    gentle: bool = False
    draws: Mapping[str, Any] = field(default_factory=dict)
    skip: Callable[[Any], str] = lambda _: ""


CHECKS: list[Check] = []
"""All checks, in the order in which they run; shares add up to a hundred."""


def check(name: str, **options: Any) -> Callable[[F], F]:
    """A decorator that enters a function in the table; its docstring is the claim, the rest fields of `Check`."""

    def enter(run: F) -> F:
        claim = " ".join((run.__doc__ or "").split()).rstrip(".")
        CHECKS.append(Check(name=name, claim=claim, run=run, **options))
        return run

    return enter


def claiming(what: str) -> Callable[[Any], str]:
    """Skips a solver that does not claim something, one of `adapters.EVERYTHING`."""
    return lambda solver: "" if what in claims(solver) else "not claimed"


def promising(*wanted: Promise) -> Callable[[Any], str]:
    """Skips a solver that promises none of these."""
    return lambda solver: "" if promises(solver).intersection(wanted) else "not promised"


def is_iterative(solver: Any) -> bool:
    """Whether a solver may end for want of iterations: whether it has a `max_iterations`."""
    return hasattr(solver, "max_iterations")


def iterating(solver: Any) -> str:
    """Skips a solver that does not iterate."""
    return "" if is_iterative(solver) and "interface" in claims(solver) else "no max_iterations"
