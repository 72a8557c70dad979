"""Checks of what must not change an answer: scale, order, the batch around a problem, memory, repetition."""

import random
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from solvers._core.scaling import ldexp
from solvers.result import Array, LstsqResult, Status
from solvers.solver import Promise
from solvers.testing.accuracy import measured_error, promises, view
from solvers.testing.adapters import claims
from solvers.testing.answers import held_accurate
from solvers.testing.causes import likely_cause
from solvers.testing.checks import ORDINARY_KINDS, check, claiming, promising
from solvers.testing.findings import Violation, attempt, solved, spent, stacked, status_of
from solvers.testing.recipes import GeneratedProblem, Recipe

LAYOUTS = ("columns contiguous", "every other entry", "reversed, NumPy", "columns contiguous, NumPy")
"""Ways for an array to lie in memory."""


def same(left: Array, right: Array) -> bool:
    """Whether two arrays hold the same numbers, NaN in the same places; false also where the shapes differ."""
    a, b = (np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value) for value in (left, right))
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _differs(first: LstsqResult, second: LstsqResult, names: tuple[str, ...] = ("x", "status", "iterations")) -> str:
    """What differs between two results, in a phrase, or nothing."""
    for name in names:
        left, right = getattr(first, name), getattr(second, name)
        if not same(left, right):
            return f"{name} is {left.tolist()} and {right.tolist()}"
    return ""


def _right(solver: Any, problem: GeneratedProblem, *answers: Array) -> bool:
    """Whether answers to a problem of full rank are all within the documented error."""
    return all(measured_error(solver, problem, x) <= 1 for x in answers)


@check(
    "scaling",
    share=8,
    gentle=True,
    draws={"kinds": ORDINARY_KINDS, "scales": True},
    skip=promising(Promise.EXACT_SCALING),
)
def scaling(solver: Any, problem: GeneratedProblem) -> float:
    """Powers of two in A and b change no bit but the exponent of x."""
    i, j = problem.recipe.matrix_exponent, problem.recipe.right_exponent
    plain = replace(problem.recipe, matrix_exponent=0, right_exponent=0).problem()
    first, other = solved(solver, plain), solved(solver, problem)
    back = replace(other, x=ldexp(torch.as_tensor(other.x), torch.tensor(i - j)))
    difference = _differs(first, back)
    if difference:
        raise Violation(
            problem,
            measured=f"against the problem with A·2^{-i}, b·2^{-j} (scaled back): {difference}",
            allowed="the same bits",
            cause="the answers agree to rounding: a constant enters that is absolute, or no power of two"
            if _right(solver, plain, first.x, back.x)
            else "as an absolute threshold or regularisation would have",
        )
    return 0.0


@check("order", share=6, gentle=True, draws={"min_rows": 2, "full": True})
def order(solver: Any, problem: GeneratedProblem) -> float:
    """Permuted rows and columns give the solution within the documented error."""
    plain = solved(solver, problem)
    if status_of(plain) != Status.CONVERGED or not _right(solver, problem, plain.x):
        return 0.0  # wrong already in the given order, as the checks of accuracy say
    (m, n), worst = problem.A.shape, 0.0
    draw = random.Random(problem.recipe.seed)
    sizes = problem.A.abs().amax(dim=1).argsort(stable=True).tolist()
    orders = [("rows", rows) for rows in (sizes, sizes[::-1], draw.sample(range(m), m), [*range(1, m), 0])]
    for what, places in (*orders, ("columns", draw.sample(range(n), n))):
        A, b = (problem.A[places], problem.b[places]) if what == "rows" else (problem.A[:, places], problem.b)
        call = (
            f"solver.solve(p.A[{places}], p.b[{places}])" if what == "rows" else f"solver.solve(p.A[:, {places}], p.b)"
        )
        result = attempt(problem, call, partial(solver.solve, A, b))
        if status_of(result) != Status.CONVERGED:
            continue
        x = torch.as_tensor(result.x)
        measured = measured_error(solver, problem, x if what == "rows" else x[np.argsort(places)])
        if measured > 1:
            raise Violation(
                problem,
                measured=f"right in the given order of {what}, and {measured:.2g} times the allowed error in {places}",
                allowed="the documented error in any order",
                cause=f"the {what} are not treated alike",
                call=call,
            )
        worst = max(worst, measured)
    return worst


def _neighbours(solver: Any, problem: GeneratedProblem) -> list[GeneratedProblem]:
    """Others to put beside a problem: harder, huge, tiny, without full rank, and some that overflow or divide 0/0."""
    plain = Recipe(kind="spectrum", m=problem.recipe.m, n=problem.recipe.n, dtype=problem.recipe.dtype)
    seed, top = problem.recipe.seed, 1000 if plain.dtype == "float64" else 120
    others = [replace(plain, seed=seed + 1), replace(plain, seed=seed + 2, condition=4.0 if plain.n > 1 else 1.0)]
    if "rank" in claims(solver):
        others += [
            replace(plain, kind="duplicated-column", seed=seed),
            replace(plain, seed=seed, matrix_exponent=-top, right_exponent=top),
            replace(plain, seed=seed, matrix_exponent=top - 10, right_exponent=top - 10),
            replace(plain, kind="zero-column", seed=seed % plain.n, matrix_exponent=top - 10),
        ]
    return [other.problem() for other in others]


