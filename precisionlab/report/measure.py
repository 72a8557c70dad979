"""Measure solvers on the same problems: error against iteration, above every subject's precision.

The problems are given in float64. A subject that works in float32 gets them rounded to float32, and its errors are
against the solution of those rounded problems: what is measured is the solver, not the rounding of its input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from solvers import errors, reference
from solvers.solver import Solver

COLUMNS = ("solver", "dtype", "iteration", "problems", "mse_median", "mse_q25", "mse_q75", "mse_mean", "mse_max")
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}

Iterates = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x0 (B, n)) → iterates (T+1, B, n); a direct method gives one row."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A solver under measurement.

    Args:
        name: What the report calls it.
        iterates: What it does.
        dtype: What it works in.
        note: What the report says of it.
        seed: Of its checkpoint, or None.
        shape: Rows and unknowns it was trained on, or None.
    """

    name: str
    iterates: Iterates
    dtype: torch.dtype = torch.float64
    note: str = ""
    seed: int | None = None
    shape: tuple[int, int] | None = None


def traced(solver: Solver) -> Iterates:
    """The iterates of a solver.

    Args:
        solver: Which.

    Returns:
        Its trace, or its answer alone where it has none.
    """

    def iterates(A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        result = solver.solve(A, b, x0=x0, record=True)
        return torch.as_tensor(result.x).unsqueeze(0) if result.trace is None else torch.as_tensor(result.trace)

    return iterates


def measure(subjects: Sequence[Subject], A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor) -> pd.DataFrame:
    """Error against iteration.

    Args:
        subjects: Solvers of distinct names.
        A: Matrices, (B, m, n), float64.
        b: Right-hand sides, (B, m).
        x0: Starting points, (B, n).

    Returns:
        A frame with `COLUMNS`: a row for each subject and iteration. A problem that diverged counts as infinitely
        wrong.
    """
    references: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor]] = {}
    frames = []
    for subject in subjects:
        given = [tensor.to(subject.dtype) for tensor in (A, b, x0)]
        if subject.dtype not in references:
            hi, lo = reference.solve_exact(given[0].double(), given[1].double())
            references[subject.dtype] = torch.as_tensor(hi), torch.as_tensor(lo)
        mse = torch.as_tensor(errors.mse(subject.iterates(*given), references[subject.dtype]))
        dtype = str(subject.dtype).removeprefix("torch.")
        frames.append(quartiles(mse).assign(solver=subject.name, dtype=dtype)[list(COLUMNS)])
    return pd.concat(frames, ignore_index=True)


def quartiles(mse: torch.Tensor) -> pd.DataFrame:
    """Errors over problems, by iteration.

    Args:
        mse: (T+1, B).

    Returns:
        The columns from `iteration` on; quantiles are errors of single problems.
    """
    ordered = mse.double().nan_to_num(nan=float("inf")).sort(dim=1).values.numpy()
    steps, count = ordered.shape

    def quantile(q: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        picked: np.ndarray[Any, np.dtype[np.float64]] = ordered[:, round(q * (count - 1))]
        return picked

    return pd.DataFrame({
        "iteration": np.arange(steps),
        "problems": count,
        "mse_median": quantile(0.5),
        "mse_q25": quantile(0.25),
        "mse_q75": quantile(0.75),
        "mse_mean": ordered.mean(axis=1),
        "mse_max": ordered[:, -1],
    })
