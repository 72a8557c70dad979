"""Where Adam rests before linear attention can tell x₀ from a row, and what a longer x₀ does about it.

    python reports/self-term-plateau/study.py

One layer emits Σ a_i (a_i·x₀ − b_i) but for what token 0 adds to its own sum, x₀‖x₀‖². The best multiple of x₀ leaves

    c x₀ (‖x₀‖² − (n + 2))/(N + 1),    c = 1,    of mean square 2 (n + 2)/(N + 1)²

of it. Adam alone, with n and with four active rows, on problems drawn as the paper's and on problems whose x₀ is twice
as long; then c, by least squares on the errors of fresh problems, and the share of the mean squared error that is this
term.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from precisionlab.config import kind_of
from precisionlab.experiments import get
from precisionlab.experiments.experiment import Experiment
from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import Objective, fit
from precisionlab.training.adam import Adam
from precisionlab.training.objective import Stream
from precisionlab.training.trainer import Progress

NAMES = {10: "linear-attention/explicit-gradient-10", 20: "linear-attention/explicit-gradient-20"}
SETTINGS = ((10, 10), (10, 4), (20, 20), (20, 4))
"""Unknowns and active rows."""
SCALES = (1.0, 2.0)
SEEDS = range(3)
STEPS, PROBLEMS = 1500, 4096
LEFT = 0.1
"""A coefficient below this has left the plateau, where it is 1."""
COMMAND = "python reports/self-term-plateau/study.py"


def plateau(n: int, rows: int) -> float:
    """The error of a model that lacks nothing but to tell x₀ from a row.

    Args:
        n: Unknowns.
        rows: Of A, N.

    Returns:
        Mean squared error.
    """
    return 2 * (n + 2) / (rows + 1) ** 2


def recipe(n: int, active: int, scale: float) -> Experiment:
    """Adam alone, on the registered model.

    Args:
        n: Unknowns, a key of `NAMES`.
        active: Rows of the training problems that are not zero.
        scale: Standard deviation of x₀'s entries in training.

    Returns:
        The experiment.
    """
    registered = get(NAMES[n])
    adam = Adam(steps=STEPS, schedule="cosine", easier={"active_rows": active, "iterate_scale": scale})
    return replace(registered, phases=(adam,), attempts=1)


def self_term(error: torch.Tensor, x0: torch.Tensor, rows: int) -> tuple[float, float]:
    """How much of an error is the term that token 0 adds to its own sum.

    Args:
        error: Of emitted gradients, (B, n).
        x0: Iterates, (B, n).
        rows: Of the problems, N.

    Returns:
        c, and the share of the mean squared error that goes with it.
    """
    n = x0.shape[-1]
    term = x0 * (x0.square().sum(dim=-1, keepdim=True) - (n + 2)) / (rows + 1)
    c = (error * term).sum() / term.square().sum()
    return float(c), float((c * term).square().sum() / error.square().sum())


def measure(setting: tuple[int, int], scale: float, seed: int) -> dict[str, float]:
    """Train on one thread, and take the error apart.

    Args:
        setting: One of `SETTINGS`.
        scale: Standard deviation of x₀'s entries in training.
        seed: Of the run.

    Returns:
        A row of the table.

    Raises:
        TypeError: If the registered task is another.
    """
    n, active = setting
    experiment = recipe(n, active, scale)
    torch.set_num_threads(1)
    if not isinstance(task := experiment.task, ExplicitGradient):
        raise TypeError(f"{experiment.name}: want the explicit gradient, got {kind_of(task)}")
    objective = Objective(experiment.model, task, dtype=torch.float64, device="cpu", seed=seed)
    progress = Progress()
    with math_flags():
        fit(objective, experiment.phases, attempts=1, progress=progress)
    assert progress.phase_state is not None
    theta = torch.as_tensor(progress.phase_state["theta"])  # where it ended, not the best on the way
    fresh = objective.batch(Stream.TEST, size=PROBLEMS)
    with torch.no_grad():
        error = objective.predict(theta, fresh.prompt) - fresh.target
    c, share = self_term(error, fresh.prompt[:, 0, :n], task.rows)
    return {
        "n": n,
        "rows": task.rows,
        "active_rows": active,
        "x0_scale": scale,
        "seed": seed,
        "test_mse": objective.test_mse(theta, PROBLEMS),
        "plateau": plateau(n, task.rows),
        "coefficient": c,
        "share": share,
        "seconds": round(progress.elapsed, 1),
    }


def conclusion(results: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        results: A row a training.

    Returns:
        The page's title.
    """
    rows = results.assign(left=results["coefficient"].abs() < LEFT)
    plain, longer = (rows.loc[rows["x0_scale"] == scale, "left"] for scale in SCALES)
    return (
        f"After {STEPS:,} steps of Adam {int(plain.sum())} of {len(plain)} models tell x₀ from a row, "
        f"{int(longer.sum())} of {len(longer)} where x₀ is {SCALES[1]:g} times as long"
    )


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """The table by setting and length of x₀.

    Args:
        results: A row a training.

    Returns:
        How many left the plateau, and the median, smallest and largest test MSE.
    """
    groups = results.assign(left=results["coefficient"].abs() < LEFT).groupby(
        ["n", "active_rows", "x0_scale"], sort=False
    )
    errors = groups["test_mse"].agg(["median", "min", "max"])
    counts = groups["left"].agg(["sum", "size"]).set_axis(["left the plateau", "seeds"], axis=1)
    return pd.concat([groups["plateau"].first(), counts, errors], axis=1).reset_index()


