"""How problems are drawn, and an easier draw to begin with.

The tasks of the paper draw A ~ N(0, I). Then AᵀA/N is within √(n/N) of the identity, and a model does well by taking it
for the identity: the gradient it emits lacks only (AᵀA/N − I) x₀, of mean square (n + 1)/N. That is a plateau on which
models with many products to form can rest for good. With only a few `active_rows`, the others zero and these scaled by
√(N/k) so that the mean of AᵀA/N stays the identity, its spread is N/k times larger, and the identity no longer does.

Attention has another. Token 0 takes part in its own sum and adds x₀‖x₀‖² to the gradient, divided by N + 1. The best
multiple of x₀ cancels it but for a mean square of 2 (n + 2)/(N + 1)², small beside the target and smaller the larger
the problem; a model that has not learned to tell token 0 from the rows rests there. With x₀ `iterate_scale` times as
long the term grows by the cube of that, the gradient at most by its first power.

What solves such problems exactly solves all, so a phase may train on them (its `easier`) on the way to the paper's.
"""

from typing import Annotated

import torch
from pydantic import Field

from precisionlab.tasks.layout import Problem

Unknowns = Annotated[int, Field(gt=0, le=2**10)]
Rows = Annotated[int, Field(gt=0, le=2**20)]
LARGEST = 2**22
"""Entries of one problem: a configuration that asks for more is a mistake or an attack, and is refused unallocated."""


def want_problem(*, rows: int, n: int, active_rows: int | None = None) -> None:
    """Check the shape of a task's problems.

    Args:
        rows: Rows of A.
        n: Unknowns.
        active_rows: How many rows are not zero; None for all.

    Raises:
        ValueError: If there are fewer rows than unknowns or than are active, or a problem is too large.
    """
    if rows < n:
        raise ValueError(f"rows must be at least n, got rows={rows} and n={n}")
    if rows * n > LARGEST:
        raise ValueError(f"a problem would hold {rows * n:.0e} numbers, want at most {LARGEST:.0e}")
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
