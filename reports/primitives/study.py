"""Primitives: which mixer can do the operations that a numerical algorithm is made of, and how precisely.

    python reports/primitives/study.py

A table of mixer × operation × depth × LayerNorm × dtype, by the laboratory's recipe (Adam, then Levenberg–Marquardt) at
4 dimensions and 6 points. Products are tried at every depth, with and without LayerNorm and in both dtypes; the linear
operations at two depths.
"""

from itertools import product
from typing import Literal

import pandas as pd

from precisionlab import Cell
from precisionlab.config import kind_of
from precisionlab.experiments import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.report import Content, Figure, Study, Table, Text, Trained
from precisionlab.report.words import format_mse, listed, sentence
from precisionlab.tasks import Primitive
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton

Operation = Literal["identity", "square", "multiply", "linear", "read"]
Dtype = Literal["float32", "float64"]
OPERATIONS: tuple[Operation, ...] = ("identity", "linear", "read", "square", "multiply")
PRODUCTS = ("square", "multiply")
MODELS: dict[str, Mixer] = {
    "gated-conv": GatedConvolution(),
    "gated-conv, long filter": GatedConvolution(filter="long"),
    "gated-conv, implicit filter": GatedConvolution(filter="implicit"),
    "linear-attention": LinearAttention(heads=4),
    "linear-attention, one point": LinearAttention(heads=4),
    "softmax": SoftmaxAttention(heads=4),
}
DEPTHS = (1, 2, 4)
DTYPES: tuple[Dtype, ...] = ("float64", "float32")
SECONDS, LONGER = 60.0, 180.0
"""What a training may take: longer where a model can be exact, so that the floor and not the clock ends it."""
FLOOR = 1e-28


def experiment(model: str, operation: Operation, *, depth: int, layer_norm: bool, dtype: Dtype) -> Experiment:
    """One of `MODELS` on one operation."""
    return Experiment(
        name=f"primitives/{kind_of(MODELS[model])}-{operation}",
        cost=f"at most {limit(model, layer_norm):.0f} s on one core",
        task=Primitive(operation=operation, dims=4, points=1 if "one point" in model else 6),
        model=ModelConfig(mixer=MODELS[model], width=12, layers=depth, positions="learned", layer_norm=layer_norm),
        phases=(Adam(steps=600, schedule="cosine"), GaussNewton(steps=60, residuals=1.2, stall=20)),
        attempts=2,
        dtype=dtype,
    )


def limit(model: str, norm: bool) -> float:
    """Seconds."""
    return LONGER if not norm and ("gated-conv" in model or "one point" in model) else SECONDS


def wanted(operation: str, model: str, depth: int, norm: bool, dtype: str) -> bool:
    """Whether a cell is part of the study."""
    if operation == "read" and "one point" in model:
        return False
    if "," in model:
        return depth <= 2 and not norm and dtype == "float64"
    return operation in PRODUCTS or (depth <= 2 and dtype == "float64")


def cells() -> list[Cell]:
    """All that are part of it."""
    return [
        Cell(
            labels={"operation": operation, "model": model, "layers": depth, "layer_norm": norm, "dtype": dtype},
            experiment=experiment(model, operation, depth=depth, layer_norm=norm, dtype=dtype),
            time_limit=limit(model, norm),
        )
        for operation, model, depth, norm, dtype in product(OPERATIONS, MODELS, DEPTHS, (False, True), DTYPES)
        if wanted(operation, model, depth, norm, dtype)
    ]


def products(results: pd.DataFrame) -> pd.DataFrame:
    """Squares and products by the plain mixers in float64, without LayerNorm."""
    plain = results[~results["layer_norm"] & (results["dtype"] == "float64")]
    return plain[plain["operation"].isin(PRODUCTS) & ~plain["model"].str.contains(", ")]


def title(results: pd.DataFrame) -> str:
    """The worse of square and product, by mixer and depth."""
    worst = products(results).groupby(["model", "layers"], sort=False)["test_mse"].max()
    told = [
        f"{model} at {listed(f'{format_mse(mse)}' for mse in rows)}"
        for model, rows in worst.groupby("model", sort=False)
    ]
    return f"Squares and products at depth {listed(map(str, DEPTHS))}: {listed(told)}"


def reached(results: pd.DataFrame) -> str:
    """Which mixers reach the floor at some depth, and which at none."""
    best = products(results).groupby(["model", "operation"], sort=False)["test_mse"].min().groupby("model").max()
    can, cannot = (list(best.index[best.le(FLOOR) == state]) for state in (True, False))
    parts = [f"{listed(can)} square and multiply to {FLOOR:.0e} at some depth"] if can else []
    return sentence([*parts, *([f"{listed(cannot)} at none"] if cannot else [])])


def norms(results: pd.DataFrame) -> str:
    """Whether a model with LayerNorm reaches the floor."""
    normed = results[results["layer_norm"] & (results["dtype"] == "float64")]["test_mse"]
    if (normed <= FLOOR).any():
        return f"{int((normed <= FLOOR).sum())} of {len(normed)} models with LayerNorm reach {FLOOR:.0e}."
    return (
        f"No model with LayerNorm reaches {FLOOR:.0e}; the lowest of {len(normed)} is at {format_mse(normed.min())}. "
        "LayerNorm divides by a root, so none of them is a polynomial."
    )


def one_point(results: pd.DataFrame) -> str:
    """What linear attention does with prompts of one point."""
    rows = results[(results["model"] == "linear-attention, one point") & results["operation"].isin(PRODUCTS)]
    worst = float(rows["test_mse"].max())
    told = "squares and multiplies" if worst <= FLOOR else "does not square and multiply"
    return f"With one point a prompt linear attention {told} to {FLOOR:.0e}; its worst is {format_mse(worst)}."


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    shown = products(results)
    table = results.pivot_table(
        index=["operation", "model", "layer_norm"], columns=["dtype", "layers"], values="test_mse"
    )
    table.columns = pd.Index([f"{column[0]}, depth {column[1]}" for column in table.columns.to_flat_index()])
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="products",
                frame=shown.assign(series=shown["model"] + ", " + shown["operation"]),
                x="layers",
                y="test_mse",
                series="series",
                title=reached(results),
                caption="Test MSE on 4,096 fresh prompts, float64, without LayerNorm. A training ends where it stalls, "
                f"or after {LONGER:.0f} s on one core (gated convolution) or {SECONDS:.0f} s.",
                y_label="test MSE",
            ),
            Table(
                frame=table.reset_index(),
                title="Every mixer, depth, normalisation and dtype",
                caption="Test MSE on 4,096 fresh prompts; a dash was not part of the study.",
                formats=dict.fromkeys(table.columns, ".1e"),
            ),
            Text(
                title="What is seen",
                body=f"{norms(results)}\n\nA layer of linear attention is affine in the token that it emits at, its "
                "coefficients shared by all tokens: it does not multiply a token by itself. With one point a prompt, "
                f"the coefficients are the token's own. {one_point(results)}",
            ),
        ],
        spread="one seed a cell",
    )


STUDY = Study(
    script=__file__,
    tables={"results": Trained(cells=cells())},
    page=page,
    settings={"dims": 4, "points": 6, "width": 12, "depths": list(DEPTHS), "seconds": [SECONDS, LONGER]},
)

if __name__ == "__main__":
    STUDY.main()
