"""Why an answer is wrong, where the wrongness tells.

An answer off by κ²u where κu is documented has passed through the normal equations; one that float32 holds exactly was
computed there; one that solves the problem without a row has dropped that row. Each hypothesis here computes the wrong
answer that it predicts, and is named if the solver's answer is a thousand times closer to that than to the solution;
or it takes a feature from the problem (its scale, its size), and is named if the solver is then right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from solvers.result import Array, Status
from solvers.testing.accuracy import condition_power, constant, documented_unit, measured_error, view
from solvers.testing.adapters import claims
from solvers.testing.exact import Exact, Vector
from solvers.testing.recipes import GeneratedProblem, Recipe

_CLOSER = 2.0**-10
"""How much closer than to the solution an answer must be to what a hypothesis predicts."""

_FEW = 16.0
"""A factor that is no rounding."""

_GROSS = 2.0**-10
"""A relative error from which on it is no matter of digits."""

_FLOAT32_UNIT = 2.0**-24
_LARGEST_ROWS, _LARGEST_UNKNOWNS = 64, 24


def likely_cause(solver: Any, problem: GeneratedProblem, x: Array, iterations: int) -> str:
    """Why an answer that claims to have converged is wrong."""
    known = view(solver, problem)
    answer = known.scaled(x)
    scale = by_scale(solver, problem)
    if scale:
        return scale
    if not np.isfinite(answer).all():
        silent = "a silent NaN or inf: the arithmetic failed, and the status says otherwise"
        return _by_size(solver, problem) or silent
    standing = problem.known.standing or known
    return (
        _by_prediction(standing, standing.scaled(x))
        or (_by_size(solver, problem) if known.error(x) > _GROSS * known.size else "")
        or next(_by_error(solver, problem, known, x, iterations), "")
        or _by_size(solver, problem)
    )


def _by_prediction(known: Exact, answer: Vector) -> str:
    """The hypothesis whose predicted answer this is, in the units of the problem known, or nothing."""
    with np.errstate(over="ignore"):
        error = float(np.linalg.norm(answer - known.hi))
    if not np.isfinite(error):
        return "it diverges: the answer's norm is beyond the range of float64"
    for phrase, predicted in _predictions(known, answer):
        if float(np.linalg.norm(answer - predicted)) <= _CLOSER * error:
            return phrase
    return ""


def _predictions(known: Exact, answer: Vector) -> Iterator[tuple[str, Vector]]:
    """Wrong answers of known causes: a phrase, and what the answer then would be."""
    m, n = known.A.shape
    yield "x is zero: as if nothing had been computed", np.zeros(n)
    if m == n:
        yield "transposed arguments: x solves Aᵀx = b", _least_squares(known.A.T, known.b)
    if n > 1:
        yield "the unknowns are in reverse order", known.hi[::-1]
    yield "the sign is wrong: x is the solution times −1", -known.hi
    if m < n:
        residual = known.b - known.A @ answer
        yield "x solves A x = b, but is not of least norm", answer + np.linalg.pinv(known.A) @ residual
    if n < m <= _LARGEST_ROWS:
        for i in range(m):
            rest = np.arange(m) != i
            yield f"a dropped row: x solves the problem without row {i}", _least_squares(known.A[rest], known.b[rest])
    yield "the right-hand side is replaced by its mean", _least_squares(known.A, np.full(m, known.b.mean()))
    yield "the right-hand side is replaced by its first entry", _least_squares(known.A, np.full(m, known.b[0]))


def _least_squares(A: Vector, b: Vector) -> Vector:
    return np.asarray(np.linalg.lstsq(A, b, rcond=None)[0], dtype=np.float64)


def by_scale(solver: Any, problem: GeneratedProblem) -> str:
    """Whether a solver that fails on a problem is right at ordinary scale."""
    recipe = problem.recipe
    a, b = recipe.matrix_exponent, recipe.right_exponent
    if recipe.columns and _right(solver, replace(recipe, columns=0)):
        return f"right with columns of one size, wrong where they differ by 2^{2 * recipe.columns}: one scale for all"
    if recipe.kind == "integers" and recipe.grade and _right(solver, replace(recipe, grade=0)):
        return f"right for small whole numbers, wrong for those of {recipe.grade} bits: as integers that overflow"
    if not (a or b) or not _right(solver, replace(recipe, matrix_exponent=0, right_exponent=0)):
        return ""
    said = f"right at ordinary scale, wrong at A·2^{a}, b·2^{b}: as "
    if min(a, b) >= 0:
        return said + "squares that overflow would have"
    if max(a, b) <= 0:
        return said + "an absolute threshold or squares that underflow"
    return said + "an absolute threshold, overflow or underflow"


def _by_size(solver: Any, problem: GeneratedProblem) -> str:
    """Sizes at which the solver is right where it is wrong at that of the problem, or nothing."""
    m, n = problem.recipe.m, problem.recipe.n

    def right(m: int, n: int) -> bool:
        recipe = Recipe(kind="spectrum", m=m, n=n, residual=float(m > n), seed=1, dtype=problem.recipe.dtype)
        return _right(solver, recipe)

    if m > _LARGEST_ROWS or m < n or right(m, n):
        return "" if m <= _LARGEST_ROWS or not right(8, n) else "right for few rows, wrong for many"
    if m == n and right(m + 1, n) and right(m + 2, n):
        return "right for m > n, wrong for m = n: as a branch for square matrices would have"
    if n == 1 and right(m + 1, 2) and right(m + 2, 2):
        return "right for n > 1, wrong for n = 1: as a dimension lost to squeezing would have"
    unknowns, rows = range(1, _LARGEST_UNKNOWNS + 1), range(n, _LARGEST_ROWS + 1)
    for letter, sizes, wrong in (
        ("n", unknowns, [k for k in unknowns if not right(max(m, _LARGEST_UNKNOWNS), k)]),
        ("m", rows, [k for k in rows if not right(k, n)]),
    ):
        if 0 < len(wrong) < len(sizes) and len(set(np.diff(wrong))) < 2:
            return f"right for other {letter}, wrong for {letter} = {_spans(wrong)}: as a branch on the size would have"
    return ""


def _spans(values: Sequence[int]) -> str:
    """Whole numbers in words: "6 to 24", "35, 37, …, 63"."""
    if len(values) == 1:
        return str(values[0])
    if values[-1] - values[0] == len(values) - 1:
        return f"{values[0]} to {values[-1]}"
    return f"{values[0]}, {values[1]}, …, {values[-1]}"


def _right(solver: Any, recipe: Recipe) -> bool:
    """Whether a solver converges to the documented accuracy; false also where it raises."""
    try:
        problem = recipe.problem()
        result = solver.solve(problem.A, problem.b)
        converged = "status" not in claims(solver) or int(result.status) == Status.CONVERGED
        return converged and measured_error(solver, problem, result.x) <= 1
    except Exception:  # whatever a wrong solver does
        return False


def _by_error(solver: Any, problem: GeneratedProblem, known: Exact, x: Array, iterations: int) -> Iterator[str]:
    """What the size of the error says, the surest first."""
    error, power = known.error(x), condition_power(solver)
    c, unit = constant(solver, *known.A.shape), torch.finfo(problem.A.dtype).eps / 2
    relative = error / known.size if known.size else float("inf")

    def within(unit: float, power: int, times: float = 1.0) -> bool:
        return error <= times * c * unit * (known.spread**power * known.size + known.spread**2 * known.slope)

    if within(unit, power):
        yield "right in norm, but the small components of x are wrong: errors are sized by the largest"
    if iterations > 0:
        reached, wanted = _optimality(known, known.scaled(x)), documented_unit(solver, problem.A.dtype)
        if reached > _FEW * wanted:
            yield (
                f"after {iterations} iterations ‖Aᵀr‖ is {reached:.1e} of its size where {wanted:.1e} is documented: "
                "as a loose stopping rule, or a status that is always CONVERGED, would leave"
            )
    answer = known.scaled(x)
    factor = float(answer @ known.hi) / known.size**2 if known.size else 1.0
    if len(answer) > 1 and _FEW / 2 * np.linalg.norm(answer - factor * known.hi) <= error:
        yield f"every component is off by the same factor, 1 {'+' if factor > 1 else '−'} {abs(factor - 1):.2g}"
    single = problem.A.dtype == torch.float64 and within(_FLOAT32_UNIT, 1)
    if single and _held_by_float32(answer):
        yield f"every component is a float32 number, error {relative:.1e}: as float32 inside would have"
    if 0 < power < 2 and known.spread > 8 and within(unit, 2):
        yield f"error {relative:.1e} is of the order κ²u where κ^{power} u is documented: as normal equations have"
    if within(unit, max(power, 1), _FEW**2):
        yield f"error {relative:.1e} is {relative / unit:.3g} u: a few digits are lost, whatever κ is"
    if single:
        yield f"error {relative:.1e} is of the order 1e-7 κ: as float32 inside would have"


def _held_by_float32(answer: Vector) -> bool:
    nonzero = answer[answer != 0]
    return bool(len(nonzero) and (nonzero == nonzero.astype(np.float32)).all())


def _optimality(known: Exact, answer: Vector) -> float:
    """The smaller of ‖r‖/(‖b‖ + ‖A‖‖x‖) and ‖Aᵀr‖/(‖A‖‖r‖): how far from optimal, in units of the stopping rules."""
    r = known.b - known.A @ answer
    size, length = float(np.linalg.norm(known.A)), float(np.linalg.norm(r))
    whole = float(np.linalg.norm(known.b)) + size * float(np.linalg.norm(answer))
    if not length or not whole:
        return 0.0
    return min(length / whole, float(np.linalg.norm(known.A.T @ r)) / (size * length))
