"""In-context least squares: predict each right-hand side from the points before it, beside algorithms that do it.

    python reports/in-context/study.py

Softmax and linear attention and gated convolution, causal, shown 6 points at first and then 20; and, on the
same kind of prompts, least squares, ridge regression and gradient descent. A point is two tokens, a_i and b_i, which
linear attention can only bring together by their positions: its width has to hold one for each token.
"""

import pandas as pd
import torch

from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.report import Content, Figure, Measured, Study, Table, Text, Trained
from precisionlab.report.words import format_mse, listed, sentence
from precisionlab.tasks import InContextLeastSquares
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.exact_least_squares import solve
from precisionlab.tasks.in_context_baselines import descent, ridge
from precisionlab.tasks.in_context_least_squares import Fit
from precisionlab.training.adam import Adam

MIXERS: dict[str, Mixer] = {
    "softmax": SoftmaxAttention(heads=4, causal=True),
    "linear-attention": LinearAttention(heads=4, causal=True),
    "gated-conv": GatedConvolution(causal=True),
}
FITS: dict[str, Fit] = {
    "zero": lambda A, _: torch.zeros_like(A[:, 0]),
    "least squares": solve,
    "ridge, λ = 0.01": ridge(0.01),
    "ridge, λ = 1": ridge(1.0),
    "gradient descent, 1 step": descent(1, 0.5),
    "gradient descent, 4 steps": descent(4, 0.5),
}
N, STEPS, BATCH, WIDTH, LAYERS = 2, 3000, 64, 48, 3
FEW, FEW_STEPS = 6, 500
"""Points that are shown at first, and for how long."""
PROBLEMS = 1024


def experiment(mixer: str) -> Experiment:
    """One of `MIXERS`; a Transformer has a perceptron and normalises what it reads, a stack of polynomials does not."""
    transformer = mixer == "softmax"
    return Experiment(
        name=f"in-context/{mixer}",
        cost="about 3 minutes on one core",
        task=InContextLeastSquares(n=N),
        model=ModelConfig(
            mixer=MIXERS[mixer],
            width=WIDTH,
            layers=LAYERS,
            positions="learned",
            mlp=4 if transformer else 0,
            layer_norm=transformer,
        ),
        phases=(
            Adam(steps=FEW_STEPS, batch=BATCH, learning_rate=3e-3, easier={"shown": FEW}),
            Adam(steps=STEPS - FEW_STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),
        ),
        attempts=1,
        dtype="float32",
    )


def algorithms(problems: int = PROBLEMS) -> pd.DataFrame:
    """What is not learned, on all points and on the last alone."""
    task, last = InContextLeastSquares(n=N), InContextLeastSquares(n=N, emits="one")
    rows = []
    for name, fit in FITS.items():
        errors = []
        for one in (task, last):
            prompt = one.sample(problems, generator=torch.Generator().manual_seed(1), dtype=torch.float64).prompt
            errors.append(float(mean_squared_error(one, one.predictions(prompt, fit), prompt)))
        rows.append({"predictor": name, "test_mse": errors[0], "mse_last": errors[1]})
    return pd.DataFrame(rows)


def place(mse: float, known: pd.DataFrame) -> str:
    """Between which algorithms an error lies."""
    fits = known.set_index("predictor")["test_mse"].sort_values()
    below, above = fits[fits < mse], fits[fits >= mse]
    told = [f"worse than {below.index[-1]} ({format_mse(below.iloc[-1])})"] if len(below) else []
    return listed([*told, *([f"no worse than {above.index[0]} ({format_mse(above.iloc[0])})"] if len(above) else [])])


def title(results: pd.DataFrame) -> str:
    """Every model."""
    told = [f"{row['predictor']} {format_mse(row['test_mse'])}" for row in results.to_dict("records")]
    return f"Predicting in context, one seed each: {listed(told)}"


def beside(results: pd.DataFrame, known: pd.DataFrame) -> str:
    """Every model among the algorithms."""
    told = [f"{row['predictor']} is {place(row['test_mse'], known)}" for row in results.to_dict("records")]
    return f"{sentence(told)}."


def page(results: pd.DataFrame, known: pd.DataFrame) -> Content:
    """What the page says."""
    both = pd.concat([results[["predictor", "test_mse"]], known[["predictor", "test_mse"]]], ignore_index=True)
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="predictors",
                frame=both,
                x="predictor",
                y="test_mse",
                title=title(results),
                caption="Mean over the points of a prompt of the squared difference to what least squares predicts.",
                y_label="MSE",
                joined=False,
            ),
            Text(body=beside(results, known)),
            Table(
                frame=results[["predictor", "parameters", "test_mse", "target_mean_square", "seconds", "ended"]],
                title="Trained models",
                caption="On 4,096 fresh prompts of 20 points.",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Table(
                frame=known,
                title="Algorithms, in float64",
                caption=f"On {PROBLEMS:,} fresh prompts of 20 points; mse_last: of the last point, from all others.",
                formats={"test_mse": ".1e", "mse_last": ".1e"},
            ),
            Text(
                title="How it was trained",
                body=f"Adam in float32, {STEPS:,} steps of {BATCH} prompts, the first {FEW_STEPS} of them "
                f"with {FEW} points, the rest with 20; n = {N}; the paper's have n = 5, twelve layers and width 256. "
                "With fewer points than unknowns the target is the shortest solution's prediction, which gradient "
                "descent also tends to. "
                "test_mse is over the tokens that are asked, target_mean_square over all, of which half ask for "
                "nothing.",
            ),
        ],
        spread="one seed a cell",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Trained(cells=[Cell(labels={"predictor": mixer}, experiment=experiment(mixer)) for mixer in MIXERS]),
        "algorithms": Measured(function=algorithms, settings={"problems": PROBLEMS, "algorithms": list(FITS)}),
    },
    page=page,
    settings={"width": WIDTH, "layers": LAYERS, "steps": STEPS, "batch": BATCH, "points": "6, then 20", "n": N},
)

if __name__ == "__main__":
    STUDY.main()
