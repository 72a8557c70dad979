"""Our Levenberg–Marquardt phase with each part off: what takes linear attention to the floor, and from how many starts.

    python reports/levenberg-marquardt/study.py

Every variant goes on from the same weights, those that Adam leaves of each seed: early, at the first validation error
below 1e-2, with x₀ drawn as the paper's and with an x₀ twice as long; or late, after a thousand steps with the longer
x₀, at some 1e-4. The variants: the whole phase; without corrections by the old Jacobian; without excursions; with
neither, which is plain descent; and, late, with fewer or more residuals than the 0.55 a parameter that it takes.
"""

from dataclasses import replace
from itertools import product

import pandas as pd

from precisionlab import Cell
from precisionlab.experiments import Experiment, get
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import listed
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

STEPS = 60
DRAWN, EARLY, LATE = "early, x₀ as drawn", "early", "late"
STARTS = {
    DRAWN: Adam(steps=3000, until=1e-2),
    EARLY: Adam(steps=3000, until=1e-2, easier={"iterate_scale": 2.0}),
    LATE: Adam(steps=1000, schedule="cosine", easier={"iterate_scale": 2.0}),
}
WHOLE, DESCENT = "the whole phase", "descent: with neither"
VARIANTS = {
    WHOLE: GaussNewton(steps=STEPS),
    "without corrections": GaussNewton(steps=STEPS, corrections=0),
    "without excursions": GaussNewton(steps=STEPS, excursion=0),
    DESCENT: GaussNewton(steps=STEPS, corrections=0, excursion=0),
    "0.25 residuals a parameter": GaussNewton(steps=STEPS, residuals=0.25),
    "1 residual a parameter": GaussNewton(steps=STEPS, residuals=1.0),
}
SEEDS = range(5)
FLOOR = 1e-28


def experiment(start: str, variant: str) -> Experiment:
    """One of `STARTS`, then one of `VARIANTS`."""
    return replace(
        get("linear-attention/explicit-gradient"),
        name=f"levenberg-marquardt/{list(STARTS).index(start)}-{list(VARIANTS).index(variant)}",
        phases=(STARTS[start], VARIANTS[variant]),
        attempts=1,
    )


def cells() -> list[Cell]:
    """Each variant and seed, late; early, those that differ in more than the size of the batch."""
    early = [variant for variant, phase in VARIANTS.items() if phase.residuals == VARIANTS[WHOLE].residuals]
    pairs = [*product([DRAWN, EARLY], early), *product([LATE], VARIANTS)]
    return [
        Cell(labels={"start": start, "variant": variant}, experiment=experiment(start, variant), seed=seed)
        for (start, variant), seed in product(pairs, SEEDS)
    ]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Each variant over its seeds."""
    groups = results.groupby(["start", "variant"], sort=False)
    table = groups["test_mse"].agg(["median", "min", "max"])
    table["at the floor"] = groups["test_mse"].apply(lambda errors: int((errors <= FLOOR).sum()))
    table["seeds"] = groups.size()
    table["median seconds"] = groups["seconds"].median()
    return table.reset_index()


def title(table: pd.DataFrame) -> str:
    """How many starts the whole phase takes to the floor, and how many plain descent."""
    totals = table.groupby("variant")[["at the floor", "seeds"]].sum()
    whole, descent = (f"{row['at the floor']} of {row['seeds']}" for _, row in totals.loc[[WHOLE, DESCENT]].iterrows())
    return (
        f"{STEPS} steps of Levenberg–Marquardt take linear attention to {FLOOR:.0e} from {whole} starts with "
        f"corrections and excursions, from {descent} with neither"
    )


def difference(table: pd.DataFrame) -> str:
    """By how many seeds the variants of one start differ at most."""
    counts = table.groupby("start", sort=False)["at the floor"].agg(["min", "max"])
    most = int((counts["max"] - counts["min"]).max())
    if most <= 1:
        return f"Variants of one start differ by {most} of {len(SEEDS)} seeds at most: no part shows a worth here"
    wide = [str(start) for start in counts.index[counts["max"] - counts["min"] > 1]]
    return f"Variants differ by up to {most} of {len(SEEDS)} seeds ({listed(wide)})"


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    table = summary(results)
    return Content(
        title=title(table),
        sections=[
            Figure(
                name="ablation",
                frame=results,
                x="variant",
                y="test_mse",
                series="start",
                title=difference(table),
                caption="Test MSE on 4,096 fresh problems, float64, a point a seed; all variants of a start and seed "
                "go on from the same weights.",
                y_label="test MSE",
                joined=False,
            ),
            Table(
                frame=table,
                title="Every variant",
                formats={"median": ".1e", "min": ".1e", "max": ".1e", "median seconds": ".0f"},
            ),
            Table(
                frame=results[["start", "variant", "seed", "test_mse", "seconds", "ended"]],
                title="Every seed",
                caption="seconds: with Adam's.",
                formats={"test_mse": ".1e", "seconds": ".0f"},
            ),
            Text(
                title="What the parts are",
                body="A correction is a further step with the Jacobian of the last, damped more; an excursion follows "
                "a step that raises the error for up to three more before it is taken back. They were made where "
                "gated convolution crept (docs/precision.md).",
            ),
        ],
        spread=f"{len(SEEDS)} seeds a variant, every one in the table",
    )


STUDY = Study(
    script=__file__,
    tables={"results": Trained(cells=cells())},
    page=page,
    settings={"early": "validation MSE 1e-2", "late": "1,000 steps of Adam", "steps": STEPS, "width": 16},
)

if __name__ == "__main__":
    STUDY.main()
