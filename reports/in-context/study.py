"""In-context least squares: predict each right-hand side from the points before it, beside algorithms that do it.

    python reports/in-context/study.py

Softmax and linear attention and gated convolution, causal, with the paper's curriculum of 6 to 20 points; and, on the
same kind of prompts, least squares, ridge regression and gradient descent. A point is two tokens, a_i and b_i, which
linear attention can only bring together by their positions: its width has to hold one for each token.
"""

from pathlib import Path

import pandas as pd
import torch

from precisionlab.experiments.experiment import Experiment
from precisionlab.models import GatedConvolution, LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.reporting.study import main
from precisionlab.runs.grid import Cell
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
COMMAND = "python reports/in-context/study.py"


def laptop(mixer: str) -> Experiment:
    """One cell at the scale of a laptop.

    Args:
        mixer: One of `MIXERS`.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"in-context/{mixer}",
        cost="about 3 minutes on one core",
        task=InContextLeastSquares(n=N),
        model=_model(mixer, width=WIDTH, layers=LAYERS),
        phases=(
            Adam(steps=FEW_STEPS, batch=BATCH, learning_rate=3e-3, easier={"shown": FEW}),
            Adam(steps=STEPS - FEW_STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),
        ),
        attempts=1,
        dtype="float32",
    )


def _model(mixer: str, *, width: int, layers: int) -> ModelConfig:
    # A stack of polynomials needs no perceptron; a Transformer has one, and normalises what it reads.
    transformer = mixer == "softmax"
    return ModelConfig(
        mixer=MIXERS[mixer],
        width=width,
        layers=layers,
        positions="learned",
        mlp=4 if transformer else 0,
        layer_norm=transformer,
    )


def cells() -> list[Cell]:
    """The study.

    Returns:
        A cell for each mixer.
    """
    return [Cell(labels={"predictor": mixer}, experiment=laptop(mixer)) for mixer in MIXERS]


def baselines(problems: int = PROBLEMS) -> pd.DataFrame:
    """What is not learned.

    Args:
        problems: Prompts.

    Returns:
        A row for each fit: predictor, test_mse, and mse_last, of the last point alone.
    """
    task, last = InContextLeastSquares(n=N), InContextLeastSquares(n=N, emits="one")
    rows = []
    for name, fit in FITS.items():
        errors = []
        for one in (task, last):
            prompt = one.sample(problems, generator=torch.Generator().manual_seed(1), dtype=torch.float64).prompt
            errors.append(float(mean_squared_error(one, one.predictions(prompt, fit), prompt)))
        rows.append({"predictor": name, "test_mse": errors[0], "mse_last": errors[1]})
    return pd.DataFrame(rows)


def conclusion(results: pd.DataFrame, known: pd.DataFrame) -> str:
    """The tables in a sentence.

    Args:
        results: What `run` returned.
        known: What `baselines` returned.

    Returns:
        The page's title.
    """
    learned = results.set_index("predictor")["test_mse"]
    fits = known.set_index("predictor")["test_mse"]
    best = str(learned.idxmin())
    above = fits[fits >= learned[best]].sort_values()
    below = fits[fits < learned[best]].sort_values()
    beats = f"better than {above.index[0]} ({above.iloc[0]:.1e})" if len(above) else "worse than every algorithm"
    loses = f", not as good as {below.index[-1]} ({below.iloc[-1]:.1e})" if len(below) else ""
    return f"Predicting in context, the best of {len(MIXERS)} models, {best}, is at {learned[best]:.1e}: {beats}{loses}"


def write(results: pd.DataFrame, out: Path, command: str, *, problems: int = PROBLEMS) -> None:
    """Write the page.

    Args:
        results: What `run` returned.
        out: Its folder.
        command: What makes it.
        problems: Prompts that the algorithms are measured on.
    """
    with math_flags():
        known = baselines(problems)
    both = pd.concat([results[["predictor", "test_mse"]], known[["predictor", "test_mse"]]], ignore_index=True)
    title = conclusion(results, known)
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="predictors",
                frame=both,
                x="predictor",
                y="test_mse",
                title=title,
                caption="Mean over the points of a prompt of the squared difference to what least squares predicts.",
                y_label="MSE",
                joined=False,
            ),
            Table(
                name="models",
                frame=results,
                title="Trained models",
                caption="On 4,096 fresh prompts of 20 points.",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "seconds": ".0f"},
            ),
            Table(
                name="algorithms",
                frame=known,
                title="Algorithms, in float64",
                caption=f"On {problems:,} fresh prompts of 20 points; mse_last: of the last point, from all others.",
                formats={"test_mse": ".1e", "mse_last": ".1e"},
            ),
            Text(
                title="How it was trained",
                body=f"Adam in float32, {STEPS:,} steps of {BATCH} prompts, the first {FEW_STEPS} "
                f"of them with {FEW} points, the rest with 20; n = {N}; the paper's have n = 5, twelve layers and "
                "width 256. With fewer points "
                "than unknowns the target is the shortest solution's prediction, which gradient descent also tends to. "
                "test_mse is over the tokens that are asked, target_mean_square over all, of which half ask for "
                "nothing.",
            ),
        ],
        spread="one seed a cell",
        config={"width": WIDTH, "layers": LAYERS, "steps": STEPS, "batch": BATCH, "points": "6 to 20", "n": N},
        environment=environment("cpu"),
        command=command,
    )


if __name__ == "__main__":
    main(cells, write, script=__file__, description=__doc__)
