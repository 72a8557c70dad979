"""Where things lie on a logarithmic error axis, the same for the picture and for the page.

An error of 0 has no place on a logarithmic axis: it is drawn on a line of its own below all others, labelled 0. A curve
that leaves upwards is cut at the top, so that one diverging solver does not flatten the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from precisionlab.reporting.results import UNIT_ROUNDOFF, Curves

HEADROOM_DECADES = 2.0
ZERO_DECADES = 2.0


@dataclass(frozen=True, kw_only=True)
class ErrorAxis:
    """The range of the error axis, in decades.

    Args:
        low: log₁₀ of its lower end.
        high: log₁₀ of its upper end.
        zero: log₁₀ of the level at which an error of 0 is drawn, or None where there is none.
    """

    low: float
    high: float
    zero: float | None

    def levels(self, mse: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Place errors on the axis.

        Args:
            mse: Errors.

        Returns:
            log₁₀ of each; the zero level for 0, NaN for NaN, and one decade beyond the upper end for what lies above.
        """
        values = np.asarray(mse, dtype=np.float64)
        levels = np.full(values.shape, np.nan)
        positive = values > 0
        levels[positive] = np.log10(values[positive])
        levels[values == 0] = self.low if self.zero is None else self.zero
        capped: NDArray[np.float64] = np.minimum(levels, self.high + 1.0)
        return capped

    def ticks(self) -> list[int]:
        """Choose the decades to label: about eight of them, evenly spaced.

        Returns:
            Exponents of ten, ascending, above the zero level.
        """
        first = math.ceil(self.low if self.zero is None else self.zero + 1.0)
        last = math.floor(self.high)
        step = next((s for s in (1, 2, 4, 5, 10, 20, 50) if (last - first) / s <= 9), 100)
        return [e for e in range(first, last + 1) if e % step == 0]


def error_axis(curves: Curves) -> ErrorAxis:
    """Choose the range that shows every curve, u² of every dtype present, and no more.

    Args:
        curves: The results.

    Returns:
        The axis. Its upper end lies at most two decades above the worst finite start, 10² where there is none.
    """
    drawn = curves.frame[["mse_median", "mse_q25", "mse_q75"]].to_numpy()
    positive = np.concatenate([drawn[np.isfinite(drawn) & (drawn > 0)], _squares(curves.dtypes)])
    starts = curves.frame.groupby(["solver", "dtype"], sort=False)["mse_q75"].first().to_numpy()
    starts = starts[np.isfinite(starts) & (starts > 0)]
    ceiling = max(float(starts.max()) if starts.size else 1.0, float(_squares(curves.dtypes).max()))
    high = math.ceil(min(math.log10(positive.max()), math.log10(ceiling) + HEADROOM_DECADES) + 0.3)
    low = math.log10(positive.min())
    low = math.floor(low - max(0.7, 0.05 * (high - low)))
    if not (drawn == 0).any():
        return ErrorAxis(low=low, high=high, zero=None)
    zero = low - ZERO_DECADES / 2
    return ErrorAxis(low=low - ZERO_DECADES, high=high, zero=zero)


def _squares(dtypes: list[str]) -> NDArray[np.float64]:
    return np.array([UNIT_ROUNDOFF[name] ** 2 for name in dtypes])


def spread(wanted: Iterable[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move labels apart along one axis, as little as possible in the least-squares sense.

    Subtracting the gaps from the sorted wishes turns the task into isotonic regression, which pooling adjacent
    violators solves exactly.

    Args:
        wanted: Where each label would like to be.
        gap: Least distance of two labels; it shrinks where ``low`` to ``high`` cannot hold them all.
        low: Least position.
        high: Greatest position.

    Returns:
        Positions, in the order of ``wanted``.

    Cost:
        O(k log k) for k labels.
    """
    wishes = list(wanted)
    if not wishes:
        return []
    gap = min(gap, (high - low) / max(len(wishes) - 1, 1))
    order = sorted(range(len(wishes)), key=wishes.__getitem__)
    blocks: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wishes[index] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            earlier, count = blocks.pop()
            mean = (earlier * count + mean * size) / (count + size)
            size += count
        blocks.append((mean, size))
    pooled = [mean for mean, size in blocks for _ in range(size)]
    top = high - (len(wishes) - 1) * gap
    placed = [0.0] * len(wishes)
    for rank, index in enumerate(order):
        placed[index] = min(max(pooled[rank], low), top) + rank * gap
    return placed
