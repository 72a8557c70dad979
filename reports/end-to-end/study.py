"""End-to-end Transformers on least squares: what depth buys a model that emits the solution rather than a step.

    python reports/end-to-end/study.py

Softmax attention, LayerNorm and a perceptron of four times the width, in float32 as in the paper, at depths 1, 2, 4 and
8; and at condition number 5. The laptop's problems have 2 unknowns and 6 rows, the paper's 5 and 20.
"""

from pathlib import Path

import pandas as pd

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import ModelConfig, SoftmaxAttention
from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell
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
GAUSSIAN, FIXED, PAPER = "A ~ N(0, I)", f"κ = {FIXED_CONDITION:g}", "the paper's, A ~ N(0, I)"
COMMAND = "python reports/end-to-end/study.py"


def laptop(depth: int, *, condition: float | None = None) -> Experiment:
    """One cell at the scale of a laptop.

    Args:
        depth: Layers.
        condition: κ of every A; None draws A ~ N(0, I).

    Returns:
        The experiment.
    """
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


def cells() -> list[Cell]:
    """The study.

    Returns:
        A cell for each depth, and for two at a fixed condition number.
    """
    drawn = [(GAUSSIAN, depth, None) for depth in DEPTHS]
    fixed = [(FIXED, depth, FIXED_CONDITION) for depth in FIXED_DEPTHS]
    return [
        Cell(labels={"problems": problems, "layers": depth}, experiment=laptop(depth, condition=condition))
        for problems, depth, condition in (*drawn, *fixed)
    ]


def conclusion(results: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        results: What `run` returned.

    Returns:
        The page's title.
    """
    curve = results[results["problems"] == GAUSSIAN].set_index("layers")["test_mse"]
    first, best = DEPTHS[0], min(DEPTHS, key=lambda depth: float(curve[depth]))
    gain = curve[first] / curve[best]
    return (
        f"End to end, depth {best} is the best of {', '.join(map(str, DEPTHS))} after {STEPS:,} steps: "
        f"{curve[best]:.1e}, {gain:.1f} times below depth {first}; the paper's reach {min(PAPER_MSE.values()):.1e}"
    )


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
    """
    theirs = pd.DataFrame([{"problems": PAPER, "layers": depth, "test_mse": mse} for depth, mse in PAPER_MSE.items()])
    columns = ["problems", "layers", "test_mse"]
    shown = results.assign(relative=results["test_mse"] / results["target_mean_square"])
    formats = {"test_mse": ".1e", "target_mean_square": ".2g", "relative": ".1%", "seconds": ".0f"}
    title = conclusion(results)
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="depth",
                frame=pd.concat([results[columns], theirs], ignore_index=True),
                x="layers",
                y="test_mse",
                series="problems",
                title="No depth brings an end-to-end Transformer to rounding",
                caption=f"Test MSE on 4,096 fresh problems, float32. Ours: n = {N}, N = {ROWS}, width {WIDTH}, "
                f"{STEPS:,} steps of {BATCH} problems; the paper's: n = 5, N = 20, width 256.",
                y_label="test MSE",
                x_log=True,
                lines={"u² of float32": 2.0**-48},
            ),
            Table(name="cells", frame=shown, title="Every depth", formats=formats),
            Table(
                name="paper",
                frame=theirs[["layers", "test_mse"]],
                title="The paper's depth curve",
                formats={"test_mse": ".1e"},
            ),
            Text(
                title="What it means",
                body="The target is scaled so that a model that emits zero has an MSE of about 1. These curves are of "
                "other sizes and of another length of training than the paper's, and compare in shape alone. Both lie "
                "above what rounding would leave: a learned step that is applied again and again does not "
                "(reports/floors).",
            ),
        ],
        spread="one seed a cell",
        config={"n": N, "rows": ROWS, "width": WIDTH, "heads": 4, "mlp": 4, "steps": STEPS, "batch": BATCH},
        environment=environment("cpu"),
        command=command,
    )


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