def write(results: pd.DataFrame, out: Path, command: str) -> None:
    """Write the page.

    Args:
        results: A row a training.
        out: Its folder.
        command: What makes it.
    """
    title = conclusion(results)
    shown = results.assign(
        series="x₀ × " + results["x0_scale"].map("{:g}".format),
        setting=[f"n = {n}, {active} rows" for n, active in zip(results["n"], results["active_rows"], strict=True)],
    )
    formats = {"test_mse": ".1e", "plateau": ".1e", "coefficient": ".3f", "share": ".1%", "seconds": ".0f"}
    write_page(
        out,
        title=title,
        sections=[
            Figure(
                name="plateau",
                frame=shown,
                x="setting",
                y="test_mse",
                series="series",
                title=title,
                caption="Test MSE on 4,096 problems drawn as the paper's, after Adam alone. The lines are the plateau, "
                "2 (n + 2)/(N + 1)².",
                y_label="test MSE",
                lines={
                    f"plateau, n = {n:g}": float(value) for n, value in results.groupby("n")["plateau"].first().items()
                },
                joined=False,
            ),
            Table(
                name="summary",
                frame=summary(results),
                title="By setting",
                caption=f"left the plateau: c below {LEFT:g}. x0_scale and active_rows: in training alone.",
                formats={"plateau": ".1e", "median": ".1e", "min": ".1e", "max": ".1e"},
            ),
            Table(
                name="all",
                frame=results,
                title="Every training",
                caption="coefficient: c, 1 on the plateau and 0 in a solution. share: of the test MSE that is the "
                "term.",
                formats=formats,
            ),
            Text(
                title="What it means",
                body="The term is cubic in x₀, and the gradient affine: what is small beside the target at the length "
                "that the paper draws is not at twice that. Fewer active rows make the rows longer and the term "
                "smaller beside them. What solves the problems of a longer x₀ exactly solves "
                "all, and Levenberg–Marquardt sees the paper's alone (docs/precision.md).",
            ),
        ],
        spread=f"{len(SEEDS)} seeds a setting, every one in the table",
        config={"steps": STEPS, "x0 scales": list(SCALES), "seeds": list(SEEDS), "problems": PROBLEMS},
        environment=environment("cpu"),
        command=command,
    )


def main() -> None:
    """Train, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/self-term-plateau"))
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        rows = []
        for row in pool.map(measure, *zip(*product(SETTINGS, SCALES, SEEDS), strict=True)):
            rows.append(row)
            print(row, flush=True)
    results = pd.DataFrame(rows)
    write(results, arguments.out, COMMAND)


if __name__ == "__main__":
    main()
