"""Foreign solvers: a function of A and b made into a `Solver` that promises no more than it is said to promise."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from solvers._core.arrays import require_choice
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver
from solvers.testing.recipes import DTYPE_NAMES

Extractor = Callable[[Any], Any] | int | str

EVERYTHING = frozenset({"status", "rank", "batch", "interface"})
"""What a solver may claim to have: a status for each problem, one for lack of rank, batches, and the rest of what a
`Solver` has: x0 and traces, the family and dtype of the input, checked arguments, the same bits for the same call."""


def claims(solver: Any) -> frozenset[str]:
    """What a solver claims to have beyond an x; everything, unless it is an adapted function."""
    said: frozenset[str] = getattr(solver, "claims", EVERYTHING)
    return said


def dtypes_of(solver: Any) -> tuple[str, ...]:
    """The dtypes that a solver takes, by name."""
    said: tuple[str, ...] = getattr(solver, "dtypes", ("float64", "float32"))
    return said


class Adapted(Solver):
    """A function as a solver; made by `adapt`."""

    error_constant = None

    def __init__(self, function: Callable[..., Any], *, name: str, options: Mapping[str, Any]) -> None:
        self._function, self._name, self._options = function, name, options
        self._promises = frozenset(Promise(promise) for promise in options["promises"])
        self.dtypes = tuple(options["dtypes"])

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    @cached_property
    def claims(self) -> frozenset[str]:
        """What the function gives: booleans for a status cannot tell a lack of rank."""
        stated = {"batch": self._options["batch"] == "native", "status": self._options["status"] is not None}
        if stated["status"]:
            one = torch.ones(*([1] * stated["batch"]), 1, 1, dtype=DTYPE_NAMES[self.dtypes[0]])
            stated["rank"] = self._ended(self._call(one, one[..., 0])).dtype != torch.bool
        return frozenset(what for what, has in stated.items() if has)

    @property
    def promises(self) -> frozenset[Promise]:
        """Those that `adapt` was told of."""
        return self._promises

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        if str(A.dtype).removeprefix("torch.") not in self.dtypes:
            raise TypeError(f"A: got dtype {A.dtype}, wants one of {', '.join(self.dtypes)}")
        if self._options["batch"] == "native":
            x, status = self._called(A, b, (len(A),))
        else:
            found = [self._called(matrix, right, ()) for matrix, right in zip(A, b, strict=True)]
            x, status = (torch.stack(part) for part in zip(*found, strict=True))
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)

    def _call(self, A: torch.Tensor, b: torch.Tensor) -> Any:
        if self._options["family"] == "torch":
            return self._function(A, b)
        with np.errstate(all="ignore"):  # an overflow shows in the answer
            return self._function(A.numpy(), b.numpy())

    def _ended(self, given: Any) -> torch.Tensor:
        ended = _extracted(given, self._options["status"])
        return ended if isinstance(ended, torch.Tensor) else torch.as_tensor(np.asarray(ended))

    def _called(self, A: torch.Tensor, b: torch.Tensor, batch: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        given = self._call(A, b)
        got = _extracted(given, self._options["x"])
        if isinstance(got, tuple):
            raise TypeError(f"x: got a tuple of {len(got)} from {self.name}, wants x=0 or another way to find x in it")
        x = got.detach() if isinstance(got, torch.Tensor) else torch.as_tensor(np.asarray(got))
        wants = (*batch, A.shape[-1])
        if x.numel() != math.prod(wants):
            raise ValueError(f"x: got shape {tuple(x.shape)} from {self.name}, wants {wants}")
        x, status = x.to(A.dtype, copy=True).reshape(wants), torch.zeros(batch, dtype=torch.int64)
        if "status" in self.claims:
            ended = self._ended(given)
            if ended.dtype == torch.bool:
                ended = torch.where(ended, int(Status.CONVERGED), int(Status.MAX_ITERATIONS))
            status = ended.to(torch.int64).reshape(batch)
        return x, status


def _extracted(given: Any, how: Extractor | None) -> Any:
    """What `how` finds in what a function returned: a call, an index, a key or an attribute."""
    if how is None:
        return given
    if callable(how):
        return how(given)
    if isinstance(how, int) or isinstance(given, Mapping):
        return given[how]
    return getattr(given, how)


def adapt(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    x: Extractor | None = None,
    status: Extractor | None = None,
    family: Literal["numpy", "torch"] = "numpy",
    batch: Literal["loop", "native"] = "loop",
    dtypes: Sequence[str] = ("float64",),
    promises: Iterable[Promise | str] = (),
) -> Solver:
    """Make a function f(A, b) into a solver, to be checked or used as one.

        adapt(numpy.linalg.lstsq, x=0)
        adapt(scipy.optimize.lsq_linear, x="x", status=lambda found: found.success)

    Args:
        function: of a matrix (m, n) and a right-hand side (m,), or with `batch="native"` of batches of them.
        name: what to call it; the function's own name unless given.
        x: where in what it returns x (n,) is: a callable, an index, or the name of a key or attribute; None where
            it returns the solution itself.
        status: likewise how it ended: values of `Status`, or booleans, true for CONVERGED; None for a function that
            does not say, whose x counts whatever the problem. With booleans nothing is asked of its rank.
        family: "numpy" or "torch": what it is called with.
        batch: "loop" calls it once a problem, "native" once a batch.
        dtypes: what it takes, some of "float64", "float32".
        promises: what it holds to beyond its accuracy; nothing unless said.

    Returns:
        A solver. `check_solver` asks of it what is claimed here, and for its accuracy LAPACK's.

    Raises:
        TypeError: if the function cannot be called.
        ValueError: if an option is none of its choices.
    """  # noqa: DOC502 - raised by the checks that this calls
    if not callable(function):
        raise TypeError(f"function: got {type(function).__name__}, wants a function f(A, b)")
    require_choice("family", family, ("numpy", "torch"))
    require_choice("batch", batch, ("loop", "native"))
    chosen: Collection[str] = (dtypes,) if isinstance(dtypes, str) else dtypes
    for dtype in chosen:
        require_choice("dtypes", dtype, list(DTYPE_NAMES))
    options = {"x": x, "status": status, "family": family, "batch": batch, "dtypes": chosen, "promises": promises}
    called = name or str(getattr(function, "__name__", type(function).__name__))
    return Adapted(function, name=called, options=options)
