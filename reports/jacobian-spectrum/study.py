"""How many directions of a model's weights its emitted gradient depends on: the spectrum of the Jacobian at the floor.

    python reports/jacobian-spectrum/study.py

The singular values of J S⁻¹, the derivatives of what a shipped model emits with respect to its weights, on as many
residuals as 0.6 a parameter, with the columns at unit length as Levenberg–Marquardt has them. Where they end is the
rank: more residuals than that in a step's batch are enough.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

import precisionlab
from precisionlab.inspect import numerical_rank, spectrum
from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page

NAMES = ("linear-attention/explicit-gradient", "gated-conv/explicit-gradient")
RESIDUALS = 0.6
"""Of a batch, as a multiple of the number of parameters."""
SOFT, SQUARED = 1e-4, 2.0**-26
"""Of the largest: below the first a direction is slow to follow; below the second, √u, the squared system loses it."""
DRAWN = 200
"""Points of a curve."""
COMMAND = "python reports/jacobian-spectrum/study.py"


def measured(name: str, values: torch.Tensor, parameters: int) -> dict[str, str | int]:
    """A row of the table.

    Args:
        name: Of the model.
        values: What `spectrum` returned.
        parameters: The model's.

    Returns:
        How many values there are, and how many of them are above each mark.
    """
    rank = numerical_rank(values, parameters)
    return {
        "model": name,
        "parameters": parameters,
        "residuals": len(values),
        "stiff": int((values > SOFT).sum()),
        "seen squared": int((values > SQUARED).sum()),
        "rank": rank,
    }


def write(table: pd.DataFrame, curves: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        table: Rows of `measured`.
        curves: Columns model, place, value.
        out: Its folder.
        command: What makes it.
    """
    told = [f"{row['rank']:,} of {row['parameters']:,} directions in {row['model']}" for _, row in table.iterrows()]
    write_page(
        out,
        title=f"An emitted gradient depends on {' and '.join(told)}",
        sections=[
            Figure(
                name="spectrum",
                frame=curves,
                x="place",
                y="value",
                series="model",
                title="The spectrum ends in a cliff, at a fraction of the number of parameters",
                caption="Singular values of the Jacobian at the shipped weights, columns at unit length, relative to "
                "the largest.",
                x_label="singular value, by size",
                y_label="σ/σ₁",
                lines={"squared, at the level of rounding": SQUARED},
            ),
            Table(
                name="ranks",
                frame=table,
                title="How many matter",
                caption=f"stiff: above {SOFT:.0e} of the largest; seen squared: above √u, the least that JᵀJ holds; "
                "rank: above rounding.",
            ),
            Text(
                title="What it means",
                body="Half as many residuals as parameters are more than the rank, so a batch of that size determines "
                "all that a step can, and the system is solved in its dual form. Beyond the cliff lie changes that no "
                "output feels: of keys against queries, of values against the output projection. On the way there are "
                "directions between, whose singular value falls with the factors of a product that has to vanish; in "
                "those Levenberg–Marquardt creeps (docs/precision.md).",
            ),
        ],
        spread="one model each, the shipped one",
        config={"residuals a parameter": RESIDUALS},
        environment=environment("cpu"),
        command=command,
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/jacobian-spectrum"))
    arguments = parser.parse_args()
    rows, curves = [], []
    with math_flags():
        for name in NAMES:
            run = precisionlab.load(name)
            values = spectrum(run, residuals=RESIDUALS)
            rows.append(measured(name, values, run.card.parameters))
            places = sorted({round(i * (len(values) - 1) / (DRAWN - 1)) for i in range(DRAWN)})
            curves += [{"model": name, "place": i + 1, "value": float(values[i])} for i in places]
    table = pd.DataFrame(rows)
    write(table, pd.DataFrame(curves), arguments.out, COMMAND)


if __name__ == "__main__":
    main()
