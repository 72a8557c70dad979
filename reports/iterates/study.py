"""Learned gradients applied again and again: error against iteration, beside gradient descent and QR.

    python reports/iterates/study.py

Each learned solver is shown three times: as it is, its model alone, and its control, the same solver around the exact
gradient. Problems are drawn as for training; errors are against the exact rational solution.
"""

import pandas as pd
import torch

from precisionlab.report import Content, Measured, Study, Text, iterates
from precisionlab.report.measure import measure
from precisionlab.report.report import REFERENCE, Problems, subjects_of

NAMES = ("linear-attention/explicit-gradient", "gated-conv/explicit-gradient", "softmax/explicit-gradient")
CLASSICAL = ("gradient-descent", "qr", "reference")
SHAPE, PROBLEMS, ITERATIONS = (20, 5), 512, 200


def measured() -> pd.DataFrame:
    """All of them on the same problems."""
    subjects = [part for name in (*NAMES, *CLASSICAL) for part in subjects_of(name, ITERATIONS)]
    drawn = Problems.drawn(PROBLEMS, *SHAPE)
    with torch.no_grad():
        return measure(subjects, drawn.A, drawn.b, drawn.x0)


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    told = Problems.drawn(PROBLEMS, *SHAPE).sentence()
    caption = f"Median and quartiles over {told}. Reference: {REFERENCE}. The last iterate counts."
    return Content(
        title=iterates.headline(results).removesuffix("."),
        sections=[
            Text(body=iterates.conclusion(results)),
            *iterates.sections(results, caption=caption),
            Text(
                title="What is compared",
                body="The wrapper scales each problem, chooses the step by its spectrum and, every tenth step, takes "
                "the residual in double-double and goes on with the correction. Alone, the model is applied to x "
                "itself. The control has the exact gradient in float64 in the model's place.",
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
            },
            checkpoints=NAMES,
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
