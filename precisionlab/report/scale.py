"""Where values lie along an axis of a figure: linear, logarithmic by decades, or named places.

An error of 0 has no place on a logarithmic axis: it is drawn on a line of its own below all others, labelled 0.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from precisionlab.report.sections import Figure

ZERO_GAP = 0.08
"""Room below a logarithmic axis for its line of zeros, as a part of the axis."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis.

    Args:
        low: Its lower end, in log₁₀ where it is logarithmic.
        high: Its upper end.
        ticks: Places and what is written there.
        log: Whether it is logarithmic.
        zero: Where a value of 0 is drawn on a logarithmic axis, or None where there is none.
        names: The named places, at 0, 1, 2, …; empty where values are numbers.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False
    zero: float | None = None
    names: tuple[str, ...] = ()

    def place(self, values: Iterable[object]) -> NDArray[np.float64]:
        """Positions of numbers, or of names: NaN for NaN, just above the upper end for what lies beyond it."""
        if self.names:
            return np.array([float(self.names.index(str(value))) for value in values])
        given = np.asarray(list(values), dtype=np.float64)
        placed = given.copy()
        if self.log:
            with np.errstate(divide="ignore"):
                placed = np.log10(given)
            placed[given == 0] = self.low if self.zero is None else self.zero
        beyond: NDArray[np.float64] = np.minimum(placed, self.high + 0.05 * (self.high - self.low))
        return beyond


def x_scale(figure: Figure) -> Scale:
    """The horizontal axis of a figure.

    Args:
        figure: The figure.

    Returns:
        The axis, the same for all panels.
    """
    column = figure.frame[figure.x]
    if figure.x_named:
        names = tuple(str(name) for name in column.unique())
        return Scale(low=-0.4, high=len(names) - 0.6, ticks=tuple(enumerate(names)), names=names)
    if figure.x_log:
        low, high = _decades(column, margin=0.03)
        return Scale(low=low, high=high, ticks=_decade_ticks(low, high), log=True)
    return _linear(column, margin=0.0)


def y_scale(figure: Figure) -> Scale:
    """The vertical axis of a figure.

    Args:
        figure: The figure.

    Returns:
        The axis, the same for all panels: every curve, band and line below the ceiling, and no more.
    """
    columns = [figure.frame[name] for name in figure.heights]
    values = pd.concat([*columns, pd.Series(list(figure.lines.values()), dtype=np.float64)])
    values = values[values <= figure.ceiling]
    if not figure.y_log:
        return _linear(values, margin=0.05)
    low, high = _decades(values, margin=0.06)
    if not (values == 0).any():
        return Scale(low=low, high=high, ticks=_decade_ticks(low, high), log=True)
    zero = low - ZERO_GAP * (high - low)
    ticks = ((zero, "0"), *_decade_ticks(low, high))
    return Scale(low=zero - ZERO_GAP / 2 * (high - low), high=high, ticks=ticks, log=True, zero=zero)


def _decades(values: pd.Series, margin: float) -> tuple[float, float]:
    numbers = values.to_numpy(dtype=np.float64)
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    if not positive.size:
        return -1.0, 1.0
    low, high = math.log10(positive.min()), math.log10(positive.max())
    room = max(margin * (high - low), 0.15)
    return low - room, high + room


def _decade_ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    first, last = math.ceil(low), math.floor(high)
    if last - first < 2:
        exponents = range(math.floor(low), math.ceil(high) + 1)
        fine = [(e + math.log10(part), part * 10.0**e) for e in exponents for part in (1, 2, 5)]
        return tuple((at, _number(value)) for at, value in fine if low <= at <= high)
    step = next((s for s in (1, 2, 4, 5, 10, 20, 50) if (last - first) / s <= 9), 100)
    return tuple((float(e), _number(10.0**e)) for e in range(first, last + 1) if e % step == 0)


def _linear(values: pd.Series, margin: float) -> Scale:
    numbers = values.to_numpy(dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = margin * (high - low) if high > low else 0.5 * max(abs(low), 1.0)
    low, high = low - room, high + room
    places = MaxNLocator(nbins=7, steps=[1, 2, 5, 10]).tick_values(low, high)
    return Scale(low=low, high=high, ticks=tuple((float(p), _number(p)) for p in places if low <= p <= high))


def _number(value: float) -> str:
    """A tick: plainly where that is short, else as 1e-30."""
    if value == 0 or 1e-2 <= abs(value) < 1e5:
        return f"{round(value, 10):,g}" if abs(value) < 1e4 else f"{value:,.0f}"
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
