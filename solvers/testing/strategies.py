"""How problems are drawn: by regions of (m, n), so that each is reached, and in a recipe's small numbers.

One function draws, from whatever answers "a whole number below k": Hypothesis for `lstsq_problems`, and a seeded
generator for the battery, which goes through the regions in turn. Both shrink towards one unknown, few rows, κ = 1, no
residual and whole numbers, so that a counterexample fits on a line.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from solvers._core.arrays import DTYPES, require_choice, require_count
from solvers.testing.accuracy import view
from solvers.testing.recipes import DEFICIENT_KINDS, DTYPE_NAMES, FULL_RANK_KINDS, KINDS, GeneratedProblem, Recipe

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Pick = Callable[[int], int]
"""Of k: a whole number from 0 to below k, simplest first."""

_RESIDUALS = (0.0, 1.0, 2.0**-10, 2.0**-30, 64.0)
_INTEGER_BITS = (0, 20, 33, 50)
_BITS = {"wilkinson": 1.1, "vandermonde": 1.4, "hilbert": 5.1}
"""Of kinds whose κ follows from n: by how many bits it grows from n to n + 1, about."""

_ATTEMPTS = 40


class Region(NamedTuple):
    """A part of the plane of shapes: m = rows[0] + rows[1] n to rows[2] + rows[3] n."""

    least: int
    most: int
    rows: tuple[int, int, int, int]


_UNKNOWNS = ((1, 1), (2, 5), (6, 12), (13, 24))
_ROWS = ((0, 1, 0, 1), (1, 1, 3, 1), (4, 1, 0, 3), (1, 3, 64, 0))


def regions(max_rows: int, max_unknowns: int, min_rows: int = 1) -> tuple[Region, ...]:
    """The regions of (m, n) that hold a shape: n = 1, to 5, to 12, beyond; m = n, to n + 3, to 3n, beyond."""
    found = []
    for least, most in (*_UNKNOWNS, (_UNKNOWNS[-1][1] + 1, max_unknowns)):
        for rows in _ROWS:
            stretched = (1, 3, max_rows, 0) if rows == _ROWS[-1] else rows
            sizes = [n for n in range(least, min(most, max_unknowns) + 1) if _span(stretched, n, min_rows, max_rows)]
            if sizes:
                found.append(Region(sizes[0], sizes[-1], stretched))
    return tuple(found)


def _span(rows: tuple[int, int, int, int], n: int, min_rows: int, max_rows: int) -> range:
    return range(max(rows[0] + rows[1] * n, min_rows), min(rows[2] + rows[3] * n, max_rows) + 1)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What is drawn from.

    Args:
        max_condition: the largest κ, as the solver's documented error measures it.
        kinds: some of `KINDS`, simplest first.
        residuals: choices, simplest first.
        dtypes: names, simplest first.
        min_rows: the least m.
        max_rows: the largest m.
        max_unknowns: the largest n.
        columns: the largest exponent by which columns differ, of float32; six times that of float64.
        scales: whether A and b are scaled by powers of two of any size that x = b/A allows.
        steep: whether κ is the largest and n at least 2, so that no method is done in one step.
        full: whether only problems of full rank to working precision are wanted.
        solver: whose documented error measures κ; None for A as it stands.
    """

    max_condition: float
    kinds: Sequence[str] = FULL_RANK_KINDS
    residuals: Sequence[float] = _RESIDUALS
    dtypes: Sequence[str] = ("float64", "float32")
    min_rows: int = 1
    max_rows: int = 64
    max_unknowns: int = 24
    columns: int = 0
    scales: bool = False
    steep: bool = False
    full: bool = False
    solver: object = None

    @property
    def regions(self) -> tuple[Region, ...]:
        """The regions of (m, n) that are drawn from."""
        found = regions(self.max_rows, self.max_unknowns, self.min_rows)
        return tuple(region for region in found if region.most > self.steep)

    def allowed(self, *shapes: tuple[int, int]) -> list[tuple[int, int]]:
        """Those shapes (m, n) that a check with its own problems may have: all, unless less than usual is asked for."""
        rows, unknowns = Draw.max_rows, Draw.max_unknowns
        return [
            (m, n)
            for m, n in shapes
            if (m <= self.max_rows or self.max_rows >= rows)
            and (n <= self.max_unknowns or self.max_unknowns >= unknowns)
        ]

    def admits(self, problem: GeneratedProblem) -> bool:
        """Whether a problem is one of those wanted."""
        if problem.kind in DEFICIENT_KINDS:
            return True
        if problem.rank_deficient or not bool(torch.isfinite(problem.x).all()):
            return False
        rank = problem.known.rank(problem.A.dtype)
        # κ is prescribed before rounding, and 1e8 is meant to include 1e8.
        slack = 1 + max(problem.A.shape) * torch.finfo(problem.A.dtype).eps * self.max_condition
        spread = view(self.solver, problem).spread
        steep = not self.steep or 2 * spread > self.max_condition
        return steep and spread <= self.max_condition * slack and (rank == "full" or not self.full)

    def recipe(self, pick: Pick, region: Region) -> Recipe:
        """One recipe; what it makes may not be admitted."""

        def among(low: int, high: int) -> int:
            return low + pick(max(high - low, 0) + 1)

        kind = self.kinds[pick(len(self.kinds))]
        sizes = [n for n in range(region.least, region.most + 1) if n > self.steep and self._rows(region, n)]
        n = sizes[pick(len(sizes))]
        m = (rows := self._rows(region, n))[pick(len(rows))]
        dtype = self.dtypes[pick(len(self.dtypes))]
        # The binary orders of magnitude of κ, some of them by the spectrum and the others by grading.
        bits = math.log2(min(self.max_condition, 2.0 / torch.finfo(DTYPE_NAMES[dtype]).eps))
        span = int(bits) if self.steep else among(0, int(bits))
        grade = among(0, span) if kind.endswith("graded") else 0
        condition = 2.0 ** (span - grade) if n > 1 else 1.0
        if kind == "integers":
            grade = _INTEGER_BITS[pick(len(_INTEGER_BITS))]
        elif kind in {"lauchli", "sparse", "powers-of-two"}:
            grade = span
        residual = self.residuals[pick(len(self.residuals))]
        if _BITS.get(kind, 0.0) * n > bits or (kind == "lauchli" and m == n):
            kind, grade = "spectrum", 0
        far = (900 if dtype == "float64" else 90) if self.scales else 0
        if kind in {"integers", "vandermonde"}:  # whose entries are large already
            far //= 2
        matrix = among(-far, far)
        return Recipe(
            kind=kind,
            m=m,
            n=n,
            condition=condition,
            residual=residual if m > n else 0.0,
            grade=0 if kind in DEFICIENT_KINDS else grade,
            columns=among(0, self.columns * (6 if dtype == "float64" else 1)),
            matrix_exponent=matrix,
            right_exponent=among(max(-far, matrix - far), min(far, matrix + far)),
            seed=pick(256),
            dtype=dtype,
        )

    def _rows(self, region: Region, n: int) -> range:
        return _span(region.rows, n, self.min_rows, self.max_rows)

    def problem(self, pick: Pick, region: Region) -> GeneratedProblem:
        """One problem, drawn until it is admitted; after many attempts, the plainest one of that shape."""
        for _ in range(_ATTEMPTS):
            recipe = self.recipe(pick, region)
            problem = recipe.problem()
            if self.admits(problem):
                return problem
        return Recipe(kind="spectrum", m=recipe.m, n=recipe.n, seed=recipe.seed, dtype=recipe.dtype).problem()


