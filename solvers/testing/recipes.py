"""Least-squares problems as recipes: a few small numbers from which A and b are made again, to the bit.

A problem that broke a solver is only useful if it can be had again, and read. A `Recipe` is a kind, a shape and small
integers; its `repr` is the line of code that makes the problem. Everything else is known of the problem made: the
condition number of A as it stands (not as it was prescribed), and whether its columns are dependent, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch

from solvers._core.arrays import DTYPES, require_choice, require_count
from solvers._core.scaling import exponent, ldexp
from solvers.problems import LstsqProblem, hilbert, lauchli, random_problem
from solvers.reference import RankDeficientError, solve_exact

DTYPE_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GeneratedProblem(LstsqProblem):
    """One problem with the recipe it was made by.

    `condition`, `singular_values` and `residual_norm` belong to A and b as they stand; where `rank_deficient`, the
    condition is inf and x is one minimiser of many.

    Args:
        recipe: makes this problem again.
        rank_deficient: whether the columns of A are linearly dependent; decided without rounding.
    """

    recipe: "Recipe"
    rank_deficient: bool = False

    @property
    def kind(self) -> str:
        """The kind of problem, one of `KINDS`."""
        return self.recipe.kind

    @property
    def code(self) -> str:
        """The expression that makes this problem again."""
        return f"{self.recipe!r}.problem()"

    def __repr__(self) -> str:
        m, n = self.A.shape
        dtype = str(self.A.dtype).removeprefix("torch.")
        rank = "rank-deficient" if self.rank_deficient else f"κ = {float(self.condition):.3g}"
        return f"{self.kind}, {m}×{n} {dtype}, {rank}, ‖r‖ = {float(self.residual_norm):.3g}: {self.code}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """What makes a problem.

    Args:
        kind: one of `KINDS`.
        m: rows, at least n.
        n: unknowns.
        condition: prescribed σ₁/σₙ, before grading.
        residual: ‖r‖ relative to ‖A‖, before grading; only where m > n.
        grade: binary orders of magnitude between neighbouring rows or columns; for "lauchli", ε = 2^−grade.
        matrix_exponent: A is multiplied by two to this power.
        right_exponent: b likewise.
        entries: the entries of [A b] by rows, for "integers".
        seed: of all that is random.
        dtype: "float64" or "float32".
    """

    kind: str
    m: int
    n: int
    condition: float = 1.0
    residual: float = 0.0
    grade: int = 0
    matrix_exponent: int = 0
    right_exponent: int = 0
    entries: tuple[int, ...] = ()
    seed: int = 0
    dtype: str = "float64"

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, KINDS)
        require_choice("dtype", self.dtype, list(DTYPE_NAMES))
        require_count("n", self.n, least=1)
        require_count("m", self.m, least=self.n)
        if self.kind == "integers" and len(self.entries) != self.m * (self.n + 1):
            raise ValueError(f"entries: got {len(self.entries)}, wants m (n + 1) = {self.m * (self.n + 1)}")

    def __repr__(self) -> str:
        # Only what differs from the defaults, so that the line is short.
        said = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in said)})"

    def problem(self) -> GeneratedProblem:
        """The problem.

        Returns:
            A (m, n) and b (m,), on the CPU, with what is known of them.

        Cost:
            Under a millisecond for 12×5, most of it the exact decision on rank.
        """
        A, b = _MAKERS[self.kind](self)
        dtype = DTYPE_NAMES[self.dtype]
        # Rounded first and scaled then: the scaled problem has the bits of the plain one.
        A = ldexp(A.to(dtype), torch.tensor(self.matrix_exponent))
        b = ldexp(b.to(dtype), torch.tensor(self.right_exponent))
        return _known(self, A, b)


def _known(recipe: Recipe, A: torch.Tensor, b: torch.Tensor) -> GeneratedProblem:
    """Measure a problem: solution, spectrum, residual and rank.

    Args:
        recipe: its recipe.
        A: matrix, (m, n).
        b: right-hand side, (m,).

    Returns:
        The problem.
    """
    e = exponent(A, (0, 1))
    right = exponent(b, 0)
    scaled, rhs = ldexp(A.double(), -e), ldexp(b.double(), -right)
    s = torch.linalg.svdvals(scaled)
    try:
        x = torch.from_numpy(solve_exact(scaled, rhs)[0])
        deficient = False
    except RankDeficientError:
        x = torch.linalg.pinv(scaled) @ rhs
        deficient = True
    infinite = torch.tensor(float("inf"), dtype=torch.float64)
    return GeneratedProblem(
        A=A,
        b=b,
        x=ldexp(x, right - e).to(A.dtype),
        singular_values=ldexp(s, e),
        condition=infinite if deficient or not s[-1] else s[0] / s[-1],
        residual_norm=ldexp(torch.linalg.vector_norm(rhs - scaled @ x), right),
        recipe=recipe,
        rank_deficient=deficient,
    )


def _generator(recipe: Recipe) -> torch.Generator:
    return torch.Generator().manual_seed(recipe.seed)


def _spectrum(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    residual = recipe.residual if recipe.m > recipe.n else 0.0
    problem = random_problem(
        recipe.m, recipe.n, condition=recipe.condition, residual=residual, generator=_generator(recipe)
    )
    return problem.A, problem.b


def _integers(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    table = torch.tensor(recipe.entries, dtype=torch.float64).reshape(recipe.m, recipe.n + 1)
    return table[:, :-1].contiguous(), table[:, -1].contiguous()


def _row_graded(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe)
    grades = -recipe.grade * torch.arange(recipe.m)
    return ldexp(A, grades[:, None]), ldexp(b, grades)


def _column_graded(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe)
    return ldexp(A, -recipe.grade * torch.arange(recipe.n)), b


def _powers_of_two(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    generator = _generator(recipe)
    m, n = recipe.m, recipe.n
    exponents = torch.randint(-recipe.grade, 1, (m, n), generator=generator)
    signs = 1.0 - 2.0 * torch.randint(0, 2, (m, n), generator=generator)
    A = ldexp(signs.double(), exponents)
    x = torch.randint(-3, 4, (n,), generator=generator).double()
    noise = torch.randint(-3, 4, (m,), generator=generator).double()
    return A, A @ x + recipe.residual * noise


def _duplicated_rows(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe)
    distinct = max(recipe.n, (recipe.m + 1) // 2)
    rows = torch.arange(recipe.m) % distinct
    return A[rows], b[rows]


def _extreme(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    return _spectrum(recipe)


def _hilbert(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    problem = hilbert(recipe.n, m=recipe.m)
    return problem.A, problem.b + recipe.residual * torch.arange(recipe.m).remainder(2)


def _lauchli(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    problem = lauchli(recipe.n, epsilon=2.0**-recipe.grade)
    extra = recipe.m - recipe.n - 1
    A = torch.cat([problem.A, problem.A.new_zeros(max(extra, 0), recipe.n)])[: recipe.m]
    b = torch.cat([problem.b, problem.b.new_full((max(extra, 0),), recipe.residual)])[: recipe.m]
    return A, b


def _small_integers(recipe: Recipe, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """A trapezoidal matrix of small integers, of full rank, and a right-hand side.

    Args:
        recipe: gives m and the seed.
        n: columns.

    Returns:
        A (m, n), b (m,), and the generator for what else is to be drawn.
    """
    generator = _generator(recipe)
    below = torch.randint(-2, 3, (recipe.m, n), generator=generator).tril(-1)
    A = (below + torch.eye(recipe.m, n, dtype=torch.int64)).double()
    return A, torch.randint(-3, 4, (recipe.m,), generator=generator).double(), generator


def _zero_column(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b, generator = _small_integers(recipe, recipe.n)
    A[:, int(torch.randint(0, recipe.n, (), generator=generator))] = 0.0
    return A, b


def _duplicated_column(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b, _ = _small_integers(recipe, recipe.n)
    A[:, -1] = A[:, 0] if recipe.n > 1 else 0.0
    return A, b


def _dependent_columns(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    A, b, generator = _small_integers(recipe, recipe.n)
    # One column becomes a whole-number combination of the others, exactly.
    weights = torch.randint(-2, 3, (recipe.n - 1,), generator=generator).double()
    A[:, -1] = A[:, :-1] @ weights
    return A, b


_MAKERS: dict[str, Callable[[Recipe], tuple[torch.Tensor, torch.Tensor]]] = {
    "integers": _integers,
    "spectrum": _spectrum,
    "row-graded": _row_graded,
    "column-graded": _column_graded,
    "powers-of-two": _powers_of_two,
    "duplicated-rows": _duplicated_rows,
    "hilbert": _hilbert,
    "lauchli": _lauchli,
    "extreme": _extreme,
    "zero-column": _zero_column,
    "duplicated-column": _duplicated_column,
    "dependent-columns": _dependent_columns,
}

DEFICIENT_KINDS = ("zero-column", "duplicated-column", "dependent-columns")
"""Kinds whose columns are exactly dependent."""

KINDS = tuple(_MAKERS)
"""All kinds, simplest first."""

FULL_RANK_KINDS = tuple(kind for kind in KINDS if kind not in DEFICIENT_KINDS)
"""Kinds whose columns are independent."""


def largest_exponent(dtype: torch.dtype) -> int:
    """How far problems of kind "extreme" go towards over- and underflow.

    Args:
        dtype: float32 or float64.

    Returns:
        E with entries of size 2^±E; a quarter of the remaining exponents is left to what the problem itself spans.
    """
    bits = int(np.log2(torch.finfo(dtype).max))
    return 3 * (bits // 4) if dtype == torch.float32 else 15 * (bits // 16)
