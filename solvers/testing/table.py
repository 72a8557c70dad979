"""The table of checks: each property, what breaks it, and the cases it is tried on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st

from solvers.solver import Promise
from solvers.testing import answers, interface, invariances, sweeps, traces
from solvers.testing.recipes import DEFICIENT_KINDS, FULL_RANK_KINDS, GeneratedProblem, Recipe
from solvers.testing.strategies import lstsq_problems

GENTLE = 8.0
"""The κ up to which a solver that iterates is tried where only bits are compared, and must converge."""

_ORDINARY_KINDS = ("spectrum", "powers-of-two", "duplicated-rows")

Strategy = st.SearchStrategy[Any]


def _never(solver: Any) -> str:
    del solver
    return ""


def _unless(*wanted: Promise) -> Callable[[Any], str]:
    """A check that only holds for solvers that promise something.

    Args:
        *wanted: promises, one of which must be made.

    Returns:
        Of a solver: a reason to skip the check, or nothing.
    """

    def skip(solver: Any) -> str:
        return "" if invariances.promises(solver).intersection(wanted) else "not promised"

    return skip


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property.

    Args:
        name: a word or two.
        claim: the property, in a line.
        run: of a solver and a drawn case, or, for a table, of a solver and the largest κ.
        cases: of the largest κ; None for a table.
        gentle: whether a solver that iterates is only tried to κ = `GENTLE`, since the check is not about κ.
        share: of the examples, in hundredths.
        skip: of a solver: why the check does not apply, or nothing.
    """

    name: str
    claim: str
    run: Callable[..., Any]
    cases: Callable[[float], Strategy] | None = None
    gentle: bool = False
    share: int = 0
    skip: Callable[[Any], str] = _never


def _ordinary(limit: float, **options: Any) -> st.SearchStrategy[GeneratedProblem]:
    return lstsq_problems(max_condition=limit, kinds=_ORDINARY_KINDS, **options)


@st.composite
def _scalings(draw: st.DrawFn, limit: float) -> tuple[GeneratedProblem, int, int]:
    problem = draw(_ordinary(limit, max_rows=8))
    far = 40 if problem.A.dtype == torch.float64 else 10
    return problem, draw(st.integers(-far, far)), draw(st.integers(-far, far))


@st.composite
def _orders(draw: st.DrawFn, limit: float) -> tuple[GeneratedProblem, list[int]]:
    problem = draw(lstsq_problems(max_condition=limit, min_rows=2, max_rows=8))
    return problem, draw(st.permutations(range(len(problem.b))))


@st.composite
def _batches(draw: st.DrawFn, limit: float) -> list[GeneratedProblem]:
    first = draw(lstsq_problems(max_condition=limit, kinds=("spectrum",)))
    siblings = []
    for k in range(draw(st.integers(1, 3))):
        # Neighbours of other difficulty, so that they take other numbers of iterations.
        condition = min(limit, 2.0 * (k + 1)) if first.recipe.n > 1 else 1.0
        siblings.append(replace(first.recipe, seed=first.recipe.seed + k + 1, condition=condition).problem())
    return [first, *siblings]


def _tall(limit: float) -> Strategy:
    return lstsq_problems(max_condition=limit, min_rows=2, max_rows=6)


def _caps(limit: float) -> Strategy:
    return st.tuples(_ordinary(limit), st.integers(0, 12))


@st.composite
def _steep(draw: st.DrawFn, limit: float) -> GeneratedProblem:
    """Problems that no method solves in one step, whatever the largest κ.

    Args:
        draw: Hypothesis's.
        limit: not heeded.

    Returns:
        A problem with n >= 2 and κ = `GENTLE`.
    """
    del limit
    n = draw(st.integers(2, 4))
    m = draw(st.integers(n, 8))
    return Recipe(kind="spectrum", m=m, n=n, condition=GENTLE, seed=draw(st.integers(0, 255))).problem()


def _any(limit: float) -> Strategy:
    return lstsq_problems(max_condition=limit)