@check("batch", share=6, gentle=True, draws={"kinds": ORDINARY_KINDS, "full": True}, skip=claiming("batch"))
def batch(solver: Any, problem: GeneratedProblem) -> float:
    """A problem in a batch gets the answer that it gets alone, whoever its neighbours are."""
    first, *others = _neighbours(solver, problem)
    problems = [first, problem, *others, problem]
    together, call = stacked(solver, problems)
    alone, exactly, worst = solved(solver, problem), Promise.EXACT_BATCH in promises(solver), 0.0
    for i in (1, len(problems) - 1):
        entry = together[i]
        rounding = _right(solver, problem, alone.x, entry.x) and not _differs(alone, entry, ("status",))
        difference = _differs(alone, entry, ("x", "status", "iterations") if exactly else ("x", "status"))
        if difference and (exactly or (not rounding and _right(solver, problem, alone.x))):
            raise Violation(
                problem,
                measured=f"alone and as entry {i} of a batch of {len(problems)}: {difference}",
                allowed="the same bits" if exactly else "the same status, and an answer within the documented error",
                cause="the answers agree to rounding: the order of operations depends on the size of the batch"
                if rounding
                else f"right alone, wrong as entry {i}: entries of a batch are mixed up or share state",
                call=call,
            )
        worst = max(worst, held_accurate(solver, problem, entry, f"entry {i} of: {call}"))
    return worst


@check("repetition", share=2, gentle=True, skip=claiming("interface"))
def repetition(solver: Any, problem: GeneratedProblem) -> float:
    """The same call gives the same bits, recorded or not."""
    first = solved(solver, problem)
    # A random generator may give the same numbers twice, so three times it is; recording is then the only difference.
    for what, options in (("again", {}), ("again", {}), ("again", {}), ("with record=True", {"record": True})):
        difference = _differs(first, solved(solver, problem, **options))
        if difference:
            raise Violation(
                problem,
                measured=f"at first and {what}: {difference}",
                allowed="the same bits",
                cause="nondeterministic: a random generator, or state kept between solves"
                if not options
                else "recording the iterates changes the computation",
            )
    return 0.0


@check("inputs", share=1, gentle=True, draws={"kinds": ORDINARY_KINDS})
def inputs(solver: Any, problem: GeneratedProblem) -> float:
    """Inputs are not written to, and share no memory with results."""
    native = "interface" in claims(solver)
    for family in ("torch", "NumPy"):
        tensors = (problem.A.clone(), problem.b.clone(), *([torch.ones_like(problem.x)] if native else []))
        given: list[Any] = [t.numpy() if family == "NumPy" else t for t in tensors]
        before = [t.numpy().copy() for t in tensors]
        options = {"x0": given[2], "record": True} if native else {}
        call = "solver.solve(p.A, p.b" + (", x0=torch.ones_like(p.x), record=True)" if native else ")")
        result = attempt(problem, call, partial(solver.solve, *given[:2], **options))
        _unchanged(problem, before, given, f"during the solve ({family})", "input overwritten: it works in place")
        for output in (result.x, result.trace):
            if output is not None:
                output[...] = float("nan")
        when, cause = f"when the result was written to ({family})", "the result shares memory with it"
        _unchanged(problem, before, given, when, cause)
    return 0.0


def _unchanged(problem: GeneratedProblem, before: list[Any], inputs: list[Any], when: str, cause: str) -> None:
    for name, old, new in zip(("A", "b", "x0"), before, inputs, strict=False):
        if not same(old, new):
            allowed = "inputs that are left alone"
            raise Violation(problem, measured=f"{name} changed {when}", allowed=allowed, cause=cause)


@check("layout", share=2, gentle=True, draws={"min_rows": 2, "max_rows": 12, "max_unknowns": 5, "full": True})
def layout(solver: Any, problem: GeneratedProblem) -> float:
    """Strided, reversed and column-major arrays are read as what they are."""
    plain, worst = solved(solver, problem), 0.0
    if status_of(plain) != Status.CONVERGED or not _right(solver, problem, plain.x):
        return 0.0
    for laid in LAYOUTS:
        call = f"the same with A and b laid out as {laid!r}"
        A, b = _laid_out(problem.A, laid), _laid_out(problem.b, laid)
        result = attempt(problem, call, partial(solver.solve, A, b))
        status, measured = status_of(result), measured_error(solver, problem, result.x)
        if status != Status.CONVERGED or measured > 1:
            known = view(solver, problem)
            half = known.error(result.x) > known.size * torch.finfo(problem.A.dtype).eps ** 0.5
            raise Violation(
                problem,
                measured=f"contiguous: right; {laid}: status {getattr(status, 'name', None)}, "
                f"{measured:.2g} times the allowed error",
                allowed="the documented error however the array lies in memory",
                cause="strides are ignored: memory is read as if it were contiguous"
                if half
                else partial(likely_cause, solver, problem, result.x, spent(result)),
                call=call,
            )
        worst = max(worst, measured)
    return worst


def _laid_out(values: torch.Tensor, layout: str) -> Array:
    """The same values, in memory as one of `LAYOUTS`: not contiguous where there are two dimensions or a stride."""
    if layout.startswith("columns"):
        laid = values.mT.contiguous().mT if values.ndim > 1 else values
        return laid.numpy() if layout.endswith("NumPy") else laid
    if layout.startswith("every"):
        wide = values.new_full((*values.shape[:-1], 2 * values.shape[-1]), 7.0)
        wide[..., ::2] = values
        return wide[..., ::2]
    flipped: Array = np.ascontiguousarray(values.flip(-1).numpy())[..., ::-1]
    return flipped
