"""Why an answer is wrong, where the wrongness tells.

An answer off by κ²u where κu is documented has passed through the normal equations; one that float32 holds exactly was
computed there; one that solves the problem without a row has dropped that row. Each hypothesis here computes the wrong
answer that it predicts, and is named if the solver's answer is a thousand times closer to that than to the solution.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from solvers.result import Array, Status
from solvers.testing.accuracy import (
    LAPACK_LIMIT,
    Exact,
    Vector,
    allowed_error,
    condition_power,
    documented_unit,
    exact,
)
from solvers.testing.recipes import GeneratedProblem, Recipe

_CLOSER = 2.0**-10
"""How much closer than to the solution an answer must be to what a hypothesis predicts."""

_FLOAT32_UNIT = 2.0**-24


def likely_cause(solver: Any, problem: GeneratedProblem, x: Array, iterations: int) -> str:
    """Why an answer that claims to have converged is wrong.

    Args:
        solver: the solver.
        problem: of full rank.
        x: its answer, (n,).
        iterations: spent on it.

    Returns:
        A phrase, or nothing where the answer does not tell.
    """
    known = exact(problem)
    answer = known.scaled(x)
    if not np.isfinite(answer).all():
        return (
            _by_variation(solver, problem)
            or "a silent NaN or inf: the arithmetic failed, and the status says otherwise"
        )
    return (
        _by_prediction(known, answer)
        or _by_variation(solver, problem)
        or _by_size(solver, problem, known, x, iterations)
    )


def _by_prediction(known: Exact, answer: Vector) -> str:
    """The hypothesis whose predicted answer this is.

    Args:
        known: the solution.
        answer: the answer, in the scaled problem's units.

    Returns:
        A phrase, or nothing.
    """
    with np.errstate(over="ignore"):
        error = float(np.linalg.norm(answer - known.hi))
    if not np.isfinite(error):
        return "it diverges: the answer's norm is beyond the range of float64"
    for phrase, predicted in _predictions(known):
        if float(np.linalg.norm(answer - predicted)) <= _CLOSER * error:
            return phrase
    return ""


def _predictions(known: Exact) -> Iterator[tuple[str, Vector]]:
    """Wrong answers of known causes.

    Args:
        known: the solution.

    Yields:
        A phrase, and what the answer then would be.
    """
    m, n = known.A.shape
    yield "x is zero: as if nothing had been computed", np.zeros(n)
    yield "the sign is wrong: x is the solution times −1", -known.hi
    if m == n:
        yield "transposed arguments: x solves Aᵀx = b", _least_squares(known.A.T, known.b)
    if n > 1:
        yield "the unknowns are in reverse order", known.hi[::-1]
    if m > n:
        for i in range(m):
            rest = np.arange(m) != i
            yield f"a dropped row: x solves the problem without row {i}", _least_squares(known.A[rest], known.b[rest])
    yield "the right-hand side is replaced by its mean", _least_squares(known.A, np.full(m, known.b.mean()))
    yield "the right-hand side is replaced by its first entry", _least_squares(known.A, np.full(m, known.b[0]))


def _least_squares(A: Vector, b: Vector) -> Vector:
    return np.asarray(np.linalg.lstsq(A, b, rcond=None)[0], dtype=np.float64)


def by_scale(solver: Any, problem: GeneratedProblem) -> str:
    """Whether a solver that fails on a problem is right at ordinary scale.

    Args:
        solver: the solver.
        problem: where it is wrong.

    Returns:
        A phrase, or nothing.
    """
    a, b = problem.recipe.matrix_exponent, problem.recipe.right_exponent
    if not (a or b) or not _right(solver, replace(problem.recipe, matrix_exponent=0, right_exponent=0).problem()):
        return ""
    said = f"right at ordinary scale, wrong at A·2^{a}, b·2^{b}: as "
    if min(a, b) >= 0:
        return said + "squares that overflow would have"
    if max(a, b) <= 0:
        return said + "an absolute threshold or squares that underflow"
    return said + "an absolute threshold, overflow or underflow"


def _by_variation(solver: Any, problem: GeneratedProblem) -> str:
    """A feature of the problem without which the solver is right.

    Args:
        solver: the solver.
        problem: where it is wrong.

    Returns:
        A phrase, or nothing.
    """
    scale = by_scale(solver, problem)
    if scale:
        return scale
    recipe = problem.recipe

    def right(m: int, n: int) -> bool:
        return _right(solver, Recipe(kind="spectrum", m=m, n=n, residual=float(m > n), dtype=recipe.dtype).problem())

    m, n = recipe.m, recipe.n
    if m == n and not right(m, n) and right(m + 1, n) and right(m + 2, n):
        return "right for m > n, wrong for m = n: as a branch for square matrices would have"
    if n == 1 and not right(m, 1) and right(m + 1, 2) and right(m + 2, 2):
        return "right for n > 1, wrong for n = 1: as a dimension lost to squeezing would have"
    return ""


def _right(solver: Any, problem: GeneratedProblem) -> bool:
    """Whether a solver converges to the documented accuracy.

    Args:
        solver: the solver.
        problem: of full rank.

    Returns:
        False also where it raises.
    """
    try:
        result = solver.solve(problem.A, problem.b)
        return int(result.status) == Status.CONVERGED and exact(problem).error(result.x) <= allowed_error(
            solver, problem
        )
    except Exception:  # whatever a wrong solver does
        return False


def _by_size(solver: Any, problem: GeneratedProblem, known: Exact, x: Array, iterations: int) -> str:
    """What the size of the error says.

    Args:
        solver: the solver.
        problem: where it is wrong.
        known: its solution.
        x: the answer.
        iterations: spent on it.

    Returns:
        A phrase, or nothing.
    """
    error, power = known.error(x), condition_power(solver)
    dtype = problem.A.dtype
    unit = torch.finfo(dtype).eps / 2
    relative = error / known.size if known.size else float("inf")
    single = dtype == torch.float64 and error <= known.allowance(_FLOAT32_UNIT, 1)
    if single and _held_by_float32(known.scaled(x)):
        return f"every component is a float32 number, error {relative:.1e}: as float32 inside would have"
    if power < 2 and error <= known.allowance(unit, 2) / LAPACK_LIMIT:
        return f"error {relative:.1e} is of the order κ²u where κ^{power} u is documented: as normal equations have"
    if iterations > 0:
        reached = _optimality(known, known.scaled(x))
        documented = documented_unit(solver, dtype)
        return (
            f"after {iterations} iterations ‖Aᵀr‖ is {reached:.1e} of its size where {documented:.1e} is documented: "
            "as a loose stopping rule, or a status that is always CONVERGED, would leave"
        )
    if single:
        return f"error {relative:.1e} is of the order 1e-7 κ: as float32 inside would have"
    return ""


def _held_by_float32(answer: Vector) -> bool:
    nonzero = answer[answer != 0]
    return bool(len(nonzero) and (nonzero == nonzero.astype(np.float32)).all())


def _optimality(known: Exact, answer: Vector) -> float:
    """How far the residual is from orthogonal to the columns, in the units of the stopping rules.

    Args:
        known: the problem.
        answer: the answer, in its units.

    Returns:
        The smaller of ‖r‖/(‖b‖ + ‖A‖‖x‖) and ‖Aᵀr‖/(‖A‖‖r‖).
    """
    r = known.b - known.A @ answer
    size, length = float(np.linalg.norm(known.A)), float(np.linalg.norm(r))
    whole = float(np.linalg.norm(known.b)) + size * float(np.linalg.norm(answer))
    if not length or not whole:
        return 0.0
    return min(length / whole, float(np.linalg.norm(known.A.T @ r)) / (size * length))
