"""How many directions of a model's weights its emitted gradient depends on: the spectrum of the Jacobian at the floor.

    python reports/jacobian-spectrum/study.py

The singular values of J S⁻¹, the derivatives of what a shipped model emits with respect to its weights, on as many
residuals as 0.6 a parameter, with the columns at unit length as Levenberg–Marquardt has them. Where they end is the
rank: more residuals than that in a step's batch are enough.
"""

from functools import cache

import pandas as pd
import torch

import precisionlab
from precisionlab.inspect import numerical_rank, spectrum
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, listed, sentence

NAMES = ("linear-attention/explicit-gradient", "gated-conv/explicit-gradient")
RESIDUALS, BATCH = 0.6, 0.5
"""Of the measurement and of a training step's batch, as multiples of the number of parameters."""
SOFT, SQUARED = 1e-4, 2.0**-26
"""Of the largest: below the first a direction is slow to follow; below the second, √u, the squared system loses it."""
DRAWN = 200
"""Points of a curve."""
CLIFF = 1e3
"""A fall by this from one singular value to the next, at the rank, is a cliff."""


def row(name: str, values: torch.Tensor, parameters: int) -> dict[str, str | int | float]:
    """How many values there are, how many of them are above each mark, and how they fall at the rank."""
    rank = numerical_rank(values, parameters)
    return {
        "model": name,
        "parameters": parameters,
        "residuals": len(values),
        "stiff": int((values > SOFT).sum()),
        "seen squared": int((values > SQUARED).sum()),
        "rank": rank,
        "last": float(values[rank - 1]),
        "next": float(values[rank]) if rank < len(values) else 0.0,
    }


@cache
def measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table and the curves."""
    rows, curves = [], []
    for name in NAMES:
        run = precisionlab.load(name)
        values = spectrum(run, residuals=RESIDUALS)
        rows.append(row(name, values, run.card.parameters))
        places = torch.linspace(0, len(values) - 1, DRAWN).round().long().unique().tolist()
        curves += [{"model": name, "place": place + 1, "value": float(values[place])} for place in places]
    return pd.DataFrame(rows), pd.DataFrame(curves)


def title(table: pd.DataFrame) -> str:
    """The rank of each."""
    told = [f"{r['rank']:,} of {r['parameters']:,} directions in {r['model']}" for r in table.to_dict("records")]
    return f"An emitted gradient depends on {listed(told)}"


def cliff(table: pd.DataFrame) -> str:
    """Whether the spectrum ends in a cliff."""
    falls = [
        f"{r['model']} falls from {format_mse(r['last'])} to {format_mse(r['next'])}" for r in table.to_dict("records")
    ]
    steep = (table["next"] * CLIFF <= table["last"]).all()
    return sentence([f"at its rank the spectrum {'ends in a cliff' if steep else 'fades'}: {listed(falls)}"])


def batch(table: pd.DataFrame) -> str:
    """Whether half as many residuals as parameters are more than the rank."""
    if (BATCH * table["parameters"] > table["rank"]).all():
        return "Half as many residuals as parameters are more than the rank: a batch of that size determines a step."
    short = table.loc[table["parameters"] * BATCH <= table["rank"], "model"]
    return f"Half as many residuals as parameters are fewer than the rank of {listed(short)}."


def page(table: pd.DataFrame, curves: pd.DataFrame) -> Content:
    """What the page says."""
    return Content(
        title=title(table),
        sections=[
            Figure(
                name="spectrum",
                frame=curves,
                x="place",
                y="value",
                series="model",
                title=cliff(table),
                caption="Singular values of the Jacobian at the shipped weights, columns at unit length, relative to "
                "the largest.",
                x_label="singular value, by size",
                y_label="σ/σ₁",
                lines={"squared, at the level of rounding": SQUARED},
            ),
            Table(
                frame=table,
                title="How many matter",
                caption=f"stiff: above {SOFT:.0e} of the largest; seen squared: above √u, the least that JᵀJ holds; "
                "rank: above rounding; last and next: at the rank and beyond it.",
                formats={"last": ".1e", "next": ".1e"},
            ),
            Text(
                title="What it means",
                body=f"{batch(table)} The system is solved in its dual form then. Beyond the rank lie changes that no "
                "output feels: of keys against queries, of values against the output projection.",
            ),
        ],
        spread="one model each, the shipped one",
    )


SETTINGS = {"residuals a parameter": RESIDUALS}
STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(function=lambda: measured()[0], settings=SETTINGS, checkpoints=NAMES),
        "spectrum": Measured(function=lambda: measured()[1], settings=SETTINGS, checkpoints=NAMES),
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
