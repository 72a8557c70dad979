"""Least-squares problems as recipes: a few small numbers from which A and b are made again, to the bit.

A problem that broke a solver is only useful if it can be had again, and read. A `Recipe` is a kind, a shape and small
numbers; its `repr` is the line of code that makes the problem. Everything else is known of the problem as it stands in
memory (not as it was prescribed): its solution, its condition number, and whether its columns are dependent, exactly.
"""

import math
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import torch

from solvers._core.arrays import DTYPES, require_choice, require_count
from solvers._core.scaling import ldexp
from solvers.problems import LstsqProblem, lauchli, random_problem
from solvers.testing.exact import Known, known

DTYPE_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}

Pair = tuple[torch.Tensor, torch.Tensor]


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
        """The problem: A (m, n) and b (m,), on the CPU, of memory of their own, with what is known of them."""
        made = _made(self)
        return replace(made, A=made.A.clone(), b=made.b.clone(), x=made.x.clone())


@lru_cache(maxsize=4096)
def _made(recipe: Recipe) -> GeneratedProblem:
    makes = _Makes(recipe)
    made = getattr(makes, recipe.kind.replace("-", "_"))()
    A, b = made if isinstance(made, tuple) else (made, makes.right(made))
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


class _Makes:
    """A method for each kind: A, to which `right` gives a right-hand side, or both."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.m, self.n, self.grade = recipe, recipe.m, recipe.n, recipe.grade
        self.generator = torch.Generator().manual_seed(recipe.seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=self.generator)

    def whole(self, low: int, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=self.generator).double()

    def right(self, A: torch.Tensor) -> torch.Tensor:
        """A x + r with x random of size 1; or, for every third seed where b may be anything, b is."""
        noise = self.normal(self.m)
        if self.recipe.seed % 3 == 2 and (self.recipe.residual or self.m == self.n):
            return noise
        size = float(torch.linalg.matrix_norm(A)) / math.sqrt(self.m * self.n)
        return A @ self.normal(self.n) + self.recipe.residual * size * noise

    def spectrum(self) -> Pair:
        m, n = self.m, self.n
        condition, residual = self.recipe.condition, self.recipe.residual if m > n else 0.0
        shape = max(m, n), min(m, n)
        problem = random_problem(*shape, condition=condition, residual=residual, generator=self.generator)
        if m >= n:
            return problem.A, problem.b
        A = problem.A.mT.contiguous()
        return A, A @ self.normal(n)

    def integers(self) -> Pair:
        grade = torch.tensor(self.grade)
        if self.grade:
            A = ldexp(self.spectrum()[0], grade).round()
        else:
            # Few below each diagonal entry: the more there are, the nearer to dependent are the columns.
            keep = torch.rand(self.m, self.n, generator=self.generator) < 2.0 / self.n
            below = self.whole(-3, 4, self.m, self.n).tril(-1)
            A = torch.where(keep, below, 0.0) + torch.eye(self.m, self.n, dtype=torch.float64)
        noise = ldexp(self.recipe.residual * self.normal(self.m), grade).round()
        return A, A @ self.whole(-3, 4, self.n) + noise

    def grades(self, count: int) -> torch.Tensor:
        return -torch.linspace(0, self.grade, count).round().to(torch.int64)

    def row_graded(self) -> Pair:
        (A, b), grades = self.spectrum(), self.grades(self.m)
        # Large rows first, last or anywhere: for many methods it makes the difference.
        places = torch.randperm(self.m, generator=self.generator)
        grades = (grades, grades.flip(0), grades[places])[self.recipe.seed % 3]
        return ldexp(A, grades[:, None]), ldexp(b, grades)

    def column_graded(self) -> Pair:
        (A, b), grades = self.spectrum(), self.grades(self.n)
        return ldexp(A, grades.flip(0) if self.recipe.seed % 2 else grades), b

    def powers_of_two(self) -> torch.Tensor:
        exponents = self.whole(-min(self.grade, 8), 1, self.m, self.n).to(torch.int64)
        return ldexp(1.0 - 2.0 * self.whole(0, 2, self.m, self.n), exponents)

    def duplicated_rows(self) -> Pair:
        A, b = self.spectrum()
        rows = torch.arange(self.m) % max(self.n, (self.m + 1) // 2)
        return A[rows], b[rows]

    def sparse(self) -> Pair:
        """Few entries, of exponents far apart; trapezoidal, so that the rank is full, with the rows in any order."""
        eye, A = torch.eye(self.m, self.n, dtype=torch.bool), self.normal(self.m, self.n).tril()
        A = torch.where(torch.rand(self.m, self.n, generator=self.generator) < 2.0 / self.n, A, 0.0) + eye.double()
        spread = self.whole(-self.grade, 1, self.m, self.n).to(torch.int64)
        A = ldexp(A, torch.where(eye, spread // 2, spread))
        b = A @ self.normal(self.n)
        if self.recipe.residual:
            b = ldexp(self.normal(self.m), self.whole(-self.grade, 1, self.m).to(torch.int64))
        order = torch.randperm(self.m, generator=self.generator) if self.recipe.seed else torch.arange(self.m)
        return A[order], b[order]

    def growth(self) -> float:
        """What one of n − 1 steps has to contribute for their product to be the prescribed κ."""
        return math.exp(math.log(self.recipe.condition) / max(1, self.n - 1))

    def recurrence(self) -> torch.Tensor:
        """x_i − β x_(i−1) = b_i: bidiagonal, with an inverse that grows like β^n."""
        below = torch.diag(torch.full((self.n - 1,), self.growth(), dtype=torch.float64), -1)
        return self.mixed(torch.eye(self.n, dtype=torch.float64) - below)

    def kahan(self) -> torch.Tensor:
        """diag(1, s, s², …) times a unit triangle with −c above the diagonal: no pivot of it is small."""
        t = self.growth() ** 2
        c = (t - 1) / (t + 1)
        # A little less than the usual s keeps the order of a pivoting method.
        scales = (math.sqrt(1 - c * c) * (1 - 2.0**-40)) ** torch.arange(self.n).double()
        return self.mixed(scales[:, None] * self.triangle(c))

    def wilkinson(self) -> torch.Tensor:
        """I − triu(1, 1), whose smallest singular value is below 2^(2−n), and whose pivots are all 1."""
        return self.mixed(self.triangle(1.0))

    def triangle(self, c: float) -> torch.Tensor:
        return torch.eye(self.n, dtype=torch.float64) - c * torch.ones(self.n, self.n).double().triu(1)

    def mixed(self, R: torch.Tensor) -> torch.Tensor:
        """R above zeros, (m, n), its rows in any order and mixed by fours, orthogonally: exact for whole numbers."""
        A, fours = torch.cat([R, R.new_zeros(self.m - self.n, self.n)]), self.m // 4 * 4
        if not self.recipe.seed:
            return A
        A = A[torch.randperm(self.m, generator=self.generator)]
        signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64)
        A[:fours] = (0.5 * signs @ A[:fours].reshape(-1, 4, self.n)).reshape(fours, self.n)
        return A

    def hilbert(self) -> torch.Tensor:
        return 1.0 / (torch.arange(self.m).double()[:, None] + torch.arange(1, self.n + 1).double())

    def vandermonde(self) -> torch.Tensor:
        """Polynomials in equidistant points of [−1, 1], or for odd seeds in whole numbers, as in Wampler's data."""
        points = torch.linspace(-1, 1, self.m, dtype=torch.float64)
        if self.recipe.seed % 2 and self.m ** (self.n - 1) < 2**53:
            points = torch.arange(self.m).double()
        return points[:, None] ** torch.arange(self.n)

    def lauchli(self) -> Pair:
        problem, extra = lauchli(self.n, epsilon=2.0**-self.grade), max(self.m - self.n - 1, 0)
        A = torch.cat([problem.A, problem.A.new_zeros(extra, self.n)])[: self.m]
        return A, torch.cat([problem.b, problem.b.new_full((extra,), self.recipe.residual)])[: self.m]

    def zero_column(self) -> torch.Tensor:
        A = self.integers()[0]
        A[:, self.recipe.seed % self.n] = 0.0
        return A

    def duplicated_column(self) -> torch.Tensor:
        A = self.integers()[0]
        A[:, -1] = A[:, 0] if self.n > 1 else 0.0
        return A

    def dependent_columns(self) -> torch.Tensor:
        """One column becomes a combination of the others, in whole numbers and so exactly."""
        A = self.integers()[0]
        A[:, -1] = A[:, :-1] @ self.whole(-2, 3, self.n - 1)
        return A


FULL_RANK_KINDS = (
    *("integers", "spectrum", "row-graded", "column-graded", "powers-of-two", "duplicated-rows", "sparse"),
    *("recurrence", "kahan", "wilkinson", "hilbert", "vandermonde", "lauchli"),
)
"""Kinds whose columns are independent, simplest first; to working precision some only while κ is not too large."""

DEFICIENT_KINDS = ("zero-column", "duplicated-column", "dependent-columns")
"""Kinds whose columns are exactly dependent."""

KINDS = (*FULL_RANK_KINDS, *DEFICIENT_KINDS)
"""All kinds."""
