"""What a report is made from: the curves that were measured, and what must be said about them.

A row of the frame is one (solver, dtype, iteration); it summarises the mean squared error against the reference over
all problems. A direct solver has one answer and so one row, whose iteration is 0. The last iterate is what counts: a
floor is always the row of the last iteration, never the smallest on the way.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from types import MappingProxyType

import numpy as np
import pandas as pd

RESULT_COLUMNS = (
    "solver",
    "dtype",
    "iteration",
    "problems",
    "mse_median",
    "mse_q25",
    "mse_q75",
    "mse_mean",
    "mse_max",
)
MSE_COLUMNS = RESULT_COLUMNS[4:]
KEY_COLUMNS = ("solver", "dtype")

UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType({
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
})


@dataclass(frozen=True, kw_only=True)
class ProblemSet:
    """The problems that every solver of a report was given.

    Args:
        n: Number of unknowns.
        rows: Number of rows of ``A``.
        count: Number of problems.
        seed: Seed of their generator, or None where they were given as data.
        distribution: One phrase on how they were drawn, such as ``"A, x, x0 ~ N(0, I)"``.

    Raises:
        ValueError: If ``n``, ``rows`` or ``count`` is not positive.
    """

    n: int
    rows: int
    count: int
    seed: int | None = None
    distribution: str = ""

    def __post_init__(self) -> None:
        for name in ("n", "rows", "count"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def sentence(self) -> str:
        """Describe the problems in one phrase.

        Returns:
            A phrase such as ``4,096 problems with 20 rows and 5 unknowns (A ~ N(0, I); seed 0)``.
        """
        details = [self.distribution] if self.distribution else []
        if self.seed is not None:
            details.append(f"seed {self.seed}")
        problems = "1 problem" if self.count == 1 else f"{self.count:,} problems"
        phrase = f"{problems} with {self.rows:,} rows and {self.n:,} unknowns"
        return f"{phrase} ({'; '.join(details)})" if details else phrase

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence())}</p>"


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a report says beyond its numbers.

    Args:
        title: Heading of the page.
        command: The command line that makes this report again.
        problems: The problems that were solved.
        reference: How the reference solution was computed.
        environment: What the numbers were produced with; values that JSON can hold, nested or not.
        notes: Further remarks, one sentence or more each.
        subjects: Solvers that the conclusion is about; empty means the first solver that is not the baseline.
        baseline: Solver whose floor the ratios are taken to.
        error: How the error of one problem is defined.
        generated_at: When the report was made; a time with its zone.

    Raises:
        ValueError: If the title is blank or the time has no zone.
    """

    title: str
    command: str
    problems: ProblemSet
    reference: str
    environment: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    baseline: str = "gradient-descent"
    error: str = "mean over the unknowns of (x − x_ref)², one number per problem"
    generated_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ValueError("title must not be blank")
        if self.generated_at.tzinfo is None:
            raise ValueError(f"generated_at must carry a time zone, got {self.generated_at!r}")
        for name in ("notes", "subjects"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise TypeError(f"{name} must be a sequence of strings, got the string {value!r}")
            object.__setattr__(self, name, tuple(value))


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Error against iteration, of every solver in every dtype.

    Args:
        frame: One row per (solver, dtype, iteration), with the columns of ``RESULT_COLUMNS`` in that order. Errors are
            non-negative; NaN and inf mean that the solver diverged, and 0 that it agrees with the reference exactly. A
            direct solver has a single row, at iteration 0.
        summary: Further columns for the table, one row per (solver, dtype): ``solver``, ``dtype``, then any others. A
            column ``digits`` replaces the digits that the table derives from the floor.

    Raises:
        ValueError: If there is no row, a column is missing, unknown or out of order, a row is repeated, or a value is
            out of range.
    """

    frame: pd.DataFrame
    summary: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _checked_frame(self.frame))
        if self.summary is not None:
            object.__setattr__(self, "summary", _checked_summary(self.summary, self.frame))

    @property
    def solvers(self) -> list[str]:
        """Solvers, in the order in which they were given."""
        return [str(name) for name in self.frame["solver"].unique()]

    @property
    def dtypes(self) -> list[str]:
        """Dtypes present, most precise first."""
        present = set(self.frame["dtype"])
        return [name for name in sorted(UNIT_ROUNDOFF, key=UNIT_ROUNDOFF.__getitem__) if name in present]

    def curve(self, solver: str, dtype: str) -> pd.DataFrame:
        """Select one curve.

        Args:
            solver: Name of the solver.
            dtype: Name of the dtype.

        Returns:
            Its rows by iteration; empty where that solver was not run in that dtype.
        """
        chosen = (self.frame["solver"] == solver) & (self.frame["dtype"] == dtype)
        return self.frame[chosen].reset_index(drop=True)

    def last_iterates(self) -> pd.DataFrame:
        """Select the rows that count.

        Returns:
            The row of the last iteration of each (solver, dtype), in the order in which they were given.
        """
        return self.frame.groupby(list(KEY_COLUMNS), sort=False).tail(1).reset_index(drop=True)

    def to_csv(self) -> str:
        """Write the frame as the text of ``results.csv``, every float to its last bit.

        Returns:
            The text; ``read_results`` gives the same frame back.
        """
        return str(self.frame.to_csv(index=False, na_rep="nan", lineterminator="\n"))


def read_results(text: str) -> pd.DataFrame:
    """Read the text of a ``results.csv``.

    Args:
        text: What ``Curves.to_csv`` wrote.

    Returns:
        The frame, bit for bit, also where a solver is called ``nan`` or ``null``.
    """
    # Python's own conversion is exact in every version of pandas, and no name is mistaken for a missing value.
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    numbers = dict.fromkeys(("iteration", "problems"), np.int64) | dict.fromkeys(MSE_COLUMNS, np.float64)
    return frame.assign(**{name: [kind(value) for value in frame[name]] for name, kind in numbers.items()})


def _checked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    _check_columns(frame)
    if frame.empty:
        raise ValueError("the results hold no row: there is nothing to report")
    frame = frame.reset_index(drop=True).copy()
    for name in KEY_COLUMNS:
        frame[name] = frame[name].map(str)
    if (frame["solver"].str.strip() == "").any():
        raise ValueError("column solver holds a blank name")
    _check_dtypes(frame)
    for name, least in (("iteration", 0), ("problems", 1)):
        frame[name] = _checked_integers(frame[name], least)
    for name in MSE_COLUMNS:
        frame[name] = frame[name].astype(np.float64)
        if (frame[name] < 0).any():
            raise ValueError(f"column {name} holds a negative number; a squared error is never below 0")
    keys = [*KEY_COLUMNS, "iteration"]
    if frame.duplicated(keys).any():
        first = frame.loc[frame.duplicated(keys), keys].iloc[0].tolist()
        raise ValueError(f"the results hold {first} more than once")
    return _in_order(frame)


def _check_columns(frame: pd.DataFrame) -> None:
    got, wanted = [str(name) for name in frame.columns], list(RESULT_COLUMNS)
    if got == wanted:
        return
    missing = [name for name in wanted if name not in got]
    unknown = [name for name in got if name not in wanted]
    if missing or unknown:
        raise ValueError(f"the results lack {missing} and have unknown {unknown}; the columns are {wanted}")
    raise ValueError(f"the columns are out of order: got {got}, want {wanted}")


def _check_dtypes(frame: pd.DataFrame) -> None:
    for name in frame["dtype"].unique():
        if name not in UNIT_ROUNDOFF:
            near = get_close_matches(name, UNIT_ROUNDOFF, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown dtype {name!r}, known are {list(UNIT_ROUNDOFF)}{hint}")


def _checked_integers(column: pd.Series, least: int) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any() or (numbers != np.floor(numbers)).any() or (numbers < least).any():
        raise ValueError(f"column {column.name} must hold integers of at least {least}")
    return numbers.astype(np.int64)


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    # By iteration within each curve; the curves stay in the order in which they were given.
    order = frame.groupby(list(KEY_COLUMNS), sort=False).ngroup()
    by_curve = frame.assign(_order=order).sort_values(["_order", "iteration"], kind="stable")
    return by_curve.drop(columns="_order").reset_index(drop=True)


def _checked_summary(summary: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    if list(summary.columns[:2]) != list(KEY_COLUMNS):
        raise ValueError(f"summary must begin with the columns {list(KEY_COLUMNS)}, got {list(summary.columns)}")
    summary = summary.reset_index(drop=True).copy()
    for name in KEY_COLUMNS:
        summary[name] = summary[name].map(str)
    if summary.duplicated(list(KEY_COLUMNS)).any():
        raise ValueError("summary holds a (solver, dtype) more than once")
    known = set(zip(frame["solver"], frame["dtype"], strict=True))
    for key in zip(summary["solver"], summary["dtype"], strict=True):
        if key not in known:
            raise ValueError(f"summary speaks of {key}, which the results do not hold")
    return summary
