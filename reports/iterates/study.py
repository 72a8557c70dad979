"""Learned gradients applied again and again: error against iteration, beside gradient descent and QR.

    python reports/iterates/study.py

Each learned solver is shown three times: as it is, its model alone, and its control, the same solver around the exact
step. Shipped checkpoints, which are of float64; the first recipe trained in float32; and a model that emits the
solution at once. Problems are drawn as for training; errors are against the exact rational solution of the problems in
the dtype of the solver.
"""

from dataclasses import replace

import pandas as pd
import torch

import precisionlab
from precisionlab import Cell
from precisionlab.report import Content, Measured, Study, Text, iterates
from precisionlab.report.measure import measure
from precisionlab.report.report import REFERENCE, Problems, subjects_of

NAMES = (
    "linear-attention/explicit-gradient",
    "gated-conv/explicit-gradient",
    "softmax/explicit-gradient",
    "equivariant-attention/end-to-end",
)
CLASSICAL = ("gradient-descent", "qr", "reference")
SINGLE = Cell(experiment=NAMES[0], settings={"dtype": "float32"})
"""What is trained in float32."""
SHAPE, PROBLEMS, ITERATIONS = (20, 5), 512, 200


def measured() -> pd.DataFrame:
    """All of them on the same problems."""
    single = precisionlab.train(SINGLE.config.experiment, seed=SINGLE.seed, progress=False)
    subjects = [part for entry in (*NAMES, *CLASSICAL, single) for part in subjects_of(entry, ITERATIONS)]
    subjects += [replace(part, dtype=torch.float32) for name in CLASSICAL[:2] for part in subjects_of(name, ITERATIONS)]
    drawn = Problems.drawn(PROBLEMS, *SHAPE)
    with torch.no_grad():
        return measure(subjects, drawn.A, drawn.b, drawn.x0)


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    told = Problems.drawn(PROBLEMS, *SHAPE).sentence()
    shown = [name for name in results["solver"].unique() if name.startswith(NAMES[0]) or name in CLASSICAL[:2]]
    first = results[results["solver"].isin(shown) & (results["dtype"] == "float64")]
    caption = f"Median and quartiles over {told}. Reference: {REFERENCE}. The last iterate counts."
    return Content(
        title=iterates.headline(results).removesuffix("."),
        sections=[
            replace(iterates.sections(first, caption=caption)[0], name="first"),
            Text(body=iterates.conclusion(results)),
            *iterates.sections(results, caption=caption),
            Text(
                title="What is compared",
                body="The wrapper scales each problem, chooses the step by its spectrum and, every tenth step, takes "
                "the residual in double-double and goes on with the correction. Alone, the model is applied to x "
                "itself. The control has the exact step in the model's place, in its dtype. A model that emits the "
                "solution is applied once.",
            ),
        ],
        spread=f"over {told}; one checkpoint of each model, seed 0",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=measured,
            settings={
                "problems": PROBLEMS,
                "iterations": ITERATIONS,
                "rows, unknowns": list(SHAPE),
                "classical": list(CLASSICAL),
                "in float32": SINGLE.key,
            },
            checkpoints=NAMES,
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
