"""Primitives: which mixer can do the operations that a numerical algorithm is made of, and how precisely.

    python reports/primitives/study.py

A table of mixer × operation × depth × LayerNorm × dtype. The laboratory's recipe (Adam, then Levenberg–Marquardt) at
4 dimensions and 6 points, which two cores finish; `PAPER` has the paper's 20 dimensions, 40 points and recipe.
"""

from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd

from precisionlab.config import kind_of
from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.precision import environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell
from precisionlab.tasks import Primitive
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

Operation = Literal["identity", "square", "multiply", "linear", "read"]
OPERATIONS: tuple[Operation, ...] = ("identity", "linear", "read", "square", "multiply")
MODELS: dict[str, Mixer] = {
    "gated-conv": GatedConvolution(),
    "gated-conv, long filter": GatedConvolution(filter="long"),
    "gated-conv, implicit filter": GatedConvolution(filter="implicit"),
    "linear-attention": LinearAttention(heads=4),
    "linear-attention, one point": LinearAttention(heads=4),
    "softmax": SoftmaxAttention(heads=4),
}
DEPTHS = (1, 2, 4)
Dtype = Literal["float32", "float64"]
DTYPES: tuple[Dtype, ...] = ("float64", "float32")
SECONDS, LONGER = 60.0, 180.0
"""What a training may take: longer where a model can be exact, so that the floor and not the clock ends it."""


def _time_limit(model: str, norm: bool) -> float:
    return LONGER if not norm and ("gated-conv" in model or "one point" in model) else SECONDS


def laptop(model: str, operation: Operation, *, depth: int, layer_norm: bool, dtype: Dtype) -> Experiment:
    """One cell at the scale of a laptop.

    Args:
        model: One of `MODELS`.
        operation: The primitive.
        depth: Layers.
        layer_norm: Whether tokens are normalised.
        dtype: Of the model and its data.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"primitives/{kind_of(MODELS[model])}-{operation}",
        cost=f"at most {_time_limit(model, layer_norm):.0f} s on one core",
        task=Primitive(operation=operation, dims=4, points=1 if "one point" in model else 6),
        model=ModelConfig(
            mixer=MODELS[model],
            width=12,
            layers=depth,
            positions="learned",
            layer_norm=layer_norm,
        ),
        phases=(Adam(steps=600, schedule="cosine"), GaussNewton(steps=60, residuals=1.2, stall=20)),
        attempts=2,
        dtype=dtype,
    )


def cells() -> list[Cell]:
    """The study: products at every depth, with and without LayerNorm, in both dtypes; the linear ones at two depths.

    Returns:
        Its cells.
    """
    return [
        Cell(
            labels={"operation": operation, "model": model, "layers": depth, "layer_norm": norm, "dtype": dtype},
            experiment=laptop(model, operation, depth=depth, layer_norm=norm, dtype=dtype),
            time_limit=_time_limit(model, norm),
        )
        for operation, model, depth, norm, dtype in product(OPERATIONS, MODELS, DEPTHS, (False, True), DTYPES)
        if _wanted(operation, model, depth, norm, dtype)
    ]


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
    """
    plain = results[~results["layer_norm"] & (results["dtype"] == "float64")]
    products = plain[plain["operation"].isin(["square", "multiply"]) & ~plain["model"].str.contains(", ")]
    curves = products.assign(series=products["model"] + ", " + products["operation"])
    table = results.pivot_table(
        index=["operation", "model", "layer_norm"], columns=["dtype", "layers"], values="test_mse"
    )
    table.columns = pd.Index([f"{column[0]}, depth {column[1]}" for column in table.columns.to_flat_index()])
    gates = products[products["model"] == "gated-conv"].groupby("layers")["test_mse"].max()
    reached = ", ".join(f"{error:.0e} at depth {depth}" for depth, error in gates.items())
    softmax = products[products["model"] == "softmax"]["test_mse"].min()
    write_page(
        out,
        title=f"Gates square and multiply to an MSE of {reached}; softmax attention stays above {softmax:.0e}",
        sections=[
            Figure(
                name="products",
                frame=curves,
                x="layers",
                y="test_mse",
                series="series",
                title="Products need a polynomial: depth does not help softmax to the floor",
                caption="Test MSE on 4,096 fresh prompts, float64, without LayerNorm. A training ends where it stalls, "
                f"or after {LONGER:.0f} s on one core (gated convolution) or {SECONDS:.0f} s.",
                y_label="test MSE",
            ),
            Table(
                name="table",
                frame=table.reset_index(),
                title="Every mixer, depth, normalisation and dtype",
                caption="Test MSE on 4,096 fresh prompts; an empty cell was not part of the study.",
                formats=dict.fromkeys(table.columns, ".1e"),
            ),
            Text(
                title="What is seen",
                body="LayerNorm divides by a root, so no model with it is a polynomial, and none reaches the floor.\n\n"
                "A layer of linear attention is affine in the token that it emits at, its coefficients shared by all "
                "tokens: it does not multiply a token by itself. With one point a prompt, the token is all: its "
                "coefficients are its own, and squares and products are exact.",
            ),
        ],
        spread="one seed a cell",
        config={"dims": 4, "points": 6, "width": 12, "depths": list(DEPTHS), "seconds": [SECONDS, LONGER]},
        environment=environment("cpu"),
        command=command,
    )


def _wanted(operation: str, model: str, depth: int, norm: bool, dtype: str) -> bool:
    if operation == "read" and "one point" in model:
        return False
    if "," in model:
        return depth <= 2 and not norm and dtype == "float64"
    if operation in {"square", "multiply"}:
        return True
    return depth <= 2 and dtype == "float64"


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
