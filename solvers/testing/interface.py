"""Checks of the interface: families, dtypes, shapes, empty batches, and what must be refused."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from solvers.result import Status
from solvers.testing.checks import check, claiming
from solvers.testing.findings import Violation, attempt
from solvers.testing.recipes import GeneratedProblem, Recipe
from solvers.testing.strategies import Draw

SMALL = Recipe(kind="spectrum", m=4, n=2, condition=2.0, residual=1.0)
"""The problem on which the interface is tried."""


@check("types", skip=claiming("interface"))
def types(solver: Any, draw: Draw) -> Iterator[float]:
    """Family, dtype, device and shape come back as they went in."""
    for dtype in draw.dtypes:
        problem = replace(SMALL, dtype=dtype).problem()
        for batch in ((), (1,), (3,), (2, 3)):
            yield from _alike(solver, problem, batch)


@check("empty batch", skip=claiming("interface"))
def empty(solver: Any, draw: Draw) -> Iterator[float]:
    """A batch of no problems has no answers."""
    del draw
    for batch in ((0,), (2, 0)):
        yield from _alike(solver, SMALL.problem(), batch)


def _alike(solver: Any, problem: GeneratedProblem, batch: tuple[int, ...]) -> Iterator[float]:
    """Solve a batch of each family on each device, and hold the result to the kind of its input; 0 each."""
    devices = ["cpu", "NumPy"] + (["cuda"] if torch.cuda.is_available() else [])
    for where in devices:
        tensors = [t.expand(*batch, *t.shape).clone() for t in (problem.A, problem.b)]
        A, b = (t.numpy() if where == "NumPy" else t.to(where) for t in tensors)
        call = f"A and b as {problem.recipe.dtype}, batch {batch}, {where}"
        result = attempt(problem, call, partial(solver.solve, A, b, record=True))
        n = problem.A.shape[-1]
        for name, shape in (("x", (*batch, n)), ("status", batch), ("iterations", batch), ("trace", None)):
            value = getattr(result, name)
            for wrong, got, wants, cause in _differences(name, value, A, shape) if value is not None else ():
                if wrong:
                    raise Violation(problem, measured=f"{name} is {got}", allowed=wants, cause=cause, call=call)
        for name, high in (("status", max(Status)), ("iterations", None)):
            values = torch.as_tensor(getattr(result, name))
            whole = not values.is_floating_point() and not values.is_complex() and values.dtype != torch.bool
            if not whole or bool((values < 0).any()) or (high is not None and bool((values > high).any())):
                raise Violation(
                    problem,
                    measured=f"{name} is {values.tolist()}, {values.dtype}",
                    allowed="integers: values of solvers.Status, and counts of at least 0",
                    cause=f"{name} is not as documented",
                    call=call,
                )
        yield 0.0


def _differences(name: str, value: Any, A: Any, shape: tuple[int, ...] | None) -> Iterator[tuple[bool, str, str, str]]:
    """How an array of a result may differ from what the input asks for: whether, what it is, what not, and why."""
    alike = isinstance(value, torch.Tensor) == isinstance(A, torch.Tensor)
    got, wants = type(value).__name__, type(A).__name__
    yield not alike, f"a {got}", f"a {wants}, as A is", "another family comes back than went in"
    if shape is not None:
        got, wants = str(tuple(value.shape)), str(shape)
        yield got != wants, f"of shape {got}", f"shape {wants}", "the shape of the batch is lost"
    if name in {"x", "trace"}:
        got, wants = str(value.dtype), str(A.dtype)
        yield got != wants, got, f"{wants}, as A is", f"another dtype comes back: {got} for {wants}"
    if isinstance(A, torch.Tensor) and alike:
        got, wants = str(value.device), str(A.device)
        yield got != wants, f"on {got}", f"on {wants}, as A is", "the result is on another device"


@check("validation", skip=claiming("interface"))
def validation(solver: Any, draw: Draw) -> Iterator[float]:
    """Malformed input is a ValueError or TypeError that names the argument."""
    del draw
    for name, what, arguments in _malformed(underdetermined=bool(getattr(solver, "underdetermined", False))):
        measured, cause = _refusal(solver, name, what, arguments)
        if measured:
            allowed = f"a ValueError or TypeError that names {name}"
            code = f"solver.solve with {what}"
            raise Violation(SMALL.problem(), measured=measured, allowed=allowed, cause=cause, call=code)
        yield 0.0


def _refusal(solver: Any, name: str, what: str, arguments: dict[str, Any]) -> tuple[str, str]:
    """How a solver fails to refuse malformed input."""
    try:
        result = solver.solve(**arguments)
    except (ValueError, TypeError) as error:
        said = (str(error).splitlines() or [""])[0]
        if re.search(rf"\b{name}\b", said):
            return "", ""
        return f"{what}: {type(error).__name__}: {said}", "the message names no argument, or another one"
    except Exception as error:  # whatever comes from within
        said = (str(error).splitlines() or [""])[0]
        return f"{what}: {type(error).__name__}: {said}", "input is not validated: the failure comes from within"
    return f"{what} was accepted: {result!r}", f"accepts {what}"


def _malformed(*, underdetermined: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Malformed inputs."""
    problem = SMALL.problem()
    A, b, x0 = problem.A, problem.b, problem.x
    n = A.shape[-1]
    nan, inf = torch.full_like(A, float("nan")), float("inf")
    spoilt = b.clone()
    spoilt[-1] = inf
    good: dict[str, Any] = {"A": A, "b": b}
    yield "A", "NaN in A", good | {"A": torch.where(A.max() == A, nan, A)}
    yield "A", "inf in A", good | {"A": torch.where(A.max() == A, -inf, A)}
    yield "b", "NaN in b", good | {"b": torch.where(b == b.max(), nan[:, 0], b)}
    yield "b", "inf in b", good | {"b": spoilt}
    yield "x0", "NaN in x0", good | {"x0": nan[0]}
    yield "b", "b one entry short", good | {"b": b[:-1]}
    yield "b", "b of shape (m, 1)", good | {"b": b[:, None]}
    yield "b", "b broadcast over a batch", {"A": A.expand(3, *A.shape), "b": b}
    yield "b", "b with a batch that A lacks", {"A": A, "b": b.expand(3, *b.shape)}
    yield "x0", "x0 of the wrong length", good | {"x0": torch.ones(n + 1, dtype=A.dtype)}
    yield "x0", "x0 broadcast over a batch", {"A": A.expand(3, *A.shape), "b": b.expand(3, *b.shape), "x0": x0}
    yield "A", "A with one dimension", good | {"A": A[:, 0]}
    yield "A", "A without rows", {"A": A[:0], "b": b[:0]}
    yield "A", "A without columns", good | {"A": A[:, :0]}
    if not underdetermined:
        yield "A", "m < n", {"A": A.mT.contiguous(), "b": b[:n]}
    yield "A", "integer A", good | {"A": torch.ones(A.shape, dtype=torch.int64)}
    yield "A", "complex A", {"A": A.to(torch.complex128), "b": b.to(torch.complex128)}
    yield "A", "float16 A", {"A": A.to(torch.float16), "b": b.to(torch.float16)}
    yield "b", "b of another dtype", good | {"b": b.float()}
    yield "b", "b of another family", good | {"b": b.numpy()}
    yield "A", "A a list", good | {"A": A.tolist()}
    yield "b", "b None", good | {"b": None}
    yield "A", "NaN in A, NumPy", {"A": np.where(A.max() == A, np.nan, A), "b": b.numpy()}
