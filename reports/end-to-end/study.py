"""End-to-end Transformers on least squares: what depth buys a model that emits the solution rather than a step.

    python reports/end-to-end/study.py

Softmax attention, LayerNorm and a perceptron of four times the width, in float32 as in the paper, at depths 1, 2, 4 and
8; and at condition number 5. The problems have 2 unknowns and 6 rows, the paper's 5 and 20.
"""

import pandas as pd

from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.models import ModelConfig, SoftmaxAttention
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import format_mse, format_ratio, listed
from precisionlab.tasks import LeastSquares
from precisionlab.training.adam import Adam

PAPER_MSE = {1: 0.13, 2: 1.8e-3, 4: 1.1e-5, 8: 3.0e-8, 12: 2.9e-9, 16: 8.8e-10, 24: 1.0e-9, 32: 7.5e-10} | {
    48: 8.8e-10,
    64: 2.9e-9,
}
"""What the paper reports, by depth: width 256, 5 unknowns, 20 rows, float32."""
DEPTHS = (1, 2, 4, 8)
FIXED_DEPTHS, FIXED_CONDITION = (2, 4), 5.0
N, ROWS, WIDTH = 2, 6, 16
STEPS, BATCH = 4000, 128
U2 = 2.0**-48
GAUSSIAN, FIXED, PAPER = "A ~ N(0, I)", f"κ = {FIXED_CONDITION:g}", "the paper's, A ~ N(0, I)"


def experiment(depth: int, condition: float | None) -> Experiment:
    """One depth; κ of every A, or None to draw A ~ N(0, I)."""
    return Experiment(
        name=f"end-to-end/depth-{depth}" + ("" if condition is None else f"-condition-{condition:g}"),
        cost="half a minute to 4 minutes on one core, by depth",
        task=LeastSquares(n=N, rows=ROWS, condition=condition),
        model=ModelConfig(
            mixer=SoftmaxAttention(heads=4),
            width=WIDTH,
            layers=depth,
            positions="learned",
            reads="last",
            mlp=4,
            layer_norm=True,
        ),
        phases=(Adam(steps=STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),),
        attempts=1,
        dtype="float32",
    )


def title(results: pd.DataFrame) -> str:
    """Every depth on Gaussian problems."""
    curve = results[results["problems"] == GAUSSIAN].set_index("layers")["test_mse"]
    told = [f"{format_mse(mse)} at depth {depth}" for depth, mse in curve.items()]
    paper = f"the paper's are at {format_mse(min(PAPER_MSE.values()))} to {format_mse(max(PAPER_MSE.values()))}"
    return f"End to end, after {STEPS:,} steps and from one seed each: {listed(told)}; {paper}"


def above_rounding(results: pd.DataFrame) -> str:
    """How far the lowest of all, ours and the paper's, is above rounding."""
    low = min(float(results["test_mse"].min()), *PAPER_MSE.values())
    if low <= 100 * U2:
        return "A depth brings an end-to-end Transformer to rounding"
    return (
        f"No depth brings an end-to-end Transformer to rounding: the lowest is {format_ratio(low / U2)} u² of float32"
    )


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    theirs = pd.DataFrame([{"problems": PAPER, "layers": depth, "test_mse": mse} for depth, mse in PAPER_MSE.items()])
    columns = ["problems", "layers", "test_mse"]
    shown = results[[*columns, "seed", "parameters", "target_mean_square", "seconds", "ended"]]
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="depth",
                frame=pd.concat([results[columns], theirs], ignore_index=True),
                x="layers",
                y="test_mse",
                series="problems",
                title=above_rounding(results),
                caption=f"Test MSE on 4,096 fresh problems, float32. Ours: n = {N}, N = {ROWS}, width {WIDTH}, "
                f"{STEPS:,} steps of {BATCH} problems; the paper's: n = 5, N = 20, width 256.",
                y_label="test MSE",
                x_log=True,
                lines={"u² of float32": U2},
            ),
            Table(
                frame=shown.assign(relative=results["test_mse"] / results["target_mean_square"]),
                title="Every depth",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "relative": ".1%", "seconds": ".0f"},
            ),
            Table(frame=theirs[["layers", "test_mse"]], title="The paper's depth curve", formats={"test_mse": ".1e"}),
            Text(
                title="What it does not say",
                body="The target is scaled so that a model that emits zero has an MSE of about 1. These curves are of "
                "other sizes and of another length of training than the paper's, and compare in shape alone.",
            ),
        ],
        spread="one seed a cell",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Trained(
            cells=[
                Cell(labels={"problems": problems, "layers": depth}, experiment=experiment(depth, condition))
                for problems, depths, condition in ((GAUSSIAN, DEPTHS, None), (FIXED, FIXED_DEPTHS, FIXED_CONDITION))
                for depth in depths
            ]
        )
    },
    page=page,
    settings={"n": N, "rows": ROWS, "width": WIDTH, "heads": 4, "mlp": 4, "steps": STEPS, "batch": BATCH},
)

if __name__ == "__main__":
    STUDY.main()
