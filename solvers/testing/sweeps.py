"""Checks on what is known to be hard, whatever is drawn: κ decade by decade, the ends of the range, many rows, memory.

Problems of one shape are solved as one batch, which makes a sweep cost an iterative method no more than its hardest
problem. An entry that is wrong is solved again alone, so that the finding is about one problem.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from solvers.result import Status
from solvers.solver import ProductSolver, Promise
from solvers.testing.accuracy import promises
from solvers.testing.adapters import claims
from solvers.testing.answers import held, held_accurate, held_status
from solvers.testing.checks import check, claiming, is_iterative
from solvers.testing.findings import Violation, attempt, solved, stacked, status_of
from solvers.testing.recipes import DTYPE_NAMES, Recipe
from solvers.testing.strategies import Draw

_SHAPES = ((8, 4), (5, 5), (10, 2), (24, 12), (16, 16), (64, 24), (24, 24))
_SMALL_SHAPES = tuple((n + extra, n) for n in range(1, 5) for extra in range(3))
_MANY_ROWS = 2500
_LARGE = (400, 150)
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def _spectrum(m: int, n: int, dtype: str, condition: float = 2.0, residual: float = 1.0, **more: Any) -> Recipe:
    condition, residual = condition if n > 1 else 1.0, residual if m > n else 0.0
    return Recipe(kind="spectrum", m=m, n=n, condition=condition, residual=residual, dtype=dtype, **more)


def _unmeasured(solver: Any) -> str:
    if Promise.COMPONENTWISE in promises(solver):
        return "exact arithmetic would take minutes"
    return "" if _CLEAR_REFS.exists() else "memory is looked at on Linux alone"


@check("sweep")
def sweep(solver: Any, draw: Draw) -> Iterator[float]:
    """For κ decade by decade, CONVERGED means within the documented error, and nothing is given up."""
    for dtype in draw.dtypes:
        for m, n in draw.allowed(*_SHAPES):
            bits = -math.log10(100 * max(m, n) * torch.finfo(DTYPE_NAMES[dtype]).eps)
            largest = math.floor(min(math.log10(draw.max_condition), bits))
            spectra = [
                _spectrum(m, n, dtype, 10.0**k, r, seed=seed)
                for k in range(largest + 1)
                for r in ((0.0, 1.0) if m > n else (0.0,))
                for seed in range(2 if n < 10 else 1)
            ]
            # κ of lauchli is √n / ε.
            grades = range(0, int(largest * math.log2(10) - math.log2(n) / 2) + 1, 3) if m > n else ()
            for recipes in (spectra, [Recipe(kind="lauchli", m=m, n=n, grade=g, dtype=dtype) for g in grades]):
                yield from _together(solver, recipes)


@check("shapes")
def shapes(solver: Any, draw: Draw) -> Iterator[float]:
    """Square problems and single unknowns are solved like others."""
    for dtype in draw.dtypes:
        for m, n in draw.allowed(*_SMALL_SHAPES):
            seeds = [_spectrum(m, n, dtype, 1.0, 0.0, seed=seed) for seed in range(6)]
            yield from _together(solver, [_spectrum(m, n, dtype, min(2.0, draw.max_condition)), *seeds])


@check("extreme scales")
def scales(solver: Any, draw: Draw) -> Iterator[float]:
    """Answers and statuses are right near under- and overflow of A and b, and below the normal numbers."""
    condition = min(2.0, draw.max_condition)
    for dtype in draw.dtypes:
        info = torch.finfo(DTYPE_NAMES[dtype])
        top, tiny = round(math.log2(info.max)) - 5, round(math.log2(info.smallest_normal))
        steps = (0, top // 2, -top // 2, top - 100 if top > 200 else top - 20, tiny, top, tiny - info.bits // 4)
        pairs = [(a, b) for a in steps for b in steps if tiny - info.bits // 4 <= b - a <= top]
        for m, n in draw.allowed((4, 2), (20, 6)):
            extremes = [
                _spectrum(m, n, dtype, condition, matrix_exponent=a, right_exponent=b)
                for a, b in sorted(pairs, key=lambda pair: abs(pair[0]) + abs(pair[1]))
            ]
            wanted = [r for r in extremes if r.problem().known.rank(DTYPE_NAMES[dtype]) == "full"]
            yield from _together(solver, wanted)


def _together(solver: Any, recipes: list[Recipe]) -> Iterator[float]:
    """Solve problems as a batch, and hold each to its status and accuracy."""
    problems = [recipe.problem() for recipe in recipes]
    results, call = stacked(solver, problems) if problems and "batch" in claims(solver) else ([], "")
    for i, problem in enumerate(problems):
        entry = results[i] if results else solved(solver, problem)
        try:
            measured = held(solver, problem, entry, f"entry {i} of: {call}" if results else "")
        except Violation:
            if results:
                held(solver, problem, solved(solver, problem))
            raise  # right alone: the finding is about the entry of the batch
        yield measured


@check("tall")
def tall(solver: Any, draw: Draw) -> Iterator[float]:
    """Thousands of rows are solved like others."""
    for dtype in draw.dtypes:
        for m, n in draw.allowed((_MANY_ROWS, 1), (_MANY_ROWS, 5)):
            recipe = _spectrum(m, n, dtype, min(4.0, draw.max_condition), seed=n)
            for changed in (recipe, replace(recipe, residual=0.0, kind="spectrum" if n == 1 else "duplicated-rows")):
                yield held(solver, problem := changed.problem(), solved(solver, problem))


@check("hidden rank", skip=claiming("rank"))
def hidden_rank(solver: Any, draw: Draw) -> Iterator[float]:
    """Dependence to working precision is RANK_DEFICIENT where no pivot shows it: Kahan's matrix, and I − triu(1, 1)."""
    # Wilkinson's has a ratio of 2^−n, Kahan's that of its condition, here far below u.
    hidden = {
        "float64": (
            Recipe(kind="wilkinson", m=60, n=60, seed=2),
            Recipe(kind="kahan", m=12, n=12, condition=2.0**66),
        ),
        "float32": (
            Recipe(kind="wilkinson", m=40, n=32, residual=1.0, seed=2, dtype="float32"),
            Recipe(kind="kahan", m=30, n=24, condition=2.0**37, seed=3, dtype="float32"),
        ),
    }
    for dtype in draw.dtypes:
        for recipe in hidden[dtype]:
            if draw.allowed((recipe.m, recipe.n)):
                held_status(solver, problem := recipe.problem(), solved(solver, problem))
                yield 0.0


