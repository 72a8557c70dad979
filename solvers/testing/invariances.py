"""Checks of what must not change an answer: scale, order of rows, the batch around a problem, memory, repetition."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from solvers._core.scaling import ldexp
from solvers.result import Array, LstsqResult, Status
from solvers.solver import Promise
from solvers.testing.accuracy import allowed_error, exact
from solvers.testing.answers import ratio, status_of
from solvers.testing.causes import likely_cause
from solvers.testing.findings import Violation, attempt, entry_of, solved
from solvers.testing.recipes import GeneratedProblem

LAYOUTS = ("columns contiguous", "every other entry", "reversed, NumPy", "columns contiguous, NumPy")
"""Ways for an array to lie in memory."""


def promises(solver: Any) -> frozenset[Promise]:
    """What a solver promises beyond its accuracy.

    Args:
        solver: any solver.

    Returns:
        Its `promises`, or those that every solver makes.
    """
    said: frozenset[Promise] = getattr(solver, "promises", frozenset())
    return said


def same(left: Array, right: Array) -> bool:
    """Whether two arrays hold the same numbers, NaN in the same places.

    Args:
        left: an array.
        right: another.

    Returns:
        False also where the shapes differ.
    """
    a, b = (np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value) for value in (left, right))
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _differs(first: LstsqResult, second: LstsqResult) -> str:
    """What differs between two results.

    Args:
        first: a result.
        second: another.

    Returns:
        A phrase, or nothing.
    """
    for name in ("x", "status", "iterations"):
        left, right = getattr(first, name), getattr(second, name)
        if not same(left, right):
            return f"{name} is {left.tolist()} and {right.tolist()}"
    return ""


def check_scaling(solver: Any, case: tuple[GeneratedProblem, int, int]) -> float:
    """Powers of two change no bit.

    Args:
        solver: the solver.
        case: a problem of ordinary scale, and the exponents to scale A and b by.

    Returns:
        0.

    Raises:
        Violation: if a bit of x, the status or the number of iterations changes.
    """
    problem, i, j = case
    scaled = replace(problem.recipe, matrix_exponent=i, right_exponent=j).problem()
    plain, other = solved(solver, problem), solved(solver, scaled)
    back = replace(other, x=ldexp(torch.as_tensor(other.x), torch.tensor(i - j)))
    difference = _differs(plain, back)
    if difference:
        rounding = _agree(solver, problem, plain.x, back.x)
        raise Violation(
            scaled,
            measured=f"against the problem with A·2^{-i}, b·2^{-j} (scaled back): {difference}",
            allowed="the same bits",
            cause="the answers agree to rounding: a constant enters that is absolute, or no power of two"
            if rounding
            else "as an absolute threshold or regularisation would have",
        )
    return 0.0


def _agree(solver: Any, problem: GeneratedProblem, first: Array, second: Array) -> bool:
    """Whether two answers are both within the documented error.

    Args:
        solver: the solver.
        problem: of full rank.
        first: an answer.
        second: another.

    Returns:
        Whether they are.
    """
    allowed = allowed_error(solver, problem)
    return all(exact(problem).error(x) <= allowed for x in (first, second))


def check_rows(solver: Any, case: tuple[GeneratedProblem, Sequence[int]]) -> float:
    """The order of the rows changes an answer by no more than rounding.

    Args:
        solver: the solver.
        case: a problem of full rank, and an order of its rows.

    Returns:
        The larger error in units of what is allowed.

    Raises:
        Violation: if one order converges to the documented accuracy and the other does not.
    """
    problem, order = case
    plain, allowed = solved(solver, problem), allowed_error(solver, problem)
    worst = ratio(exact(problem).error(plain.x), allowed) if status_of(plain) == Status.CONVERGED else 0.0
    if worst > 1:
        return 0.0  # wrong already in the given order, as the checks of accuracy say
    turned = [[*order[k:], *order[:k]] for k in range(min(4, len(order)))]
    for rows in (*turned, list(order)[::-1]):
        call = f"solver.solve(p.A[{rows}], p.b[{rows}])"
        result = attempt(problem, call, partial(solver.solve, problem.A[rows], problem.b[rows]))
        if status_of(result) != Status.CONVERGED or status_of(plain) != Status.CONVERGED:
            continue
        measured = ratio(exact(problem).error(result.x), allowed)
        if measured > 1:
            raise Violation(
                problem,
                measured=f"right in the given order of rows, and {measured:.2g} times the allowed error in {rows}",
                allowed="the documented error in any order",
                cause="the rows are not treated alike",
                call=call,
            )
        worst = max(worst, measured)
    return worst


def check_batch(solver: Any, case: Sequence[GeneratedProblem]) -> float:
    """A batch is a loop.

    Args:
        solver: the solver.
        case: problems of one shape and dtype.

    Returns:
        0.

    Raises:
        Violation: if an entry of the batch differs from the same problem alone.
    """
    problems = list(case)
    A, b = torch.stack([p.A for p in problems]), torch.stack([p.b for p in problems])
    code = ", ".join(p.code for p in problems)
    call = f"ps = [{code}]; solver.solve(torch.stack([q.A for q in ps]), torch.stack([q.b for q in ps]))"
    together = attempt(problems[0], call, lambda: solver.solve(A, b))
    exactly = Promise.EXACT_BATCH in promises(solver)
    for i, problem in enumerate(problems):
        entry = entry_of(problem, together, i, call)
        alone = solved(solver, problem)
        difference = _differs(alone, entry)
        rounding = _agree(solver, problem, alone.x, entry.x)
        if difference and (exactly or not rounding):
            raise Violation(
                problem,
                measured=f"alone and as entry {i} of a batch of {len(problems)}: {difference}",
                allowed="the same bits" if exactly else "answers within the documented error",
                cause="the answers agree to rounding: the order of operations depends on the size of the batch"
                if rounding
                else f"right alone, wrong as entry {i}: entries of a batch are mixed up or share state",
                call=call,
            )
    return 0.0


def check_repetition(solver: Any, problem: GeneratedProblem) -> float:
    """The same call gives the same bits, and recording changes none.

    Args:
        solver: the solver.
        problem: any.

    Returns:
        0.

    Raises:
        Violation: if something differs.
    """
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


def check_untouched(solver: Any, problem: GeneratedProblem) -> float:
    """Inputs are not written to, and results share no memory with them.

    Args:
        solver: the solver.
        problem: any.

    Returns:
        0.

    Raises:
        Violation: if an input changed.
    """  # noqa: DOC502 - raised by the comparison
    for family in ("torch", "NumPy"):
        tensors = (problem.A.clone(), problem.b.clone(), torch.ones_like(problem.x))
        inputs: list[Any] = [t.numpy() if family == "NumPy" else t for t in tensors]
        before = [t.numpy().copy() for t in tensors]
        A, b, x0 = inputs
        call = "solver.solve(p.A, p.b, x0=torch.ones_like(p.x), record=True)"
        solve = partial(solver.solve, A, b, x0=x0, record=True)
        result = attempt(problem, call, solve)
        _unchanged(problem, before, inputs, f"during the solve ({family})", "input overwritten: it works in place")
        for output in (result.x, result.trace):
            if output is not None:
                output[...] = float("nan")
        _unchanged(
            problem, before, inputs, f"when the result was written to ({family})", "the result shares memory with it"
        )
    return 0.0


def _unchanged(problem: GeneratedProblem, before: list[Any], inputs: list[Any], when: str, cause: str) -> None:
    for name, old, new in zip(("A", "b", "x0"), before, inputs, strict=True):
        if not same(old, new):
            raise Violation(
                problem, measured=f"{name} changed {when}", allowed="inputs that are left alone", cause=cause
            )


def check_layout(solver: Any, problem: GeneratedProblem) -> float:
    """How an array lies in memory is of no account.

    Args:
        solver: the solver.
        problem: of full rank.

    Returns:
        The error in units of what is allowed.

    Raises:
        Violation: if the status changes, or the answer by more than the documented error.
    """
    plain, allowed, worst = solved(solver, problem), allowed_error(solver, problem), 0.0
    if status_of(plain) != Status.CONVERGED or exact(problem).error(plain.x) > allowed:
        return 0.0
    for layout in LAYOUTS:
        call = f"the same with A and b laid out as {layout!r}"
        A, b = _laid_out(problem.A, layout), _laid_out(problem.b, layout)
        result = attempt(problem, call, partial(solver.solve, A, b))
        status, error = status_of(result), exact(problem).error(result.x)
        if status != Status.CONVERGED or error > allowed:
            half = error > exact(problem).size * torch.finfo(problem.A.dtype).eps ** 0.5
            raise Violation(
                problem,
                measured=f"contiguous: right; {layout}: status {getattr(status, 'name', None)}, "
                f"{ratio(error, allowed):.2g} times the allowed error",
                allowed="the documented error however the array lies in memory",
                cause="strides are ignored: memory is read as if it were contiguous"
                if half
                else likely_cause(solver, problem, result.x, int(torch.as_tensor(result.iterations).max())),
                call=call,
            )
        worst = max(worst, ratio(error, allowed))
    return worst


def _laid_out(values: torch.Tensor, layout: str) -> Array:
    """The same values, elsewhere in memory.

    Args:
        values: an array.
        layout: one of `LAYOUTS`.

    Returns:
        An array that is not contiguous where it has more than one dimension or a stride.
    """
    if layout.startswith("columns"):
        laid = values.mT.contiguous().mT if values.ndim > 1 else values
        return laid.numpy() if layout.endswith("NumPy") else laid
    if layout.startswith("every"):
        wide = values.new_full((*values.shape[:-1], 2 * values.shape[-1]), 7.0)
        wide[..., ::2] = values
        return wide[..., ::2]
    flipped: Array = np.ascontiguousarray(values.flip(-1).numpy())[..., ::-1]
    return flipped
