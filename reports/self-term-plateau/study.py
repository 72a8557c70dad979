"""Where Adam rests before linear attention can tell x₀ from a row, and what a longer x₀ does about it.

    python reports/self-term-plateau/study.py

One layer emits Σ a_i (a_i·x₀ − b_i) but for what token 0 adds to its own sum, x₀‖x₀‖². The best multiple of x₀ leaves

    c x₀ (‖x₀‖² − (n + 2))/(N + 1),    c = 1,    of mean square 2 (n + 2)/(N + 1)²

of it. Adam alone, with n and with four active rows, on problems drawn as the paper's and on problems whose x₀ is twice
as long; then c, by least squares on the errors of fresh problems, and the share of the mean squared error that is this
term. Half an hour on two cores.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context

import pandas as pd
import torch

from precisionlab import Cell
from precisionlab.experiments import Experiment, get
from precisionlab.precision import math_flags
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import counted
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import Objective, fit
from precisionlab.training.adam import Adam
from precisionlab.training.objective import Stream
from precisionlab.training.trainer import Progress

NAMES = {10: "linear-attention/explicit-gradient-10", 20: "linear-attention/explicit-gradient-20"}
CASES = ((10, 10), (10, 4), (20, 20), (20, 4))
"""Unknowns and active rows."""
SCALES = (1.0, 2.0)
SEEDS = range(3)
STEPS, PROBLEMS = 1500, 4096
LEFT = 0.1
"""A coefficient below this has left the plateau, where it is 1."""


def plateau(n: int, rows: int) -> float:
    """The mean squared error of a model that lacks nothing but to tell x₀ from a row, of N."""
    return 2 * (n + 2) / (rows + 1) ** 2


def recipe(n: int, active: int, scale: float) -> Experiment:
    """Adam alone, on the registered model: rows that are not zero, and the standard deviation of x₀'s entries."""
    adam = Adam(steps=STEPS, schedule="cosine", easier={"active_rows": active, "iterate_scale": scale})
    return replace(get(NAMES[n]), phases=(adam,), attempts=1)


def self_term(error: torch.Tensor, x0: torch.Tensor, rows: int) -> tuple[float, float]:
    """How much of an error (B, n) is the term that token 0 adds to its own sum: c, and its share of the square."""
    n = x0.shape[-1]
    term = x0 * (x0.square().sum(dim=-1, keepdim=True) - (n + 2)) / (rows + 1)
    c = (error * term).sum() / term.square().sum()
    return float(c), float((c * term).square().sum() / error.square().sum())


def one(case: tuple[int, int], scale: float, seed: int) -> dict[str, float]:
    """Train on one thread, and take the error apart."""
    n, active = case
    experiment = recipe(n, active, scale)
    torch.set_num_threads(1)
    task = experiment.task
    assert isinstance(task, ExplicitGradient)
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


def measure() -> pd.DataFrame:
    """Every case, length of x₀ and seed."""
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return pd.DataFrame(pool.map(one, *zip(*product(CASES, SCALES, SEEDS), strict=True)))


def title(results: pd.DataFrame) -> str:
    """How many tell x₀ from a row, by its length."""
    left = results["coefficient"].abs() < LEFT
    told = [
        f"{int(left[chosen].sum())} of {counted(int(chosen.sum()), 'model')} where x₀ is {scale:g} times as long"
        for scale in sorted(set(results["x0_scale"]))
        for chosen in [results["x0_scale"] == scale]
    ]
    return f"After {STEPS:,} steps of Adam x₀ is told from a row by {', by '.join(told)}".replace(
        "where x₀ is 1 times as long", "where x₀ is as long as the paper's"
    )


def stuck(results: pd.DataFrame) -> str:
    """Where models rest on the plateau."""
    rows = results[results["coefficient"].abs() >= LEFT]
    if rows.empty:
        return "No model rests on the plateau"
    places = [
        f"n = {n}, {active} rows, x₀ × {scale:g} ({len(some)})"
        for (n, active, scale), some in rows.groupby(["n", "active_rows", "x0_scale"], sort=False)
    ]
    return f"{counted(len(rows), 'model')} of {len(results)} on the plateau: {', '.join(places)}"


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """By case and length of x₀."""
    groups = results.assign(left=results["coefficient"].abs() < LEFT).groupby(
        ["n", "active_rows", "x0_scale"], sort=False
    )
    errors = groups["test_mse"].agg(["median", "min", "max"])
    counts = groups["left"].agg(["sum", "size"]).set_axis(["left the plateau", "seeds"], axis=1)
    return pd.concat([groups["plateau"].first(), counts, errors], axis=1).reset_index()


def page(results: pd.DataFrame) -> Content:
    """What the page says."""
    shown = results.assign(
        series="x₀ × " + results["x0_scale"].map("{:g}".format),
        case=[f"n = {n}, {active} rows" for n, active in zip(results["n"], results["active_rows"], strict=True)],
    )
    formats = {"test_mse": ".1e", "plateau": ".1e", "coefficient": ".3f", "share": ".1%", "seconds": ".0f"}
    levels = {f"plateau, n = {n}": mse for n, mse in results.groupby("n")["plateau"].first().items()}
    return Content(
        title=title(results),
        sections=[
            Figure(
                name="plateau",
                frame=shown,
                x="case",
                y="test_mse",
                series="series",
                title=stuck(results),
                caption=f"Test MSE on {PROBLEMS:,} fresh problems, float64, a point a seed.",
                y_label="test MSE",
                lines=levels,
                joined=False,
            ),
            Table(
                frame=summary(results),
                title="By case",
                caption="left the plateau: trainings whose c is below "
                f"{LEFT}; plateau: the mean square of the term with c = 1.",
                formats={"plateau": ".1e", "median": ".1e", "min": ".1e", "max": ".1e"},
            ),
            Table(frame=results, title="Every training", formats=formats),
            Text(
                title="What is measured",
                body="coefficient: c, by least squares on the errors of fresh problems; share: what part of the mean "
                "squared error is the term. Problems are measured as the paper draws them, whatever was trained on.",
            ),
        ],
        spread=f"{len(SEEDS)} seeds a case, every one in the table",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=measure,
            settings={
                "experiments": {name: Cell(experiment=name).key for name in NAMES.values()},
                "unknowns, active rows": [list(case) for case in CASES],
                "x0 scale": list(SCALES),
                "seeds": list(SEEDS),
                "steps": STEPS,
                "problems": PROBLEMS,
            },
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
