"""Curves as an iterated solver draws them, for tests alone: geometric descent onto a floor that wobbles."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from precisionlab.reporting import RESULT_COLUMNS, Curves, Meta, ProblemSet

PROBLEMS = 4096


def iterated(
    solver: str, *, dtype: str = "float64", floor: float = 3e-31, rate: float = 0.45, steps: int = 200, seed: int = 0
) -> list[tuple[object, ...]]:
    wobble = np.random.default_rng(seed).normal(0.0, 0.05, size=steps + 1)
    median = 2.0 * rate ** np.arange(steps + 1.0) + floor * 10.0**wobble
    return rows(solver, dtype, median)


def direct(solver: str, *, dtype: str = "float64", floor: float = 4e-32) -> list[tuple[object, ...]]:
    return rows(solver, dtype, np.array([floor]))


def rows(solver: str, dtype: str, median: np.ndarray) -> list[tuple[object, ...]]:
    return [
        (solver, dtype, step, PROBLEMS, m, m * 0.3, m * 4.0, m * 9.0, m * 800.0)
        for step, m in enumerate(median.tolist())
    ]


def curves(*parts: list[tuple[object, ...]], summary: pd.DataFrame | None = None) -> Curves:
    frame = pd.DataFrame([row for part in parts for row in part], columns=list(RESULT_COLUMNS))
    return Curves(frame=frame, summary=summary)


def typical() -> Curves:
    learned = "linear-attention/explicit-gradient"
    return curves(
        iterated(learned, floor=3.1e-31, seed=1),
        iterated(learned, dtype="float32", floor=2.4e-13, seed=2),
        iterated("gradient-descent", floor=2.2e-31, seed=3),
        iterated("gradient-descent", dtype="float32", floor=5.2e-15, seed=4),
        iterated("softmax/explicit-gradient", floor=1.3e-2, rate=0.8, seed=5),
        direct("qr"),
        direct("qr", dtype="float32", floor=1.1e-14),
        direct("reference", floor=0.0),
    )


def meta(**changes: object) -> Meta:
    given: dict[str, object] = {
        "title": "Learned gradient descent at the float64 floor",
        "command": "precisionlab report linear-attention/explicit-gradient gradient-descent qr --out reports/demo",
        "problems": ProblemSet(n=5, rows=20, count=PROBLEMS, seed=0, distribution="A, x, x0 ~ N(0, I), b = A x"),
        "reference": "mpmath Householder QR, 50 digits, correctly rounded",
        "environment": {"python": "3.11.7", "packages": {"torch": "2.13.0", "numpy": "2.4.6"}, "threads": 2},
        "notes": ("Step size 2/(λ_max + λ_min) of each problem.",),
        "generated_at": datetime(2026, 5, 4, 12, 30, tzinfo=UTC),
        **changes,
    }
    return Meta(**given)  # type: ignore[arg-type]
