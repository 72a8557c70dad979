"""In-context ordinary differential equations: trained models, and solvers of the least squares that they pose.

    python reports/ode/study.py

Three sizes: with 3 sensors the least-squares problems have 5 unknowns and 20 rows, with 13 they have 15 and 24, with
the paper's 21 sensors and 25 points 23 and 24. Shipped models, trained on Gaussian problems of 5 and 16 unknowns, solve
them: at the first two sizes the learned Newton–Schulz step beside least squares, at the first the learned gradient
beside gradient descent, and two models that read the points and emit the answer. Each is measured as drawn in training,
and under shifts of the forcing's length scale, of the operator's scale and of the initial value's. Errors are medians
over problems of the squared difference to what least squares predicts in double-double arithmetic.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab.experiments.experiment import Experiment
from precisionlab.models import MIXERS as KINDS
from precisionlab.models import ModelConfig
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.tasks import Ode
from precisionlab.tasks.exact_least_squares import solve_exactly
from precisionlab.training.adam import Adam
from solvers._core import double_double as dd
from solvers._core.double_double import DD

PAPER_MEDIANS = {"least squares": 9e-10, "gated convolution, iterated": 4e-7, "gradient descent": 4e-7} | {
    "Transformer": 8.5e-4
}
"""What the paper reports, 21 sensors and 25 points, float32, 5 problems."""
SMALL, MIDDLE, LARGE = Ode(sensors=3, points=21), Ode(sensors=13), Ode()
SHIFTS: dict[str, dict[str, Any]] = {
    "as drawn in training": {},
    "forcing length scale 1/2": {"forcing_length_scale": 0.5},
    "forcing length scale 2": {"forcing_length_scale": 2.0},
    "operator scale 0.5": {"operator_scale": 0.5},
    "operator scale 1": {"operator_scale": 1.0},
    "initial scale 10": {"initial_scale": 10.0},
}
MIXERS = ("linear-attention", "softmax")
GRADIENT = "linear-attention/explicit-gradient"
STEP = {SMALL: "linear-attention/newton-schulz", MIDDLE: "linear-attention/newton-schulz-16"}
"""The learned Newton–Schulz step of as many unknowns, where one is shipped."""
NEWTON, DIRECT = "learned Newton–Schulz", "least squares (QR)"
ITERATIONS, PROBLEMS = 100, 1000
STEPS, BATCH, WIDTH = 400, 128, 16
COMMAND = "python reports/ode/study.py"

Predictor = Callable[[Ode, torch.Tensor], torch.Tensor]
"""(task, prompts (B, L, n+1), float64) → answers (B, 1)."""


def laptop(mixer: str) -> Experiment:
    """A trained model at the scale of a laptop: 3 sensors, 21 points.

    Args:
        mixer: One of `MIXERS`.

    Returns:
        The experiment.
    """
    return Experiment(
        name=f"ode/{mixer}",
        cost="less than a minute on one core",
        task=SMALL,
        model=_model(mixer, width=WIDTH, layers=3, heads=4),
        phases=(Adam(steps=STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),),
        attempts=1,
        dtype="float32",
    )


def _model(mixer: str, *, width: int, layers: int, heads: int) -> ModelConfig:
    # A stack of polynomials needs no perceptron; a Transformer has one, and normalises what it reads.
    transformer = mixer == "softmax"
    return ModelConfig(
        mixer=KINDS.get(mixer)(heads=heads),
        width=width,
        layers=layers,
        positions="token-type",
        reads="last",
        mlp=4 if transformer else 0,
        layer_norm=transformer,
    )


def emitted(model: torch.nn.Module, dtype: torch.dtype) -> Predictor:
    """A trained model as a predictor.

    Args:
        model: Prompts → answers.
        dtype: Of the model.

    Returns:
        The predictor.
    """

    def predict(task: Ode, prompt: torch.Tensor) -> torch.Tensor:
        del task
        answers: torch.Tensor = model(prompt.to(dtype)).double()
        return answers

    return predict


def solved(solver: solvers.Solver) -> Predictor:
    """A solver as a predictor: it solves the problem that a prompt poses.

    Args:
        solver: Of least squares.

    Returns:
        The predictor.
    """

    def predict(task: Ode, prompt: torch.Tensor) -> torch.Tensor:
        return task.predictions(prompt, lambda A, b: torch.as_tensor(solver.solve(A, b).x))

    return predict


def exact_answers(task: Ode, prompt: torch.Tensor) -> DD:
    """What least squares predicts, above float64.

    Args:
        task: Where the prompts are from.
        prompt: (B, L, n+1), float64.

    Returns:
        (B,), double-double.
    """
    A, b, query = task.read(prompt)
    return dd.dot(solve_exactly(A, b), dd.from_double(query))


def squared_errors(answers: torch.Tensor, exact: DD) -> torch.Tensor:
    """Squared differences to the exact predictions.

    Args:
        answers: (B, 1), float64.
        exact: (B,).

    Returns:
        (B,), float64.
    """
    difference = dd.subtract(dd.from_double(answers.squeeze(-1)), exact)
    return (difference.hi + difference.lo).square()


def iterated(task: Ode) -> dict[str, Predictor]:
    """What is not trained on the equations: solvers, the learned gradient and descent for as many iterations.

    Args:
        task: The equations.

    Returns:
        Predictors by name.
    """
    descent = solvers.get("gradient-descent", max_iterations=ITERATIONS, tolerance=0.0)
    newton = {NEWTON: solved(precisionlab.load_solver(STEP[task]))} if task in STEP else {}
    both = {
        DIRECT: solved(solvers.get("qr")),
        **newton,
        f"gradient descent, {ITERATIONS}": solved(descent),
    }
    if task != SMALL:  # more unknowns than the learned gradient takes
        return both
    shipped = precisionlab.load_solver(GRADIENT, max_iterations=ITERATIONS, tolerance=0.0)
    plain = precisionlab.load_solver(GRADIENT, max_iterations=ITERATIONS, tolerance=0.0, refinement=None)
    return both | {
        f"learned gradient, {ITERATIONS}": solved(plain),
        f"learned gradient, refined, {ITERATIONS}": solved(shipped),
    }


def measure(models: Mapping[str, Predictor], *, problems: int = PROBLEMS) -> pd.DataFrame:
    """Measure every predictor under every shift.

    Args:
        models: Those trained on the small task.
        problems: Of each shift.

    Returns:
        A row for each: sensors, shift, predictor, median, q25 and q75 of the squared error, and that of emitting zero.
    """
    rows = []
    for task, ends in ((SMALL, models), (MIDDLE, {}), (LARGE, {})):
        predictors = {**iterated(task), **ends}
        for shift, changes in SHIFTS.items():
            shifted = replace(task, **changes)
            generator = torch.Generator().manual_seed(2503)
            example = shifted.sample(problems, generator=generator, dtype=torch.float64)
            exact = exact_answers(shifted, example.prompt)
            for name, predict in predictors.items():
                with torch.no_grad():
                    errors = squared_errors(predict(shifted, example.prompt), exact)
                low, median, high = errors.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
                facts = {"sensors": task.sensors, "shift": shift, "predictor": name}
                size = float(example.target.square().median())
                rows.append({**facts, "median": median, "q25": low, "q75": high, "median answer²": size})
    return pd.DataFrame(rows)


def trained() -> dict[str, Predictor]:
    """Train the models.

    Returns:
        Predictors by name.
    """
    runs = {mixer: precisionlab.train(laptop(mixer), progress=False) for mixer in MIXERS}
    names = {"linear-attention": "linear attention, end to end", "softmax": "Transformer, end to end"}
    return {names[mixer]: emitted(run.model, DTYPES[run.experiment.dtype]) for mixer, run in runs.items()}


def conclusion(results: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        results: What `measure` returned.

    Returns:
        The page's title.
    """
    usual = results[results["shift"] == next(iter(SHIFTS))].set_index(["sensors", "predictor"])["median"]
    small, middle = usual[SMALL.sensors], usual[MIDDLE.sensors]
    ends = small[[name for name in small.index if name.endswith("end to end")]]
    descent, learned = (float(small[f"{name}, {ITERATIONS}"]) for name in ("gradient descent", "learned gradient"))
    return (
        f"Solving equations that it was not trained on, learned Newton–Schulz is at {middle[NEWTON]:.0e} with "
        f"{MIDDLE.sensors} sensors (least squares {middle[DIRECT]:.0e}); with {SMALL.sensors} the learned gradient is "
        f"at {learned:.0e} (gradient descent {descent:.0e}) and the better model trained end to end at {ends.min():.0e}"
    )


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: What `measure` returned.
        out: Its folder.
        command: What makes it.
    """
    small, middle, large = (results[results["sensors"] == task.sensors] for task in (SMALL, MIDDLE, LARGE))
    title = conclusion(results)
    medians, newton = (frame.pivot(index="shift", columns="predictor", values="median") for frame in (small, middle))
    gap = float(
        (medians[f"learned gradient, {ITERATIONS}"] / medians[f"gradient descent, {ITERATIONS}"] - 1).abs().max()
    )
    better = int((newton[NEWTON] < newton[DIRECT]).sum())
    formats = dict.fromkeys(["median", "q25", "q75", "median answer²"], ".1e")
    theirs = pd.DataFrame([{"the paper": name, "median MSE": mse} for name, mse in PAPER_MEDIANS.items()])
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="shifts",
                frame=small,
                x="shift",
                y="median",
                low="q25",
                high="q75",
                series="predictor",
                title=f"Under every shift the learned gradient is within {gap:.0%} of gradient descent",
                caption=f"3 sensors, 21 points: 5 unknowns, 20 rows. Median of {PROBLEMS:,} problems and quartiles.",
                y_label="squared error",
            ),
            Figure(
                name="newton",
                frame=middle,
                x="shift",
                y="median",
                low="q25",
                high="q75",
                series="predictor",
                title=f"Learned Newton–Schulz errs less than QR under {better} of {len(newton)} shifts",
                caption=f"13 sensors, 25 points: 15 unknowns, 24 rows. Median of {PROBLEMS:,} problems and quartiles. "
                "With a forcing of twice the length scale A is singular to working precision, and both solvers say so.",
                y_label="squared error",
            ),
            Table(name="small", frame=small, title="3 sensors, 21 points", formats=formats),
            Table(name="middle", frame=middle, title="13 sensors, 25 points", formats=formats),
            Table(
                name="large",
                frame=large,
                title="21 sensors, 25 points: the paper's size",
                caption="23 unknowns, more than any shipped model takes.",
                formats=formats,
            ),
            Table(
                name="paper",
                frame=theirs,
                title="The paper's figures",
                caption="21 sensors, 25 points, float32, medians of 5 problems.",
                formats={"median MSE": ".1e"},
            ),
            Text(
                title="What is compared",
                body="The learned gradient and Newton–Schulz step are linear attention trained on Gaussian problems, "
                f"{', '.join((GRADIENT, *STEP.values()))}. Refined: with residuals in "
                "double-double every tenth step, as the shipped gradient has it and the shipped Newton–Schulz solver "
                "at its end. Gradients choose their steps by the spectrum of each problem. The models trained end to "
                f"end are small and in float32: three layers of width {WIDTH}, {STEPS:,} steps of {BATCH} prompts.",
            ),
        ],
        spread=f"quartiles over {PROBLEMS:,} problems; one seed of each trained model",
        config={"iterations": ITERATIONS, "problems": PROBLEMS, "steps": STEPS, "batch": BATCH, "width": WIDTH},
        environment=environment("cpu"),
        command=command,
    )


def main() -> None:
    """Train the models, measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/ode"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with math_flags():
        results = measure(trained())
    write(results, arguments.out, COMMAND)


if __name__ == "__main__":
    main()