def _regular(limit: float) -> Strategy:
    return lstsq_problems(max_condition=limit, kinds=tuple(kind for kind in FULL_RANK_KINDS if kind != "extreme"))


def _well_conditioned(limit: float) -> Strategy:
    return lstsq_problems(max_condition=min(limit, GENTLE))


def _deficient(limit: float) -> Strategy:
    del limit
    return lstsq_problems(kinds=DEFICIENT_KINDS)


CHECKS = (
    Check(
        name="sweep",
        claim="for κ decade by decade, CONVERGED means within the documented error, and nothing is given up",
        run=sweeps.check_sweep,
    ),
    Check(
        name="extreme scales",
        claim="the same near under- and overflow of A and b",
        run=sweeps.check_scales,
    ),
    Check(
        name="accuracy",
        claim="an answer that is CONVERGED is within the documented error, for κ up to the largest",
        run=answers.check_accuracy,
        cases=_regular,
        share=25,
    ),
    Check(
        name="statuses",
        claim="full rank is not given up while the documented accuracy leaves digits, and NaN is not silent",
        run=answers.check_status,
        cases=_any,
        share=14,
    ),
    Check(
        name="convergence",
        claim="a problem with a small κ is CONVERGED, within the documented error",
        run=answers.check_convergence,
        cases=_well_conditioned,
        share=10,
    ),
    Check(
        name="rank",
        claim="exactly dependent columns are RANK_DEFICIENT",
        run=answers.check_rank,
        cases=_deficient,
        share=8,
    ),
    Check(
        name="scaling",
        claim="powers of two in A and b change no bit but the exponent of x",
        run=invariances.check_scaling,
        cases=_scalings,
        gentle=True,
        share=7,
        skip=_unless(Promise.EXACT_SCALING),
    ),
    Check(
        name="order of rows",
        claim="permuted rows give the solution within the documented error",
        run=invariances.check_rows,
        cases=_orders,
        gentle=True,
        share=8,
    ),
    Check(
        name="batch",
        claim="a problem in a batch gets the answer that it gets alone",
        run=invariances.check_batch,
        cases=_batches,
        gentle=True,
        share=8,
    ),
    Check(
        name="repetition",
        claim="the same call gives the same bits",
        run=invariances.check_repetition,
        cases=_any,
        gentle=True,
        share=4,
    ),
    Check(
        name="inputs",
        claim="inputs are not written to, and share no memory with results",
        run=invariances.check_untouched,
        cases=_ordinary,
        gentle=True,
        share=2,
    ),
    Check(
        name="layout",
        claim="strided, reversed and column-major arrays are read as what they are",
        run=invariances.check_layout,
        cases=_tall,
        gentle=True,
        share=4,
    ),
    Check(
        name="trace",
        claim="the trace begins at x0, ends at x and has a row an iteration",
        run=traces.check_trace,
        cases=_ordinary,
        gentle=True,
        share=3,
    ),
    Check(
        name="start",
        claim="an iteration starts at the x0 that it records",
        run=traces.check_start,
        cases=_steep,
        share=1,
        skip=traces.iterates,
    ),
    Check(
        name="cap",
        claim="max_iterations is honoured",
        run=traces.check_cap,
        cases=_caps,
        gentle=True,
        share=2,
        skip=traces.iterates,
    ),
    Check(
        name="rate",
        claim="the iterates come closer at the promised rate",
        run=traces.check_rates,
        cases=_steep,
        gentle=True,
        share=4,
        skip=_unless(Promise.MONOTONE, *traces.RATES),
    ),
    Check(
        name="shapes", claim="square problems and single unknowns are solved like others", run=interface.check_shapes
    ),
    Check(name="types", claim="family, dtype, device and shape come back as they went in", run=interface.check_types),
    Check(name="empty batch", claim="a batch of no problems has no answers", run=interface.check_empty),
    Check(
        name="validation",
        claim="malformed input is a ValueError or TypeError that names the argument",
        run=interface.check_validation,
    ),
)
"""All checks, in the order in which they run; shares add up to a hundred."""