@check("memory", skip=_unmeasured)
def memory(solver: Any, draw: Draw) -> Iterator[float]:
    """Memory is that of a few matrices, not m n² numbers."""
    m, n = _LARGE
    if not draw.allowed(_LARGE):
        return
    generator, dtype = torch.Generator().manual_seed(0), DTYPE_NAMES[draw.dtypes[0]]
    A, b = (torch.randn(*shape, dtype=dtype, generator=generator) for shape in ((m, n), (m,)))
    small = _spectrum(2, 1, draw.dtypes[0]).problem()
    call = f"solver.solve(torch.randn{(m, n)}, torch.randn({m}))"
    # What is loaded once, by a solve of some size, is not counted.
    attempt(small, call, lambda: solver.solve(A[: m // 10, : n // 10], b[: m // 10]))
    before = _resident(reset=True)
    attempt(small, call, lambda: solver.solve(A, b))
    used, allowed = _resident() - before, m * n * n * dtype.itemsize / 2
    if used > allowed:
        raise Violation(
            small,
            measured=f"{used / 1e6:.0f} MB for {m}×{n}, of {m * n * dtype.itemsize / 1e6:.1f} MB",
            allowed=f"{allowed / 1e6:.0f} MB, half of m n² numbers",
            cause="memory of the order m n²: a product is spread out before it is summed",
            call=call,
        )
    yield max(used, 0) / allowed


def _resident(*, reset: bool = False) -> int:
    """The most memory resident since the last reset, in bytes."""
    if reset:
        _CLEAR_REFS.write_text("5")
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@check("wide", skip=lambda solver: "" if getattr(solver, "underdetermined", False) else "m < n is not taken")
def wide(solver: Any, draw: Draw) -> Iterator[float]:
    """With m < n the solution of least norm is had within the documented error."""
    for dtype in draw.dtypes:
        for m, n in draw.allowed((1, 2), (1, 6), (3, 4), (5, 12), (8, 9)):
            for k in (2.0, 100.0):
                problem = _spectrum(m, n, dtype, min(k, draw.max_condition) if m > 1 else 1.0, seed=int(k)).problem()
                result = solved(solver, problem)
                status = status_of(result)
                if status != Status.CONVERGED and not (status == Status.MAX_ITERATIONS and is_iterative(solver)):
                    said = f"status {getattr(status, 'name', status)}"
                    cause = "rank judged by the number of unknowns: that of the rows is full"
                    raise Violation(problem, measured=said, allowed="CONVERGED: the rows are independent", cause=cause)
                yield held_accurate(solver, problem, result)


@check("operators", skip=lambda solver: "" if isinstance(solver, ProductSolver) else "operators are not taken")
def operators(solver: Any, draw: Draw) -> Iterator[float]:
    """An operator is solved like its matrix, and one whose adjoint is not its adjoint is not trusted."""
    from scipy.sparse.linalg import LinearOperator

    for m, n in draw.allowed((6, 3), (30, 8), (12, 12)):
        problem = _spectrum(m, n, "float64", min(4.0, draw.max_condition), seed=1).problem()
        A, b = problem.A.numpy(), problem.b.numpy()
        other = np.random.default_rng(0).standard_normal((n, m))
        adjoints = {
            "Aᵀ": A.T,
            "zero": 0 * A.T,
            "−Aᵀ": -A.T,
            "8 Aᵀ": 8 * A.T,
            "Aᵀ with two rows exchanged": A.T[[1, 0, *range(2, n)]],
            "Aᵀ without its first row": np.concatenate([0 * A.T[:1], A.T[1:]]),
            "another matrix": other / np.linalg.norm(other, 2),
        }
        for name, adjoint in adjoints.items():
            products = LinearOperator((m, n), matvec=A.__matmul__, rmatvec=adjoint.__matmul__, dtype=A.dtype)
            call = f"solver.solve with A a LinearOperator whose rmatvec is {name}"
            if name != "Aᵀ" and _refused(partial(solver.solve, products, b)):
                continue
            result = attempt(problem, call, partial(solver.solve, products, b))
            if name == "Aᵀ":
                held_status(solver, problem, result, call)
            try:
                measured = held_accurate(solver, problem, result, call)
            except Violation as found:
                if name != "Aᵀ":
                    found.cause = "the adjoint of an operator is taken on trust"
                raise
            yield measured


def _refused(solve: Callable[[], Any]) -> bool:
    """Whether an operator is refused as malformed, by name."""
    try:
        solve()
    except (ValueError, TypeError) as error:
        return str(error).startswith("A")
    except Exception:
        return False
    return False
