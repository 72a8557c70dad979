"""In-context ordinary differential equations: trained models, and solvers of the least squares that they pose.

    python reports/ode/study.py

Three sizes: with 3 sensors the least-squares problems have 5 unknowns and 20 rows, with 13 they have 15 and 24, with
the paper's 21 sensors and 25 points 23 and 24. Shipped models, trained on Gaussian problems of 5 and 16 unknowns, solve
them: at the first two sizes the learned Newton–Schulz step, at the first the learned gradient, each as its solver is
shipped, alone, and beside its control; and two models that read the points and emit the answer. Each is measured as
drawn in training, and under shifts of the forcing's length scale, of the operator's scale and of the initial value's.
Errors are medians over problems of the squared difference to what least squares predicts in double-double arithmetic.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import load_control, load_solver
from precisionlab.config import kind_of
from precisionlab.experiments import Experiment
from precisionlab.models import LinearAttention, Mixer, ModelConfig, SoftmaxAttention
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, format_ratio, sentence
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
USUAL = "as drawn in training"
SHIFTS: dict[str, dict[str, Any]] = {
    USUAL: {},
    "forcing length scale 1/2": {"forcing_length_scale": 0.5},
    "forcing length scale 2": {"forcing_length_scale": 2.0},
    "operator scale 0.5": {"operator_scale": 0.5},
    "operator scale 1": {"operator_scale": 1.0},
    "initial scale 10": {"initial_scale": 10.0},
}
MIXERS: dict[str, Mixer] = {
    "linear attention, end to end": LinearAttention(heads=4),
    "Transformer, end to end": SoftmaxAttention(heads=4),
}
GRADIENT = "linear-attention/explicit-gradient"
STEP = {SMALL: "linear-attention/newton-schulz", MIDDLE: "linear-attention/newton-schulz-16"}
"""The learned Newton–Schulz step of as many unknowns, where one is shipped."""
ITERATIONS, PROBLEMS = 100, 1000
NEWTON, LEARNED, DESCENT = "learned Newton–Schulz", "learned gradient", "gradient descent"
DIRECT = "least squares (QR)"
STEPS, BATCH, WIDTH = 400, 128, 16

Predictor = Callable[[Ode, torch.Tensor], torch.Tensor]
"""(task, prompts (B, L, n+1), float64) → answers (B, 1)."""


def experiment(mixer: Mixer) -> Experiment:
    """A model trained end to end on the small task; a Transformer has a perceptron and normalises what it reads."""
    transformer = isinstance(mixer, SoftmaxAttention)
    return Experiment(
        name=f"ode/{kind_of(mixer)}",
        cost="less than a minute on one core",
        task=SMALL,
        model=ModelConfig(
            mixer=mixer,
            width=WIDTH,
            layers=3,
            positions="token-type",
            reads="last",
            mlp=4 if transformer else 0,
            layer_norm=transformer,
        ),
        phases=(Adam(steps=STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),),
        attempts=1,
        dtype="float32",
    )


def emitted(model: torch.nn.Module, dtype: torch.dtype) -> Predictor:
    """A trained model as a predictor."""
    return lambda _, prompt: model(prompt.to(dtype)).double()


def solved(solver: solvers.Solver) -> Predictor:
    """A solver as a predictor: it solves the problem that a prompt poses."""
    return lambda task, prompt: task.predictions(prompt, lambda A, b: torch.as_tensor(solver.solve(A, b).x))


def three(told: str, name: str, **options: Any) -> dict[str, Predictor]:
    """A learned solver, its model alone and its control."""
    run = precisionlab.load(name)
    return {
        told: solved(load_solver(run, **options)),
        f"{told}, alone": solved(load_solver(run, **options | {"refinement": None})),
        f"{told}, control": solved(load_control(run, **options)),
    }


def iterated(task: Ode) -> dict[str, Predictor]:
    """What is not trained on the equations."""
    steps: dict[str, Any] = {"max_iterations": ITERATIONS, "tolerance": 0.0}
    predictors = {DIRECT: solved(solvers.get("qr"))}
    predictors |= three(NEWTON, STEP[task]) if task in STEP else {}
    predictors |= {DESCENT: solved(solvers.get("gradient-descent", **steps))}
    # The others have more unknowns than the learned gradient takes.
    return predictors | (three(LEARNED, GRADIENT, **steps) if task == SMALL else {})


def exact_answers(task: Ode, prompt: torch.Tensor) -> DD:
    """What least squares predicts, above float64: (B,)."""
    A, b, query = task.read(prompt)
    return dd.dot(solve_exactly(A, b), dd.from_double(query))


def squared_errors(answers: torch.Tensor, exact: DD) -> torch.Tensor:
    """Squared differences of answers (B, 1) to the exact predictions (B,)."""
    difference = dd.subtract(dd.from_double(answers.squeeze(-1)), exact)
    return (difference.hi + difference.lo).square()


def measure(models: Mapping[str, Predictor], *, problems: int = PROBLEMS) -> pd.DataFrame:
    """Every predictor under every shift; `models` are those trained on the small task."""
    rows = []
    for task, ends in ((SMALL, models), (MIDDLE, {}), (LARGE, {})):
        predictors = {**iterated(task), **ends}
        for shift, changes in SHIFTS.items():
            shifted = replace(task, **changes)
            generator = torch.Generator().manual_seed(2503)
            example = shifted.sample(problems, generator=generator, dtype=torch.float64)
            exact = exact_answers(shifted, example.prompt)
            size = float(example.target.square().median())
            for name, predict in predictors.items():
                with torch.no_grad():
                    errors = squared_errors(predict(shifted, example.prompt), exact)
                low, median, high = errors.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
                facts = {"sensors": task.sensors, "shift": shift, "predictor": name}
                rows.append({**facts, "median": median, "q25": low, "q75": high, "median answer²": size})
    return pd.DataFrame(rows)


def trained() -> dict[str, Predictor]:
    """The models trained end to end."""
    runs = {told: precisionlab.train(experiment(mixer), progress=False) for told, mixer in MIXERS.items()}
    return {told: emitted(run.model, DTYPES[run.experiment.dtype]) for told, run in runs.items()}


def medians(results: pd.DataFrame, task: Ode) -> pd.DataFrame:
    """By shift and predictor."""
    rows = results[results["sensors"] == task.sensors]
    return rows.pivot_table(index="shift", columns="predictor", values="median", sort=False)


def title(results: pd.DataFrame) -> str:
    """What stands as drawn in training: models alone, classical solvers, models trained end to end."""
    parts = []
    for task, names in ((MIDDLE, [NEWTON]), (SMALL, [NEWTON, LEARNED])):
        usual = medians(results, task).loc[USUAL]
        told = [f"{name} alone is at {format_mse(usual[f'{name}, alone'])}" for name in names]
        told += [f"QR at {format_mse(usual[DIRECT])}"]
        told += [f"gradient descent at {format_mse(usual[DESCENT])}"] if LEARNED in names else []
        told += [f"{name} at {format_mse(usual[name])}" for name in MIXERS if name in usual]
        parts.append(f"with {task.sensors} sensors {', '.join(told)}")
    return f"Equations as least squares, {'; '.join(parts)}"


def gap(results: pd.DataFrame) -> str:
    """How far the learned gradient alone is from gradient descent, over the shifts."""
    table = medians(results, SMALL)
    ratios = table[f"{LEARNED}, alone"] / table[DESCENT]
    if ratios.max() <= 2 and ratios.min() >= 0.5:
        return f"Under every shift the learned gradient alone is within {(ratios - 1).abs().max():.0%} of {DESCENT}"
    return (
        f"Alone the learned gradient errs {format_ratio(ratios.min())} to {format_ratio(ratios.max())} {DESCENT} "
        f"(the largest under {ratios.idxmax()})"
    )


def beside_qr(results: pd.DataFrame) -> str:
    """Under how many shifts Newton–Schulz errs less than QR: alone, refined and as its control."""
    table = medians(results, MIDDLE)
    told = [
        f"{label} under {int((table[name] < table[DIRECT]).sum())} of {len(table)} shifts"
        for label, name in (("alone", f"{NEWTON}, alone"), ("refined", NEWTON), ("its control", f"{NEWTON}, control"))
    ]
    return f"Learned Newton–Schulz errs less than QR {', '.join(told)}"


def wrapper(results: pd.DataFrame) -> str:
    """What refinement makes of each model, and of its control, as drawn in training."""
    told = []
    for task, name in ((MIDDLE, NEWTON), (SMALL, LEARNED)):
        usual = medians(results, task).loc[USUAL]
        whole, alone, control = (float(usual[part]) for part in (name, f"{name}, alone", f"{name}, control"))
        ends = f"{name}: alone {format_mse(alone)}, refined {format_mse(whole)}, control {format_mse(control)}"
        if max(whole, alone, control) <= 2 * min(whole, alone, control):
            told.append(f"{ends}, so neither the model nor refinement decides where it ends")
        else:
            same = max(whole, control) <= 2 * min(whole, control)
            told.append(f"{ends}, so {'refinement' if same else 'the model'} decides where it ends")
    return f"{sentence(told)}."


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    small, middle, large = (results[results["sensors"] == task.sensors] for task in (SMALL, MIDDLE, LARGE))
    formats = dict.fromkeys(["median", "q25", "q75", "median answer²"], ".1e")
    theirs = pd.DataFrame([{"the paper": name, "median MSE": mse} for name, mse in PAPER_MEDIANS.items()])
    common: dict[str, Any] = {"x": "shift", "y": "median", "low": "q25", "high": "q75", "series": "predictor"}
    common |= {"y_label": "squared error"}
    over = f"Median of {PROBLEMS:,} problems and quartiles."
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="newton",
                frame=middle,
                title=beside_qr(results),
                caption=f"13 sensors, 25 points: 15 unknowns, 24 rows. {over} With a forcing of twice the length scale "
                "A is singular to working precision.",
                **common,
            ),
            Figure(
                name="shifts",
                frame=small,
                title=gap(results),
                caption=f"3 sensors, 21 points: 5 unknowns, 20 rows. {over}",
                **common,
            ),
            Text(title="What refinement does", body=wrapper(results)),
            Table(frame=middle, title="13 sensors, 25 points", formats=formats),
            Table(frame=small, title="3 sensors, 21 points", formats=formats),
            Table(
                frame=large,
                title="21 sensors, 25 points: the paper's size",
                caption="23 unknowns, more than any shipped model takes.",
                formats=formats,
            ),
            Table(
                frame=theirs,
                title="The paper's figures",
                caption="21 sensors, 25 points, float32, medians of 5 problems.",
                formats={"median MSE": ".1e"},
            ),
            Text(
                title="What is compared",
                body="The learned gradient and Newton–Schulz step are linear attention trained on Gaussian problems, "
                f"{', '.join((GRADIENT, *STEP.values()))}. Gradients take {ITERATIONS} steps, chosen by the spectrum "
                "of each problem. The models trained end to end are small and in float32: three layers of width "
                f"{WIDTH}, {STEPS:,} steps of {BATCH} prompts.",
            ),
        ],
        spread=f"quartiles over {PROBLEMS:,} problems; one seed of each trained model",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=lambda: measure(trained()),
            settings={
                "iterations": ITERATIONS,
                "problems": PROBLEMS,
                "steps": STEPS,
                "batch": BATCH,
                "width": WIDTH,
                "shifts": SHIFTS,
            },
            checkpoints=(GRADIENT, *STEP.values()),
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
