"""k steps of gradient descent: the error of looped models after 1, 2, 4 and 8 loops.

    python reports/k-steps/study.py

Measures the shipped models, or runs of one's own. Nothing but x₀ and the rows is given; the model's own answer takes
the place of x₀ between loops, and the k-th answer is compared with the k-th iterate in double-double arithmetic.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

import precisionlab
from precisionlab.config import kind_of
from precisionlab.experiments.gradient_descent import STEPS
from precisionlab.precision import DTYPES, environment
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.runs import Run
from precisionlab.tasks import GradientDescent
from precisionlab.tasks.accuracy import mean_squared_error

NAMES = ("linear-attention/gradient-descent-8", "gated-conv/gradient-descent-8")
PROBLEMS = 4096
PAPER = {4: 1e-10}
"""The paper's k-step iterates, MSE in float32."""


@torch.no_grad()
def errors(run: Run, *, problems: int = PROBLEMS, seed: int = 0) -> pd.DataFrame:
    """The error of a looped model at each k.

    Args:
        run: Trained on `GradientDescent`.
        problems: Fresh problems.
        seed: Of these.

    Returns:
        Columns model, k and mse, a row for each k.

    Raises:
        ValueError: If the run is of another task.
    """
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
        rows.append({"model": run.card.name, "k": steps, "mse": float(mean_squared_error(task, model(prompt), prompt))})
    return pd.DataFrame(rows)


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: Rows of `errors`.
        out: Its folder.
        command: What makes it.
    """
    table = results.pivot_table(index="k", columns="model", values="mse", sort=False).reset_index()
    table["paper (float32)"] = [PAPER.get(int(k), float("nan")) for k in table["k"]]
    errors_only = [name for name in table.columns if name != "k"]
    write_page(
        out,
        title=f"Looped polynomial models emit the k-th iterate to {results['mse'].max():.0e} or below, k = 1 to 8",
        sections=[
            Figure(
                name="error",
                frame=results,
                x="k",
                y="mse",
                series="model",
                title="The error does not grow with the number of steps",
                caption=f"Test MSE of x_k on {PROBLEMS:,} fresh problems, against double-double arithmetic.",
                y_label="test MSE",
            ),
            Table(name="table", frame=table, title="By k", formats={str(name): ".1e" for name in errors_only}),
            Text(
                title="Why not",
                body="A loop's rounding error is of the order of u, and the next step of gradient descent contracts it "
                "as it contracts the error of any iterate.",
            ),
        ],
        spread="one checkpoint a model; every seed that was trained is in reports/floors",
        config={"problems": PROBLEMS, "steps": list(STEPS)},
        environment=environment("cpu"),
        command=command,
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(NAMES), help="shipped names or run directories")
    parser.add_argument("--out", type=Path, default=Path("reports/k-steps"))
    arguments = parser.parse_args()
    results = pd.concat([errors(precisionlab.load(name)) for name in arguments.models])
    write(results, arguments.out, "python reports/k-steps/study.py")


if __name__ == "__main__":
    main()
