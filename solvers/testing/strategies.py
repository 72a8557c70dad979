"""Hypothesis strategies for least-squares problems.

What is drawn is a `Recipe`: a shape, a kind, powers of two and seeds, never raw floats. Hypothesis shrinks it towards
one unknown, few rows, κ = 1, no residual and whole numbers, so that a counterexample fits on a line.
"""

import math
from collections.abc import Sequence

import torch
from hypothesis import assume
from hypothesis import strategies as st

from solvers._core.arrays import DTYPES, require_choice, require_count
from solvers.testing.accuracy import constant
from solvers.testing.recipes import (
    DEFICIENT_KINDS,
    DTYPE_NAMES,
    FULL_RANK_KINDS,
    KINDS,
    GeneratedProblem,
    Recipe,
    largest_exponent,
)

_RESIDUALS = (0.0, 1.0, 2.0**-10, 2.0**-30, 64.0)
_STEPS = 3
"""Steps from the ordinary to the extreme exponent."""


def lstsq_problems(
    *,
    min_rows: int = 1,
    max_rows: int = 12,
    max_unknowns: int = 5,
    max_condition: float = 1e8,
    consistent: bool | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    kinds: Sequence[str] = FULL_RANK_KINDS,
) -> st.SearchStrategy[GeneratedProblem]:
    """Problems min_x ‖b − A x‖₂ of many kinds.

    Args:
        min_rows: the least m.
        max_rows: the largest m, at least 1; there are never more unknowns than rows.
        max_unknowns: the largest n.
        max_condition: the largest κ of A as it stands, at least 1; in a dtype that cannot tell so large a κ from a
            dependence, the largest that it can. Rank-deficient kinds are exempt.
        consistent: True for b in the range of A to rounding, False for a residual wherever m > n, None for both.
        dtypes: of A and b.
        kinds: some of `KINDS`; those of full rank unless asked otherwise.

    Returns:
        A strategy for `GeneratedProblem`, one problem (m, n) each, on the CPU.

    Raises:
        ValueError: if an option is out of range.

    Error:
        κ is measured to a relative u κ.

    Cost:
        About a millisecond an example.
    """
    require_count("max_unknowns", max_unknowns, least=1)
    require_count("min_rows", min_rows, least=1)
    require_count("max_rows", max_rows, least=min_rows)
    if not max_condition >= 1:
        raise ValueError(f"max_condition: got {max_condition}, wants at least 1")
    if not kinds or not dtypes:
        raise ValueError("kinds, dtypes: got none, want at least one of each")
    for kind in kinds:
        require_choice("kinds", kind, KINDS)
    for dtype in dtypes:
        require_choice("dtypes", dtype, DTYPES)
    ordered = [kind for kind in KINDS if kind in kinds]
    residuals = {None: _RESIDUALS, True: _RESIDUALS[:1], False: _RESIDUALS[1:]}[consistent]
    return (
        recipes(
            shapes=_shapes(min_rows, max_rows, max_unknowns),
            max_condition=max_condition,
            residuals=residuals,
            dtypes=[name for name, dtype in DTYPE_NAMES.items() if dtype in dtypes][::-1],
            kinds=ordered,
        )
        .map(_made)
        .filter(lambda problem: _within(problem, max_condition))
    )


def distinguishable(m: int, n: int, dtype: torch.dtype) -> float:
    """The largest κ for which a backward stable answer still means something.

    Args:
        m: rows.
        n: unknowns.
        dtype: of the problem.

    Returns:
        1/(c(m, n) u).
    """
    return 1 / (constant(m, n) * torch.finfo(dtype).eps / 2)


def _within(problem: GeneratedProblem, max_condition: float) -> bool:
    if problem.kind in DEFICIENT_KINDS:
        return True
    m, n = problem.A.shape
    # κ is prescribed before rounding, and 1e8 is meant to include 1e8.
    slack = 1 + constant(m, n) * torch.finfo(problem.A.dtype).eps * max_condition
    return float(problem.condition) <= min(max_condition * slack, distinguishable(m, n, problem.A.dtype))


def _made(recipe: Recipe) -> GeneratedProblem:
    return recipe.problem()


