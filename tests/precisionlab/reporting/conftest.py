"""Curves as an iterated solver draws them, for tests alone: geometric descent onto a floor that wobbles."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from precisionlab.reporting import RESULT_COLUMNS, Curves, Meta, ProblemSet

PROBLEMS = 4096
LEARNED = "linear-attention/explicit-gradient"

Rows = list[tuple[object, ...]]


class Synthetic:
    """Makers of curves; each returns rows, and ``curves`` puts rows together."""

    learned = LEARNED
    problems = PROBLEMS

    @staticmethod
    def rows(solver: str, median: object, *, dtype: str = "float64") -> Rows:
        errors = [float(m) for m in np.atleast_1d(np.asarray(median, dtype=np.float64))]
        return [(solver, dtype, t, PROBLEMS, m, m * 0.3, m * 4.0, m * 9.0, m * 800.0) for t, m in enumerate(errors)]

    def iterated(
        self, solver: str, *, dtype: str = "float64", floor: float = 3e-31, rate: float = 0.45, steps: int = 200
    ) -> Rows:
        wobble = np.random.default_rng(len(solver)).normal(0.0, 0.05, size=steps + 1)
        return self.rows(solver, 2.0 * rate ** np.arange(steps + 1.0) + floor * 10.0**wobble, dtype=dtype)

    def direct(self, solver: str, *, dtype: str = "float64", floor: float = 4e-32) -> Rows:
        return self.rows(solver, floor, dtype=dtype)

    @staticmethod
    def frame(*parts: Rows) -> pd.DataFrame:
        return pd.DataFrame([row for part in parts for row in part], columns=list(RESULT_COLUMNS))

    def curves(self, *parts: Rows, summary: pd.DataFrame | None = None) -> Curves:
        return Curves(frame=self.frame(*parts), summary=summary)

    def typical(self) -> Curves:
        return self.curves(
            self.iterated(LEARNED, floor=3.1e-31),
            self.iterated(LEARNED, dtype="float32", floor=2.4e-13),
            self.iterated("gradient-descent", floor=2.2e-31),
            self.iterated("gradient-descent", dtype="float32", floor=5.2e-15),
            self.iterated("softmax/explicit-gradient", floor=1.3e-2, rate=0.8),
            self.direct("qr"),
            self.direct("qr", dtype="float32", floor=1.1e-14),
            self.direct("reference", floor=0.0),
        )

    def diverging(self) -> Curves:
        growth = 2.0 * 50.0 ** np.minimum(np.arange(201.0), 170.0)
        growth[171:] = np.inf
        return self.curves(
            self.iterated(LEARNED, floor=3.1e-31),
            self.rows("overshooting", growth),
            self.rows("lost", [1.0, np.nan, np.nan]),
        )

    @staticmethod
    def meta(**changes: object) -> Meta:
        given: dict[str, object] = {
            "title": "Learned gradient descent at the float64 floor",
            "command": f"precisionlab report {LEARNED} gradient-descent qr --out reports/demo",
            "problems": ProblemSet(n=5, rows=20, count=PROBLEMS, seed=0, distribution="A, x, x0 ~ N(0, I), b = A x"),
            "reference": "mpmath Householder QR, 50 digits, correctly rounded",
            "environment": {"python": "3.11.7", "packages": {"torch": "2.13.0"}, "threads": 2},
            "notes": ("The step size is 2/(λ_max + λ_min) of each problem.",),
            "generated_at": datetime(2026, 5, 4, 12, 30, tzinfo=UTC),
            **changes,
        }
        return Meta(**given)


@pytest.fixture(name="made", scope="session")
def fixture_made() -> Synthetic:
    return Synthetic()
