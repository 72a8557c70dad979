"""The parts of a page: a table, a figure or a passage of text."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
        frame: Its rows, of text, numbers and truth values. Its column names are what readers see.
        title: Its heading, what the table shows.
        caption: How its numbers are defined.
        formats: How a column of numbers is written: a format specification by column, such as ``{"MSE": ".1e"}``.

    Raises:
        ValueError: If there is no row, or a format is of no column.
    """

    frame: pd.DataFrame
    title: str
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", _checked_frame(self.frame, self.formats))


@dataclass(frozen=True, kw_only=True, eq=False)
class Figure:
    """A figure: y against x, one curve for each series.

    Args:
        name: Stem of its picture, ``<name>.png``: small letters, digits, hyphens, underscores.
        frame: One row a point. Points of one series are joined in the order of the rows.
        x: Column of the horizontal axis: numbers, or text for named places in order of appearance.
        y: Column of the vertical axis; NaN leaves a gap, an error of 0 on a logarithmic axis has a line of its own.
        title: The conclusion, one sentence: what the figure shows.
        caption: What was measured, and what the band is.
        series: Column that tells curves apart; empty for a single curve.
        group: Column of what curves belong together: they share a colour and differ in their dashes.
        low: Column of the lower edge of the band, such as the lower quartile; empty for no band.
        high: Column of its upper edge.
        panel: Column of panels, side by side, such as ``dtype``; empty for one.
        x_label: What is written at the horizontal axis; empty for the column's name.
        y_label: The same for the vertical axis.
        x_log: Whether the horizontal axis is logarithmic.
        y_log: Whether the vertical axis is logarithmic.
        lines: Levels to be marked, by label, such as ``{"u² of float64": 2.0**-106}``. One whose label ends with the
            name of a panel is marked in that panel alone.
        ceiling: Where the vertical axis ends at most; a curve leaves the figure there.
        joined: Whether the points of a series are joined by lines.
        ends: Whether the last value of a curve is written at its end.

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
    group: str = ""
    low: str = ""
    high: str = ""
    panel: str = ""
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = True
    lines: Mapping[str, float] = field(default_factory=dict)
    ceiling: float = float("inf")
    joined: bool = True
    ends: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name: got {self.name!r}, want small letters, digits, hyphens and underscores")
        named = [self.x, self.y, *filter(None, (self.series, self.group, self.low, self.high, self.panel))]
        object.__setattr__(self, "frame", _checked_frame(self.frame, named))
        if bool(self.low) != bool(self.high):
            raise ValueError("low and high make a band together: give both columns or none")
        for column in [*self.heights, *([] if self.x_named else [self.x])]:
            if not pd.api.types.is_numeric_dtype(self.frame[column]):
                raise ValueError(f"column {column!r} must hold numbers")
        if self.y_log and (self.frame[self.heights] < 0).any(axis=None):
            raise ValueError(f"{self.y!r} or its band holds a negative number, which a logarithmic axis cannot show")
        if self.x_log and not (self.frame[self.x] > 0).all():
            raise ValueError(f"{self.x!r} holds a number that is not positive, which a logarithmic axis cannot show")

    @property
    def heights(self) -> list[str]:
        """Columns that are drawn along the vertical axis."""
        return [self.y, *filter(None, (self.low, self.high))]

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

    def looks(self) -> dict[str, tuple[int, int]]:
        """Which colour and which dash each series has: by its group and its place there."""
        groups: dict[str, list[str]] = {}
        for name in self.curves:
            rows = self.frame[self.frame[self.series].map(str) == name] if self.series else self.frame
            groups.setdefault(str(rows[self.group].iloc[0]) if self.group else name, []).append(name)
        alone = not self.group  # by place in the order, dashes too
        return {
            name: (colour, colour if alone else place)
            for colour, names in enumerate(groups.values())
            for place, name in enumerate(names)
        }

    def levels(self, panel: str) -> dict[str, float]:
        """Levels to be marked in a panel, by label."""
        others = tuple(f" {name}" for name in self.panels if name != panel and name)
        return {label: value for label, value in self.lines.items() if not label.endswith(others)}

    def rows(self, series: str, panel: str) -> pd.DataFrame:
        """The rows of one curve, in their order."""
        chosen = np.ones(len(self.frame), dtype=bool)
        for column, value in ((self.series, series), (self.panel, panel)):
            if column:
                chosen &= (self.frame[column].map(str) == value).to_numpy()
        return self.frame[chosen].reset_index(drop=True)


Section = Table | Figure | Text


def _checked_frame(frame: pd.DataFrame, named: Iterable[str]) -> pd.DataFrame:
    if frame.empty:
        raise ValueError("the frame holds no row: there is nothing to show")
    frame = frame.reset_index(drop=True).rename(columns=str)
    for column in named:
        if column not in frame.columns:
            raise ValueError(f"no column {column!r}; there are {list(frame.columns)}")
    texts = {str(name): frame[name].map(str) for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    return frame.assign(**texts)
