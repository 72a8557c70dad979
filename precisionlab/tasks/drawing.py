"""How problems are drawn, and an easier draw to begin with.

The tasks of the paper draw A ~ N(0, I). Then AᵀA/N is within √(n/N) of the identity, and a model does well by taking it
for the identity: the gradient it emits lacks only (AᵀA/N − I) x₀, of mean square (n + 1)/N. That is a plateau on which
models with many products to form can rest for good. With only a few `active_rows`, the others zero and these scaled by
√(N/k) so that the mean of AᵀA/N stays the identity, its spread is N/k times larger, and the identity no longer does.

Attention has another. Token 0 takes part in its own sum and adds x₀‖x₀‖² to the gradient, divided by N + 1. The best
multiple of x₀ cancels it but for a mean square of 2 (n + 2)/(N + 1)², small beside the target and smaller the larger
the problem; a model that has not learned to tell token 0 from the rows rests there. With x₀ `iterate_scale` times as
long the term grows by the cube of that, the gradient at most by its first power.

What solves such problems exactly solves all, so a phase may train on them and be judged on those of the paper.
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
    batch: int,
    rows: int,
    n: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype,
    active_rows: int | None = None,
    iterate_scale: float = 1.0,
) -> Problem:
    """Draw A, x, x₀/s ~ N(0, I), b = A x.

    Args:
        batch: Number of problems, B.
        rows: Rows of A, N.
        n: Unknowns.
        generator: A CPU generator; the same state gives the same batch.
        dtype: float32 or float64.
        active_rows: How many rows, at random places, are not zero; None for all.
        iterate_scale: s.

    Returns:
        Rows (B, N, n), right-hand sides (B, N), x₀ (B, n).
    """
    A = torch.randn(batch, rows, n, dtype=dtype, generator=generator)
    x, x0 = torch.randn(2, batch, n, dtype=dtype, generator=generator)
    if active_rows is not None:
        rank = torch.rand(batch, rows, generator=generator).argsort(dim=-1)
        A = A * (rank < active_rows).to(dtype).unsqueeze(-1) * (rows / active_rows) ** 0.5
    return Problem(A, (A @ x.unsqueeze(-1)).squeeze(-1), iterate_scale * x0)


def eased(task: Any, **easings: float | None) -> Any:
    """The same task, its problems drawn more easily.

    Args:
        task: A task.
        **easings: Fields of the task and the values they take meanwhile; one of None is left as it is.

    Returns:
        The task.

    Raises:
        ValueError: If the task has no such choice, or refuses the value.
    """
    asked = {name: value for name, value in easings.items() if value is not None}
    for name in asked:
        if not hasattr(task, name):
            raise ValueError(f"{name}: the task {task.kind!r} has no such choice")
    return dataclasses.replace(task, **asked) if asked else task