def simpler(recipe: Recipe) -> Iterator[Recipe]:
    """Recipes with one number closer to its simplest, the boldest first."""
    least = {"n": 1, "m": recipe.n, "condition": 1.0}
    for name in ("n", "m", "condition", "residual", "grade", "columns", "matrix_exponent", "right_exponent", "seed"):
        value, low = getattr(recipe, name), least.get(name, 0)
        middle = math.sqrt(value) if name == "condition" else (value + low) // 2
        for candidate in (low, middle, value - 1) if isinstance(value, int) else (low, middle):
            if abs(candidate) < abs(value) and (candidate >= low or value < 0):
                changed: dict[str, Any] = {name: candidate}
                if name == "n":
                    changed["m"] = recipe.m - recipe.n + candidate
                yield replace(recipe, **changed)
    for kind in ("integers", "spectrum"):
        if recipe.kind not in {kind, "integers", *DEFICIENT_KINDS}:
            yield replace(recipe, kind=kind, grade=0)
    if recipe.dtype != "float64":
        yield replace(recipe, dtype="float64")


def lstsq_problems(
    *,
    min_rows: int = 1,
    max_rows: int = 64,
    max_unknowns: int = 24,
    max_condition: float = 1e8,
    consistent: bool | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    kinds: Sequence[str] = FULL_RANK_KINDS,
) -> "SearchStrategy[GeneratedProblem]":
    """Problems min_x ‖b − A x‖₂ of many kinds; needs Hypothesis, the extra `testing`.

    Args:
        min_rows: the least m.
        max_rows: the largest m, at least 1; there are never more unknowns than rows.
        max_unknowns: the largest n.
        max_condition: the largest κ of A as it stands, at least 1; and κ is at most a hundredth of what the dtype can
            tell from a dependence. Rank-deficient kinds are exempt.
        consistent: True for b in the range of A to rounding, False for a residual wherever m > n, None for both.
        dtypes: of A and b.
        kinds: some of `KINDS`; those of full rank unless asked otherwise.

    Returns:
        A strategy for `GeneratedProblem`, one problem (m, n) each, on the CPU.

    Raises:
        ValueError: if an option is out of range.
        ImportError: if Hypothesis is not installed.

    Cost:
        0.1 ms an example for 12×5, 15 ms for 64×24.
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
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("lstsq_problems needs hypothesis: pip install 'precisionlab[testing]'") from error
    drawn = Draw(
        max_condition=max_condition,
        kinds=[kind for kind in KINDS if kind in kinds],
        residuals={None: _RESIDUALS, True: _RESIDUALS[:1], False: _RESIDUALS[1:]}[consistent],
        dtypes=[name for name, dtype in DTYPE_NAMES.items() if dtype in dtypes][::-1],
        min_rows=min_rows,
        max_rows=max_rows,
        max_unknowns=max_unknowns,
        full=True,
    )

    @st.composite
    def problems(draw: st.DrawFn) -> GeneratedProblem:
        region = draw(st.sampled_from(drawn.regions))
        return drawn.recipe(lambda k: draw(st.integers(0, k - 1)), region).problem()

    return problems().filter(drawn.admits)
