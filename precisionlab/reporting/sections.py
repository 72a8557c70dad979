"""The parts of a page: a table, a figure or a passage of text. What they show is data, saved beside the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, kw_only=True)
class Text:
    """A passage of text.

    Args:
        body: Paragraphs, separated by blank lines; a line that starts with four spaces is shown as code.
        title: Its heading; empty for none.

    Raises:
        ValueError: If the body is blank.
    """

    body: str
    title: str = ""

    def __post_init__(self) -> None:
        if not self.body.strip():
            raise ValueError("body must not be blank")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A table.

    Args:
        name: Stem of the file that it is saved in, ``<name>.csv``: small letters, digits, hyphens, underscores.
        frame: Its rows, of text, numbers and truth values. Its column names are what readers see.
        title: Its heading, what the table shows.
        caption: How its numbers are defined.
        formats: How a column of numbers is written: a format specification by column, such as ``{"MSE": ".1e"}``.

    Raises:
        ValueError: If the name does not suit a file, there is no row, or a format is of no column.
    """

    name: str
    frame: pd.DataFrame
    title: str
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "frame", _checked_frame(self.frame))
        _check_columns(self.frame, self.formats)


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A figure: y against x, one curve for each series.

    It is drawn twice, as ``<name>.png`` and as a chart from which a reader reads values off.

    Args:
        name: Stem of its files, ``<name>.csv`` and ``<name>.png``: small letters, digits, hyphens, underscores.
        frame: One row a point. Points of one series are joined in the order of the rows.
        x: Column of the horizontal axis: numbers, or text for named places in order of appearance.
        y: Column of the vertical axis; NaN leaves a gap, an error of 0 on a logarithmic axis has a line of its own.
        title: The conclusion, one sentence: what the figure shows.
        caption: What was measured, and what the band is.
        series: Column that tells curves apart; empty for a single curve.
        low: Column of the lower edge of the band, such as the lower quartile; empty for no band.
        high: Column of its upper edge.
        panel: Column of panels, such as ``dtype``: side by side in the picture, a switch on the page; empty for one.
        x_label: What is written at the horizontal axis; empty for the column's name.
        y_label: The same for the vertical axis.
        x_log: Whether the horizontal axis is logarithmic.
        y_log: Whether the vertical axis is logarithmic.
        lines: Levels to be marked, by label, such as ``{"u² of float64": 2.0**-106}``. One whose label ends with the
            name of a panel is marked in that panel alone.
        joined: Whether the points of a series are joined by lines.

    Raises:
        ValueError: If the name does not suit a file, there is no row, a column is missing, or a logarithmic axis is
            asked to hold a number that it cannot show.
    """

    name: str
    frame: pd.DataFrame
    x: str
    y: str
    title: str
    caption: str = ""
    series: str = ""
    low: str = ""
    high: str = ""
    panel: str = ""
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = True
    lines: Mapping[str, float] = field(default_factory=dict)
    joined: bool = True

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "frame", _checked_frame(self.frame))
        named = [self.x, self.y, *filter(None, (self.series, self.low, self.high, self.panel))]
        _check_columns(self.frame, named)
        if bool(self.low) != bool(self.high):
            raise ValueError("low and high make a band together: give both columns or none")
        numeric = [self.y, *filter(None, (self.low, self.high))] + ([] if self.x_named else [self.x])
        for column in numeric:
            if not pd.api.types.is_numeric_dtype(self.frame[column]):
                raise ValueError(f"column {column!r} must hold numbers")
        if self.y_log and (self.frame[[c for c in (self.y, self.low, self.high) if c]] < 0).any(axis=None):
            raise ValueError(f"{self.y!r} or its band holds a negative number, which a logarithmic axis cannot show")
        if self.x_log and not (self.frame[self.x] > 0).all():
            raise ValueError(f"{self.x!r} holds a number that is not positive, which a logarithmic axis cannot show")

    @property
    def x_named(self) -> bool:
        """Whether the horizontal axis has named places."""
        return not pd.api.types.is_numeric_dtype(self.frame[self.x])

    @property
    def curves(self) -> list[str]:
        """The series, in order of appearance; one of no name where there is no column of them."""
        return [str(name) for name in self.frame[self.series].unique()] if self.series else [""]

    @property
    def panels(self) -> list[str]:
        """The panels, in order of appearance; one of no name where there is no column of them."""
        return [str(name) for name in self.frame[self.panel].unique()] if self.panel else [""]

    def levels(self, panel: str) -> dict[str, float]:
        """Select the levels to be marked in a panel.

        Args:
            panel: One of ``panels``.

        Returns:
            Levels by label.
        """
        others = tuple(f" {name}" for name in self.panels if name != panel and name)
        return {label: value for label, value in self.lines.items() if not label.endswith(others)}

    def rows(self, series: str, panel: str) -> pd.DataFrame:
        """Select one curve.

        Args:
            series: One of ``curves``.
            panel: One of ``panels``.

        Returns:
            Its rows, in their order.
        """
        chosen = np.ones(len(self.frame), dtype=bool)
        for column, value in ((self.series, series), (self.panel, panel)):
            if column:
                chosen &= (self.frame[column].map(str) == value).to_numpy()
        return self.frame[chosen].reset_index(drop=True)


Section = Table | Figure | Text


def described(section: Section) -> dict[str, object]:
    """All of a section but its data, for JSON.

    Args:
        section: The section.

    Returns:
        Its kind, its fields, and the kind of each column of its frame.
    """
    facts: dict[str, object] = {"kind": type(section).__name__.lower()}
    for one in fields(section):
        value = getattr(section, one.name)
        if isinstance(value, pd.DataFrame):
            facts["columns"] = column_kinds(value)
        else:
            facts[one.name] = dict(value) if isinstance(value, Mapping) else value
    return facts


def restored(facts: Mapping[str, object], folder: Path) -> Section:
    """Undo ``described``.

    Args:
        facts: What it gave.
        folder: Where the data lie.

    Returns:
        The section.

    Raises:
        ValueError: If the facts are of no section.
    """
    kinds: dict[str, Callable[..., Section]] = {"table": Table, "figure": Figure, "text": Text}
    given = dict(facts)
    kind, columns = str(given.pop("kind", "")), given.pop("columns", None)
    if kind not in kinds:
        raise ValueError(f"no section is of kind {kind!r}; there are {sorted(kinds)}")
    if isinstance(columns, Mapping):
        named = {str(name): str(column) for name, column in columns.items()}
        given["frame"] = read_csv(folder / f"{given['name']}.csv", named)
    return kinds[kind](**given)


def to_csv(frame: pd.DataFrame) -> str:
    """Write a frame as text, every float to its last bit.

    Args:
        frame: The frame.

    Returns:
        CSV with a header.
    """
    return str(frame.to_csv(index=False, na_rep="nan", lineterminator="\n"))


def read_csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Undo ``to_csv``, bit for bit.

    Args:
        path: The file.
        columns: What ``column_kinds`` gave.

    Returns:
        The frame.
    """
    # Python's own conversion is exact in every version of pandas, and no text is mistaken for a missing value.
    readers: dict[str, Callable[[str], object]] = {"int": int, "float": float, "bool": "True".__eq__, "text": str}
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.DataFrame({name: [readers[kind](cell) for cell in frame[name]] for name, kind in columns.items()})


def column_kinds(frame: pd.DataFrame) -> dict[str, str]:
    """What each column of a frame holds.

    Args:
        frame: The frame.

    Returns:
        ``int``, ``float``, ``bool`` or ``text`` by column.
    """
    return {name: _kind(frame[name]) for name in map(str, frame.columns)}


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if pd.api.types.is_integer_dtype(column):
        return "int"
    return "float" if pd.api.types.is_float_dtype(column) else "text"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name: got {name!r}, want small letters, digits, hyphens and underscores")


def _checked_frame(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        raise ValueError("the frame holds no row: there is nothing to show")
    frame = frame.reset_index(drop=True).rename(columns=str)
    texts = {name: frame[name].map(str) for name in map(str, frame.columns) if _kind(frame[name]) == "text"}
    return frame.assign(**texts)


def _check_columns(frame: pd.DataFrame, named: object) -> None:
    for column in named if isinstance(named, (list, Mapping)) else []:
        if column not in frame.columns:
            raise ValueError(f"no column {column!r}; there are {list(frame.columns)}")
