"""Curves as iterated solvers draw them, for tests alone."""

from collections.abc import Sequence

import pandas as pd

from precisionlab.report.measure import COLUMNS

LEARNED = "linear-attention/explicit-gradient"
Rows = list[tuple[object, ...]]


def rows(solver: str, median: Sequence[float] | float, *, dtype: str = "float64") -> Rows:
    """One solver: the median at each iteration, the other columns in proportion."""
    errors = [median] if isinstance(median, float) else list(median)
    return [(solver, dtype, t, 4096, m, m * 0.3, m * 4.0, m * 9.0, m * 800.0) for t, m in enumerate(errors)]


def frame(*parts: Rows) -> pd.DataFrame:
    """Solvers together."""
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


def three(alone: float, whole: float, control: float, *, dtype: str = "float64") -> Rows:
    """A learned solver, its model alone and its control."""
    ends = {f"{LEARNED}": whole, f"{LEARNED}, alone": alone, f"{LEARNED}, control": control}
    return [row for name, end in ends.items() for row in rows(name, [1.0, 1e-9, end], dtype=dtype)]
