"""Checks over what is known to be hard, whatever is drawn: κ decade by decade, and scales to the ends of the range.

Problems of one shape are solved as one batch, which makes a sweep cost an iterative method no more than its hardest
problem. An entry that is wrong is solved again alone, so that the finding is about one problem.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from solvers.testing.answers import held_accurate, held_status
from solvers.testing.findings import Violation, attempt, entry_of, solved
from solvers.testing.recipes import DTYPE_NAMES, GeneratedProblem, Recipe, largest_exponent
from solvers.testing.strategies import distinguishable

_SCALE_STEPS = 3


def check_sweep(solver: Any, limit: float) -> Iterator[float]:
    """Accuracy and statuses decade by decade in κ, consistent and with a residual.

    Args:
        solver: the solver.
        limit: the largest κ.

    Yields:
        Errors in units of what is allowed, by increasing κ.
    """
    for dtype in DTYPE_NAMES:
        for m, n in ((8, 4), (5, 5), (10, 2)):
            largest = math.log10(min(limit, distinguishable(m, n, DTYPE_NAMES[dtype])))
            spectra = [
                Recipe(kind="spectrum", m=m, n=n, condition=10.0**k, residual=r, seed=seed, dtype=dtype)
                for k in range(math.floor(largest) + 1)
                for r in ((0.0, 1.0) if m > n else (0.0,))
                for seed in range(2)
            ]
            yield from _together(solver, [recipe.problem() for recipe in spectra])
        n = 4
        largest = math.log2(min(limit, distinguishable(n + 1, n, DTYPE_NAMES[dtype])))
        grades = range(0, math.floor(largest - math.log2(n) / 2) + 1, 3)
        columns = [Recipe(kind="lauchli", m=n + 1, n=n, grade=grade, dtype=dtype) for grade in grades]
        yield from _together(solver, [recipe.problem() for recipe in columns])


def check_scales(solver: Any, limit: float) -> Iterator[float]:
    """Accuracy and statuses with A and b near under- and overflow, each and both.

    Args:
        solver: the solver.
        limit: the largest κ; here it is 2 at most.

    Yields:
        Errors in units of what is allowed.
    """
    steps = range(-_SCALE_STEPS, _SCALE_STEPS + 1)
    for dtype, kind in DTYPE_NAMES.items():
        step = largest_exponent(kind) // _SCALE_STEPS
        pairs = [(a * step, b * step) for a in steps for b in steps if abs(a - b) <= _SCALE_STEPS]
        extremes = [
            Recipe(
                kind="extreme",
                m=4,
                n=2,
                condition=min(2.0, limit),
                residual=1.0,
                matrix_exponent=a,
                right_exponent=b,
                dtype=dtype,
            )
            for a, b in sorted(pairs, key=lambda pair: abs(pair[0]) + abs(pair[1]))
        ]
        yield from _together(solver, [recipe.problem() for recipe in extremes])


def _together(solver: Any, problems: Sequence[GeneratedProblem]) -> Iterator[float]:
    """Solve problems as a batch, and hold each to its status and accuracy.

    Args:
        solver: the solver.
        problems: of one shape and dtype and of full rank.

    Yields:
        Errors in units of what is allowed.

    Raises:
        Violation: if one is not; alone, where it is wrong alone too.
    """
    A, b = torch.stack([p.A for p in problems]), torch.stack([p.b for p in problems])
    recipes = ", ".join(repr(p.recipe) for p in problems)
    call = f"ps = [r.problem() for r in [{recipes}]]; "
    call += "solver.solve(torch.stack([q.A for q in ps]), torch.stack([q.b for q in ps]))"
    result = attempt(problems[0], call, lambda: solver.solve(A, b))
    for i, problem in enumerate(problems):
        entry = entry_of(problem, result, i, call)
        try:
            held_status(solver, problem, entry)
            measured = held_accurate(solver, problem, entry, f"entry {i} of: {call}")
        except Violation:
            alone = solved(solver, problem)
            held_status(solver, problem, alone)
            held_accurate(solver, problem, alone)
            raise  # right alone: the finding is about the entry of the batch
        yield measured
