"""How problems are drawn, and an easier draw to begin with.

The tasks of the paper draw A ~ N(0, I). Then AᵀA/N is within √(n/N) of the identity, and a model does well by taking it
for the identity: the gradient it emits lacks only (AᵀA/N − I) x₀, of mean square (n + 1)/N. That is a plateau on which
models with many products to form can rest for good. With only a few `active_rows`, the others zero and these scaled by
√(N/k) so that the mean of AᵀA/N stays the identity, its spread is N/k times larger, and the identity no longer does.
What solves one exactly solves the other, so a phase may train on the first and be judged on the other.
"""

import dataclasses
from typing import Any

import torch

from precisionlab.tasks.layout import Problem


def want_active_rows(active_rows: int | None, rows: int) -> None:
    """Check a task's choice of active rows.

    Args:
        active_rows: How many are not zero; None for all.
        rows: Of a problem.

    Raises:
        ValueError: If there are fewer rows than that.
    """
    if active_rows is not None and active_rows > rows:
        raise ValueError(f"active_rows must be at most rows, got {active_rows} of {rows}")


def gaussian(
    batch: int, rows: int, n: int, *, generator: torch.Generator, dtype: torch.dtype, active_rows: int | None = None
) -> Problem:
    """Draw A, x, x₀ ~ N(0, I), b = A x.

    Args:
        batch: Number of problems, B.
        rows: Rows of A, N.
        n: Unknowns.
        generator: A CPU generator; the same state gives the same batch.
        dtype: float32 or float64.
        active_rows: How many rows, at random places, are not zero; None for all.

    Returns:
        Rows (B, N, n), right-hand sides (B, N), x₀ (B, n).
    """
    A = torch.randn(batch, rows, n, dtype=dtype, generator=generator)
    x, x0 = torch.randn(2, batch, n, dtype=dtype, generator=generator)
    if active_rows is not None:
        rank = torch.rand(batch, rows, generator=generator).argsort(dim=-1)
        A = A * (rank < active_rows).to(dtype).unsqueeze(-1) * (rows / active_rows) ** 0.5
    return Problem(A, (A @ x.unsqueeze(-1)).squeeze(-1), x0)


def eased(task: Any, active_rows: int) -> Any:
    """The same task, its problems drawn with few active rows.

    Args:
        task: A task that draws rows.
        active_rows: How many are not zero.

    Returns:
        The task.

    Raises:
        ValueError: If the task has no such choice, or fewer rows.
    """
    if not hasattr(task, "active_rows"):
        raise ValueError(f"active_rows: the task {task.kind!r} draws no rows of which some could be zero")
    return dataclasses.replace(task, active_rows=active_rows)
