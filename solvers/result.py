"""What a solver answers: a solution per problem, and how it ended.

A batch holds many problems and they do not all end alike. Each carries its own status, so nothing about one problem
has to be said by an exception that loses the others, and nothing has to be guessed from a NaN.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = torch.Tensor | npt.NDArray[Any]


class Status(IntEnum):
    """How one problem ended.

    CONVERGED: the solver's documented stopping rule (or, for a direct method, its documented bound) holds.
    MAX_ITERATIONS: the iteration cap came first; `x` is the last iterate.
    BREAKDOWN: the arithmetic failed (overflow, a lost pivot); `x` is not to be used and may hold NaN or inf.
    RANK_DEFICIENT: the columns of A are dependent to working precision, so the minimiser is not unique.
    """

    CONVERGED = 0
    MAX_ITERATIONS = 1
    BREAKDOWN = 2
    RANK_DEFICIENT = 3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LstsqResult:
    """The answer to a batch of least-squares problems.

    Args:
        x: solutions, (..., n), of the family, dtype and device of the input.
        status: a `Status` value per problem, (...), integer.
        iterations: iterations spent on each problem, (...), integer; 0 for a direct method.
        residual_norm: ‖b − A x‖₂ of the answer, (...), taken afresh from A, b and x, or from the factorisation that
            gave x; inf where x is not finite. It is rounding below about m n u ‖A‖‖x‖.
        condition: κ of A with its columns brought to comparable size, or, of an iteration, which depends on the units
            of the unknowns, of A as it stands, (...): at least κ₂, at most n κ₂; inf where a column is zero. None where
            a method does not factor A. An answer of relative accuracy c u κ^p (see `Solver.condition_power`) has no
            digit left where that is 1.
        trace: the iterates, (T+1, ..., n) with T the largest of `iterations`, where they were asked for; a problem
            that stopped early stays at its last iterate. Row 0 is the starting point; a direct method has one row.
    """

    x: Array
    status: Array
    iterations: Array
    residual_norm: Array | None = None
    condition: Array | None = None
    trace: Array | None = None

    @property
    def converged(self) -> Array:
        """Which problems converged.

        Returns:
            Booleans, (...), of the family of `x`.
        """
        converged: Array = self.status == int(Status.CONVERGED)
        return converged

    def counts(self) -> dict[Status, int]:
        """How many problems ended in each status.

        Returns:
            Every status, in order, with its count.
        """
        flat = self.status.reshape(-1)
        return {status: int((flat == int(status)).sum()) for status in Status}

    def _facts(self) -> list[tuple[str, str]]:
        family = "torch" if isinstance(self.x, torch.Tensor) else "numpy"
        facts = [("x", f"{tuple(self.x.shape)} {str(self.x.dtype).removeprefix('torch.')} ({family})")]
        ended = [f"{count} {status.name}" for status, count in self.counts().items() if count]
        facts.append(("status", ", ".join(ended) or "no problems"))
        flat = self.iterations.reshape(-1)
        if len(flat):
            low, high = int(flat.min()), int(flat.max())
            facts.append(("iterations", str(low) if low == high else f"{low} to {high}"))
        for name, values in (("residual norm", self.residual_norm), ("condition", self.condition)):
            if values is not None and values.reshape(-1).shape[0]:
                least, most = float(values.min()), float(values.max())
                facts.append((name, f"{least:.2g}" if least == most else f"{least:.2g} to {most:.2g}"))
        if self.trace is not None:
            facts.append(("trace", str(tuple(self.trace.shape))))
        return facts

    def __repr__(self) -> str:
        return f"LstsqResult({'; '.join(f'{key}: {value}' for key, value in self._facts())})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{key}</th><td style='text-align:left'>{value}</td></tr>"
            for key, value in self._facts()
        )
        return f"<table>{rows}</table>"


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[np.generic]:
    """A tensor as an array.

    Args:
        tensor: of any shape, dtype and device.

    Returns:
        The array, of the same memory where that is the CPU's.
    """
    array: npt.NDArray[np.generic] = tensor.numpy(force=True)
    return array