@st.composite
def _shapes(draw: st.DrawFn, min_rows: int, max_rows: int, max_unknowns: int) -> tuple[int, int]:
    n = draw(st.integers(1, min(max_unknowns, max_rows)))
    least = max(n, min_rows)
    extra = draw(st.integers(0, max_rows - least))
    # One in three has no more rows than it must: square problems are where solvers branch.
    return least + extra * min(1, draw(st.integers(0, 2))), n


@st.composite
def recipes(
    draw: st.DrawFn,
    *,
    shapes: st.SearchStrategy[tuple[int, int]],
    max_condition: float,
    residuals: Sequence[float],
    dtypes: Sequence[str],
    kinds: Sequence[str],
) -> Recipe:
    """Recipes, by small numbers.

    Args:
        draw: Hypothesis's.
        shapes: of (m, n).
        max_condition: the largest κ.
        residuals: choices, simplest first.
        dtypes: names, simplest first.
        kinds: choices, simplest first.

    Returns:
        A recipe; the measured κ of a graded one may exceed max_condition.
    """
    kind = draw(st.sampled_from(kinds))
    m, n = draw(shapes)
    dtype = draw(st.sampled_from(dtypes))
    if kind == "integers":
        return Recipe(kind=kind, m=m, n=n, entries=tuple(draw(_entries(m, n))), dtype=dtype)
    if kind in DEFICIENT_KINDS:
        scale = draw(st.integers(-2, 2)) * 10
        return Recipe(kind=kind, m=m, n=n, matrix_exponent=scale, seed=draw(st.integers(0, 255)), dtype=dtype)
    if kind == "lauchli":
        assume(m > n)
    limit = min(max_condition, distinguishable(m, n, DTYPE_NAMES[dtype]))
    bits = int(math.log2(limit))
    # The binary orders of magnitude of κ, some of them by the spectrum and the others by grading.
    span = draw(st.integers(0, bits))
    grade = draw(st.integers(0, span)) if kind.endswith("graded") else 0
    condition = 2.0 ** (span - grade) if kind not in {"powers-of-two", "hilbert", "lauchli"} else 1.0
    if kind == "lauchli":
        grade = max(0, min(span, bits - math.ceil(math.log2(n) / 2)))
    elif kind == "powers-of-two":
        grade = min(span, 8)
    elif grade:
        grade = math.ceil(grade / max(1, n - 1))
    exponents = draw(_exponents(dtype)) if kind == "extreme" else (0, 0)
    # Drawn whether it is used or not: were square problems drawn by fewer numbers, they would pass for simpler.
    residual = draw(st.sampled_from(residuals))
    return Recipe(
        kind=kind,
        m=m,
        n=n,
        condition=condition if n > 1 else 1.0,
        residual=residual if m > n else 0.0,
        grade=grade,
        matrix_exponent=exponents[0],
        right_exponent=exponents[1],
        seed=draw(st.integers(0, 255)) if kind not in {"hilbert", "lauchli"} else 0,
        dtype=dtype,
    )


@st.composite
def _entries(draw: st.DrawFn, m: int, n: int) -> list[int]:
    """The entries of [A b] by rows: A lower trapezoidal with ones on its diagonal, which is always of full rank.

    Args:
        draw: Hypothesis's.
        m: rows.
        n: columns of A.

    Returns:
        m (n + 1) integers.
    """
    small = st.integers(-3, 3)
    rows = []
    for i in range(m):
        row = [draw(small) if j < i else int(i == j) for j in range(n)]
        rows += [*row, draw(small)]
    return rows


@st.composite
def _exponents(draw: st.DrawFn, dtype: str) -> tuple[int, int]:
    """The exponents of A and b, whose difference, that of x, stays within range.

    Args:
        draw: Hypothesis's.
        dtype: its name.

    Returns:
        Two integers.
    """
    step = largest_exponent(DTYPE_NAMES[dtype]) // _STEPS
    matrix = draw(st.integers(-_STEPS, _STEPS))
    right = draw(st.integers(max(-_STEPS, matrix - _STEPS), min(_STEPS, matrix + _STEPS)))
    return matrix * step, right * step
