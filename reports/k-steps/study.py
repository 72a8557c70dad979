"""k steps of gradient descent: the error of looped models after 1, 2, 4 and 8 loops.

    python reports/k-steps/study.py

Nothing but x₀ and the rows is given; the model's own answer takes the place of x₀ between loops, and the k-th answer is
compared with the k-th iterate in double-double arithmetic. The model stands alone: no solver is around it. Its control
is the formula in the same dtype.
"""

from dataclasses import replace

import pandas as pd
import torch

import precisionlab
from precisionlab import Run
from precisionlab.config import kind_of
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, format_ratio
from precisionlab.tasks import GradientDescent
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.layout import read

NAMES = ("linear-attention/gradient-descent-8", "gated-conv/gradient-descent-8")
CONTROL = "the formula in float64"
STEPS = (1, 2, 4, 8)
PROBLEMS = 4096
PAPER = {4: 1e-10}
"""The paper's k-step iterates, MSE in float32."""


@torch.no_grad()
def errors(run: Run, *, problems: int = PROBLEMS, seed: int = 0) -> pd.DataFrame:
    """The error of a looped model at each k, and that of the formula in the model's dtype."""
    experiment = run.experiment
    if not isinstance(experiment.task, GradientDescent):
        raise ValueError(f"{run.card.name}: its task is {kind_of(experiment.task)}, want gradient-descent")
    rows, dtype = [], DTYPES[experiment.dtype]
    for steps in STEPS:
        task = replace(experiment.task, steps=steps)
        model = replace(experiment, task=task, phases=experiment.phases[-1:]).backbone()
        model.load_state_dict(run.model.state_dict())
        # A seed of its own for every k, none of which training draws from.
        generator = torch.Generator().manual_seed(2**40 + 1000 * seed + steps)
        prompt = task.sample(problems, generator=generator, dtype=dtype).prompt
        problem = read(prompt, query=task.query, repeats=task.repeats)
        answers = {run.card.name: model(prompt), CONTROL: task.control(*problem)}
        rows += [
            {"model": name, "k": steps, "mse": float(mean_squared_error(task, answer, prompt))}
            for name, answer in answers.items()
        ]
    return pd.DataFrame(rows)


def measure() -> pd.DataFrame:
    """Both models, and their control once: they are given the same problems."""
    both = pd.concat([errors(precisionlab.load(name)) for name in NAMES], ignore_index=True)
    return both.drop_duplicates(["model", "k"], ignore_index=True)


def title(results: pd.DataFrame) -> str:
    """The largest error of all."""
    learned = results[results["model"] != CONTROL]
    k = learned["k"]
    return (
        f"Looped polynomial models emit the k-th iterate to {format_mse(learned['mse'].max())} or below, "
        f"k = {k.min()} to {k.max()}"
    )


def growth(results: pd.DataFrame) -> str:
    """Whether a model's error grows with k, from its smallest on the way to its last."""
    grown = {}
    for name, rows in results[results["model"] != CONTROL].groupby("model", sort=False):
        curve = rows.set_index("k")["mse"]
        grown[name] = (float(curve.iloc[-1] / curve.min()), int(curve.idxmin()), int(curve.index[-1]))
    name, (ratio, low, last) = max(grown.items(), key=lambda item: item[1][0])
    if ratio <= 1:
        return "The error does not grow with the number of steps"
    return f"The error grows with the number of steps: {format_ratio(ratio)} from k = {low} to {last} ({name})"


def beside_control(results: pd.DataFrame) -> str:
    """How far the models are above the formula."""
    table = results.pivot_table(index="k", columns="model", values="mse", sort=False)
    ratios = [(name, table[name] / table[CONTROL]) for name in table if name != CONTROL]
    told = [f"{name} is {format_ratio(r.min())} to {format_ratio(r.max())} the formula's" for name, r in ratios]
    return f"Of the error of {CONTROL}: {'; '.join(told)}."


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    table = results.pivot_table(index="k", columns="model", values="mse", sort=False).reset_index()
    table["paper (float32)"] = [PAPER.get(int(k), float("nan")) for k in table["k"]]
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="error",
                frame=results,
                x="k",
                y="mse",
                series="model",
                title=growth(results),
                caption=f"Test MSE of x_k on {PROBLEMS:,} fresh problems, against double-double arithmetic.",
                y_label="test MSE",
            ),
            Table(frame=table, title="By k", formats={str(name): ".1e" for name in table if name != "k"}),
            Text(title="Beside the control", body=beside_control(results)),
        ],
        spread="one checkpoint a model; every seed that was trained is in reports/floors",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(function=measure, settings={"problems": PROBLEMS, "steps": list(STEPS)}, checkpoints=NAMES)
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
