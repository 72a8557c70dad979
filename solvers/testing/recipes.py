"""Least-squares problems as recipes: a few small numbers from which A and b are made again, to the bit.

A problem that broke a solver is only useful if it can be had again, and read. A `Recipe` is a kind, a shape and small
numbers; its `repr` is the line of code that makes the problem. Everything else is known of the problem as it stands in
memory (not as it was prescribed): its solution, its condition number, and whether its columns are dependent, exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import torch

from solvers._core.arrays import DTYPES, require_choice, require_count
from solvers._core.scaling import ldexp
from solvers.problems import LstsqProblem, lauchli, random_problem
from solvers.testing.exact import Known, known

DTYPE_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}

Made = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GeneratedProblem(LstsqProblem):
    """One problem with the recipe it was made by.

    `x`, `condition`, `singular_values` and `residual_norm` belong to A and b as they stand; where `rank_deficient`, the
    condition is inf and x is one minimiser of many.

    Args:
        recipe: makes this problem again.
        known: the exact solution, and what its error is measured by.
        rank_deficient: whether the columns of A are linearly dependent; decided without rounding.
    """

    recipe: "Recipe"
    known: Known = field(repr=False)
    rank_deficient: bool = False

    @property
    def kind(self) -> str:
        """The kind of problem, one of `KINDS`."""
        return self.recipe.kind

    @property
    def code(self) -> str:
        """The expression that makes this problem again."""
        return f"{self.recipe!r}.problem()"

    @property
    def line(self) -> str:
        """The problem in words."""
        m, n = self.A.shape
        rank = "dependent columns" if self.rank_deficient else f"κ = {float(self.condition):.3g}"
        if not self.rank_deficient and self.known.ratio * float(self.condition) > 2:
            rank += f", {1 / self.known.ratio:.3g} with columns of one size"
        return f"{self.kind}, {m}×{n} {self.recipe.dtype}, {rank}, ‖r‖ = {float(self.residual_norm):.3g}"

    def __repr__(self) -> str:
        return f"{self.line}: {self.code}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("GeneratedProblem(...)" if cycle else repr(self))  # as Hypothesis and IPython ask for it


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """What makes a problem.

    Args:
        kind: one of `KINDS`.
        m: rows; at least n but for the kind "spectrum".
        n: unknowns.
        condition: prescribed κ, before grading; of "spectrum", "kahan", "recurrence" and what is made of them.
        residual: ‖r‖ relative to ‖A‖ and x of size 1; only where m > n.
        grade: binary orders of magnitude that entries, rows or columns span; of "integers" their bits.
        columns: column j is multiplied by two to the power of −columns, 0 or columns, for j = 2, 0, 1 modulo 3.
        matrix_exponent: A is multiplied by two to this power.
        right_exponent: b likewise.
        seed: of all that is random; with 0 triangular kinds are plainly triangular.
        dtype: "float64" or "float32".
    """

    kind: str
    m: int
    n: int
    condition: float = 1.0
    residual: float = 0.0
    grade: int = 0
    columns: int = 0
    matrix_exponent: int = 0
    right_exponent: int = 0
    seed: int = 0
    dtype: str = "float64"

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, KINDS)
        require_choice("dtype", self.dtype, list(DTYPE_NAMES))
        require_count("n", self.n, least=1)
        require_count("m", self.m, least=1 if self.kind == "spectrum" else self.n)

    def __repr__(self) -> str:
        # Only what differs from the defaults, so that the line is short.
        said = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in said)})"

    def problem(self) -> GeneratedProblem:
        """The problem.

        Returns:
            A (m, n) and b (m,), on the CPU, of memory of their own, with what is known of them.

        Cost:
            The exact solution: 0.1 ms for 12×5, 15 ms for 64×24, several times that where exponents span hundreds.
        """
        made = _made(self)
        return replace(made, A=made.A.clone(), b=made.b.clone(), x=made.x.clone())


@lru_cache(maxsize=4096)
def _made(recipe: Recipe) -> GeneratedProblem:
    generator = torch.Generator().manual_seed(recipe.seed)
    made = _MAKERS[recipe.kind](recipe, generator)
    A, b = made if isinstance(made, tuple) else (made, _right(made, recipe, generator))
    dtype = DTYPE_NAMES[recipe.dtype]
    # Rounded first and scaled then: the scaled problem has the bits of the plain one, unless it is subnormal.
    spread = recipe.columns * torch.tensor([0, 1, -1]).repeat(recipe.n)[: recipe.n]
    A = ldexp(A.to(dtype), recipe.matrix_exponent + spread)
    b = ldexp(b.to(dtype), torch.tensor(recipe.right_exponent))
    facts = known(A, b)
    view = facts.standing
    return GeneratedProblem(
        A=A,
        b=b,
        x=torch.from_numpy(facts.x).to(dtype),
        singular_values=torch.from_numpy(facts.singular_values),
        condition=torch.tensor(view.spread if view else float("inf"), dtype=torch.float64),
        residual_norm=torch.tensor(facts.residual_norm, dtype=torch.float64),
        recipe=recipe,
        known=facts,
        rank_deficient=view is None,
    )


def _right(A: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """A right-hand side A x + r: x random of size 1, or, for every third seed where b may be anything, b is."""
    noise = torch.randn(recipe.m, dtype=torch.float64, generator=generator)
    if recipe.seed % 3 == 2 and (recipe.residual or recipe.m == recipe.n):
        return noise
    b = A @ torch.randn(recipe.n, dtype=torch.float64, generator=generator)
    size = float(torch.linalg.matrix_norm(A)) / math.sqrt(recipe.m * recipe.n)
    return b + recipe.residual * size * noise


def _spectrum(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    m, n = recipe.m, recipe.n
    residual = recipe.residual if m > n else 0.0
    problem = random_problem(max(m, n), min(m, n), condition=recipe.condition, residual=residual, generator=generator)
    if m >= n:
        return problem.A, problem.b
    A = problem.A.mT.contiguous()
    return A, A @ torch.randn(n, dtype=torch.float64, generator=generator)


def _integers(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    if recipe.grade:
        A = ldexp(_spectrum(recipe, generator)[0], torch.tensor(recipe.grade)).round()
        noise = torch.randn(recipe.m, dtype=torch.float64, generator=generator) * recipe.residual
        x = torch.randint(-3, 4, (recipe.n,), generator=generator).double()
        return A, A @ x + ldexp(noise, torch.tensor(recipe.grade)).round()
    below = torch.randint(-3, 4, (recipe.m, recipe.n), generator=generator).tril(-1)
    # Few below each diagonal entry: the more there are, the nearer to dependent are the columns.
    keep = torch.rand(recipe.m, recipe.n, generator=generator) < 2.0 / recipe.n
    A = (torch.where(keep, below, 0) + torch.eye(recipe.m, recipe.n, dtype=torch.int64)).double()
    x, noise = (torch.randint(-3, 4, (k,), generator=generator).double() for k in (recipe.n, recipe.m))
    return A, A @ x + (noise if recipe.residual else 0.0)


def _graded(count: int, recipe: Recipe) -> torch.Tensor:
    return -torch.linspace(0, recipe.grade, count).round().to(torch.int64)


def _row_graded(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe, generator)
    grades = _graded(recipe.m, recipe)
    # Large rows first, last or anywhere: for many methods it makes the difference.
    order = (lambda v: v, lambda v: v.flip(0), lambda v: v[torch.randperm(recipe.m, generator=generator)])
    grades = order[recipe.seed % 3](grades)
    return ldexp(A, grades[:, None]), ldexp(b, grades)


def _column_graded(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe, generator)
    grades = _graded(recipe.n, recipe)
    return ldexp(A, grades.flip(0) if recipe.seed % 2 else grades), b


def _powers_of_two(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    exponents = torch.randint(-min(recipe.grade, 8), 1, (recipe.m, recipe.n), generator=generator)
    signs = 1.0 - 2.0 * torch.randint(0, 2, (recipe.m, recipe.n), generator=generator)
    return ldexp(signs.double(), exponents)


def _sparse(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Few entries, of exponents far apart; trapezoidal, so that the rank is full, with the rows in any order."""
    m, n, g = recipe.m, recipe.n, recipe.grade
    A = torch.randn(m, n, dtype=torch.float64, generator=generator).tril()
    A = torch.where(torch.rand(m, n, generator=generator) < 2.0 / n, A, 0.0) + torch.eye(m, n, dtype=torch.float64)
    spread = torch.randint(-g, 1, (m, n), generator=generator)
    A = ldexp(A, torch.where(torch.eye(m, n, dtype=torch.bool), spread // 2, spread))
    b = A @ torch.randn(n, dtype=torch.float64, generator=generator)
    if recipe.residual:
        noise = torch.randn(m, dtype=torch.float64, generator=generator)
        b = ldexp(noise, torch.randint(-g, 1, (m,), generator=generator))
    order = torch.randperm(m, generator=generator) if recipe.seed else torch.arange(m)
    return A[order], b[order]


def _duplicated_rows(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    A, b = _spectrum(recipe, generator)
    rows = torch.arange(recipe.m) % max(recipe.n, (recipe.m + 1) // 2)
    return A[rows], b[rows]


def _hilbert(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    del generator
    return 1.0 / (torch.arange(recipe.m).double()[:, None] + torch.arange(1, recipe.n + 1).double())


def _vandermonde(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """Polynomials in equidistant points of [−1, 1], or for odd seeds in whole numbers, as in Wampler's data."""
    del generator
    points = torch.linspace(-1, 1, recipe.m, dtype=torch.float64)
    if recipe.seed % 2 and recipe.m ** (recipe.n - 1) < 2**53:
        points = torch.arange(recipe.m).double()
    return points[:, None] ** torch.arange(recipe.n)


def _lauchli(recipe: Recipe, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    del generator
    problem = lauchli(recipe.n, epsilon=2.0**-recipe.grade)
    extra = max(recipe.m - recipe.n - 1, 0)
    A = torch.cat([problem.A, problem.A.new_zeros(extra, recipe.n)])[: recipe.m]
    return A, torch.cat([problem.b, problem.b.new_full((extra,), recipe.residual)])[: recipe.m]


def _growth(recipe: Recipe) -> float:
    """What one of n − 1 steps has to contribute for their product to be the prescribed κ."""
    return math.exp(math.log(recipe.condition) / max(1, recipe.n - 1))


def _kahan(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """diag(1, s, s², …) times a unit triangle with −c above the diagonal: no pivot of it is small."""
    t = _growth(recipe) ** 2
    c = (t - 1) / (t + 1)
    triangle = torch.eye(recipe.n, dtype=torch.float64) - c * torch.ones(recipe.n, recipe.n).double().triu(1)
    # A little less than the usual s keeps the order of a pivoting method.
    scales = (math.sqrt(1 - c * c) * (1 - 2.0**-40)) ** torch.arange(recipe.n).double()
    return _mixed(scales[:, None] * triangle, recipe, generator)


def _wilkinson(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """I − triu(1, 1), whose smallest singular value is below 2^(2−n), and whose pivots are all 1."""
    n = recipe.n
    return _mixed(torch.eye(n, dtype=torch.float64) - torch.ones(n, n).double().triu(1), recipe, generator)


def _recurrence(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """x_i − β x_(i−1) = b_i: bidiagonal, with an inverse that grows like β^n."""
    n = recipe.n
    below = torch.diag(torch.full((n - 1,), _growth(recipe), dtype=torch.float64), -1)
    return _mixed(torch.eye(n, dtype=torch.float64) - below, recipe, generator)


def _mixed(R: torch.Tensor, recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """R (n, n) above zeros, (m, n), its rows in any order and mixed by fours, orthogonally: exact for whole numbers."""
    A = torch.cat([R, R.new_zeros(recipe.m - recipe.n, recipe.n)])
    if not recipe.seed:
        return A
    A = A[torch.randperm(recipe.m, generator=generator)]
    fours = recipe.m // 4 * 4
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    A[:fours] = (0.5 * signs @ A[:fours].reshape(-1, 4, recipe.n)).reshape(fours, recipe.n)
    return A


def _zero_column(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    A = _integers(recipe, generator)[0]
    A[:, recipe.seed % recipe.n] = 0.0
    return A


def _duplicated_column(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    A = _integers(recipe, generator)[0]
    A[:, -1] = A[:, 0] if recipe.n > 1 else 0.0
    return A


def _dependent_columns(recipe: Recipe, generator: torch.Generator) -> torch.Tensor:
    """One column becomes a combination of the others, in whole numbers and so exactly."""
    A = _integers(recipe, generator)[0]
    A[:, -1] = A[:, :-1] @ torch.randint(-2, 3, (recipe.n - 1,), generator=generator).double()
    return A


_MAKERS: dict[str, Callable[[Recipe, torch.Generator], Made]] = {
    "integers": _integers,
    "spectrum": _spectrum,
    "row-graded": _row_graded,
    "column-graded": _column_graded,
    "powers-of-two": _powers_of_two,
    "duplicated-rows": _duplicated_rows,
    "sparse": _sparse,
    "recurrence": _recurrence,
    "kahan": _kahan,
    "wilkinson": _wilkinson,
    "hilbert": _hilbert,
    "vandermonde": _vandermonde,
    "lauchli": _lauchli,
    "zero-column": _zero_column,
    "duplicated-column": _duplicated_column,
    "dependent-columns": _dependent_columns,
}

DEFICIENT_KINDS = ("zero-column", "duplicated-column", "dependent-columns")
"""Kinds whose columns are exactly dependent."""

KINDS = tuple(_MAKERS)
"""All kinds, simplest first."""

FULL_RANK_KINDS = tuple(kind for kind in KINDS if kind not in DEFICIENT_KINDS)
"""Kinds whose columns are independent; to working precision some only while κ is below 1/(max(m, n) eps)."""
