"""How curves are told apart: by colour, and without colour by dash and marker.

The colours are Okabe and Ito's, safe for the common colour-blindnesses, with yellow and sky blue darkened enough to be
read on white and black left to the axes. Each has a twin for a dark ground. Seven colours, four dashes and five markers
have no common divisor, so the first 140 curves differ in some of them and the first 20 differ in grey.

Reference: Okabe & Ito, Color Universal Design, 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

LIGHT = ("#0072B2", "#D55E00", "#009E73", "#B0568D", "#A87900", "#2E8BC0", "#555B66")
DARK = ("#4FB3F0", "#FF8A3D", "#2CCF9F", "#E79AC6", "#EBC24B", "#8CD3FF", "#B4BBC8")
DASHES = ((), (6.0, 2.0), (1.5, 1.8), (7.0, 2.0, 1.5, 2.0))
MARKERS = ("o", "s", "^", "D", "v")


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """The look of one solver, the same in every dtype and every picture.

    Args:
        light: Colour on a light ground.
        dark: Colour on a dark ground.
        dash: Lengths of dash and gap in units of the line width; empty for a solid line.
        marker: Marker, by its matplotlib code.
    """

    light: str
    dark: str
    dash: tuple[float, ...]
    marker: str


def strokes(solvers: list[str]) -> dict[str, Stroke]:
    """Give each solver its look, by its place in the order.

    Args:
        solvers: Names, in the order of the report.

    Returns:
        The look of each.
    """
    return {
        name: Stroke(
            light=LIGHT[i % len(LIGHT)],
            dark=DARK[i % len(DARK)],
            dash=DASHES[i % len(DASHES)],
            marker=MARKERS[i % len(MARKERS)],
        )
        for i, name in enumerate(solvers)
    }
