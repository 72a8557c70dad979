"""Table: which algorithm does each shipped model behave like, as a predictor of a linear function from noisy examples?

    python reports/neighbours/study.py

A prompt holds rows a_i ~ N(0, I) and b_i = a_i · w + σ e_i with w, e ~ N(0, I); a predictor says what b is at fresh
queries q ~ N(0, I). Two predictors are compared by their squared difference, E (p₁(q) − p₂(q))². Learned: every shipped
model whose task makes a solver, applied T times from zero, and every in-context model as it is. Beside them:

    gradient descent, k steps of ½‖A x − b‖²/N with η = 1/2         ridge, (AᵀA + λI)⁻¹ Aᵀb, with σ² among the λ
    Newton's method, k Newton–Schulz steps from X₀ ∝ Aᵀ             least squares, by QR
    heavy ball, k steps with the coefficients of κ = 10

and, where there is one, the same task's constructed weights in the same solver.

Reference: Akyürek et al., ICLR 2023, arXiv 2211.15661 (squared differences of predictions); von Oswald et al., ICML
2023, arXiv 2212.07677 (constructed weights); Fu et al., NeurIPS 2024, arXiv 2310.17086 (steps of Newton's method).
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import Run
from precisionlab.config import kind_of
from precisionlab.models import Backbone, constructions
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.runs import zoo
from precisionlab.tasks import GradientDescent, InContextLeastSquares, SolverTask, heavy_ball, newton_schulz
from precisionlab.tasks.gradient_descent import descend
from precisionlab.tasks.in_context_baselines import ridge
from precisionlab.tasks.layout import Problem
from solvers import LstsqResult
from solvers.learned.iterates import LearnedMomentum
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.solver import Solver

NOISES = (0.0, 0.1, 0.5, 1.0)
APPLICATIONS = (1, 4, 8, 16, 64)
STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PENALTIES = (1e-2, 1e-1, 1.0, 1e1, 1e2)
STEP_SIZE, CONDITION = 0.5, 10.0
QUERIES, SEED = 4, 2211
SHOWN_NOISE, SHOWN_APPLICATIONS = 0.1, 16
SAME = 1e-20
"""Squared difference up to which two predictors are one."""
COMMAND = "python reports/neighbours/study.py"


class Prompts(NamedTuple):
    """What predictors are shown, and asked.

    Args:
        A: Rows, (B, N, n).
        b: Right-hand sides, (B, N).
        queries: (B, Q, n).
    """

    A: torch.Tensor
    b: torch.Tensor
    queries: torch.Tensor


class Predictor(NamedTuple):
    """A predictor's answers.

    Args:
        family: Which algorithm.
        setting: Its parameter, for the table.
        predictions: (B, Q), float64.
    """

    family: str
    setting: str
    predictions: torch.Tensor

    @property
    def name(self) -> str:
        """Algorithm and parameter."""
        return f"{self.family}, {self.setting}" if self.setting else self.family


def prompts(rows: int, n: int, noise: float, count: int) -> Prompts:
    """Draw prompts.

    Args:
        rows: N.
        n: Unknowns.
        noise: σ.
        count: How many.

    Returns:
        The same w, rows and queries for every σ, float64.
    """
    generator = torch.Generator().manual_seed(SEED)
    A = torch.randn(count, rows, n, dtype=torch.float64, generator=generator)
    w = torch.randn(count, n, 1, dtype=torch.float64, generator=generator)
    e = torch.randn(count, rows, dtype=torch.float64, generator=generator)
    queries = torch.randn(count, QUERIES, n, dtype=torch.float64, generator=generator)
    return Prompts(A, (A @ w).squeeze(-1) + noise * e, queries)


def _predicted(prompts: Prompts, x: torch.Tensor) -> torch.Tensor:
    predictions: torch.Tensor = (prompts.queries @ x.double().unsqueeze(-1)).squeeze(-1)
    return predictions


def _iterates(solver: Solver, prompts: Prompts, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The iterates from zero, (T+1, B, n)."""
    result: LstsqResult = solver.solve(prompts.A.to(dtype), prompts.b.to(dtype), record=True)
    return torch.as_tensor(result.x).unsqueeze(0) if result.trace is None else torch.as_tensor(result.trace)


def algorithms(prompts: Prompts, noise: float) -> list[Predictor]:
    """What is not learned.

    Args:
        prompts: What is shown and asked.
        noise: σ, of which ridge takes the square.

    Returns:
        Its predictions.
    """
    A, b, _ = prompts
    iterates = descend(Problem(A, b, torch.zeros_like(A[:, 0])), steps=max(STEPS), step_size=STEP_SIZE)
    found = [Predictor("gradient descent", f"{k} steps", _predicted(prompts, iterates[:, k - 1])) for k in STEPS]
    step = partial(heavy_ball.step, condition=CONDITION)
    ball = _iterates(LearnedMomentum(step, max_iterations=max(STEPS), tolerance=0.0), prompts)
    newton = _iterates(LearnedNewtonSchulz(newton_schulz.step, refinement=None, max_iterations=20), prompts)
    for family, trace in (("heavy ball", ball), ("Newton's method", newton)):
        reached = (k for k in sorted({*STEPS, *range(1, 13)}) if k < len(trace))
        found += [Predictor(family, f"{k} steps", _predicted(prompts, trace[k])) for k in reached]
    penalties = sorted({*PENALTIES, noise**2} - {0.0})
    found += [Predictor("ridge", f"λ = {value:g}", _predicted(prompts, ridge(value)(A, b))) for value in penalties]
    exact = torch.as_tensor(solvers.get("qr").solve(A, b).x)
    return [*found, Predictor("least squares", "", _predicted(prompts, exact))]


def _momentum(task: SolverTask) -> Backbone:
    alpha, beta = heavy_ball.coefficients(task.condition)  # type: ignore[attr-defined]
    return constructions.heavy_ball_step(n=task.n, alpha=alpha, beta=beta)


def _descent(task: SolverTask) -> Backbone:
    steps, eta = task.steps, task.step_size  # type: ignore[attr-defined]
    return constructions.gradient_descent(n=task.n, rows=task.rows, steps=steps, step_size=eta)


CONSTRUCTED: dict[str, Callable[[SolverTask], Backbone]] = {
    "explicit-gradient": lambda task: constructions.gradient_step(n=task.n, rows=task.rows),
    "gradient-descent": _descent,
    "heavy-ball": _momentum,
    "newton-schulz": lambda task: constructions.newton_schulz_step(n=task.n),
}
"""Exact weights of linear attention, by task kind, for prompts in the layout that tasks have unless told otherwise."""


def _solver(task: SolverTask, model: Backbone) -> Solver:
    """The solver of a task's model, made to take a fixed number of plain steps."""
    solver_class: type[Any] = task.solver_class
    wanted = {"max_iterations": max(APPLICATIONS), "tolerance": 0.0, "refinement": None}
    wanted["step_size"] = STEP_SIZE / task.rows
    known = inspect.signature(solver_class).parameters
    made: Solver = solver_class(task.step(model), **{key: value for key, value in wanted.items() if key in known})
    return made


def learned(run: Run, prompts: Prompts) -> Iterator[tuple[int, torch.Tensor, torch.Tensor | None]]:
    """A model's predictions.

    Args:
        run: Whose task makes a solver, or is in-context least squares.
        prompts: What is shown and asked.

    Yields:
        Applications, predictions, and those of constructed weights where there are any.
    """
    task, dtype = run.experiment.task, DTYPES[run.experiment.dtype]
    if isinstance(task, InContextLeastSquares):
        yield 1, _in_context(task, run.model, prompts, dtype), None
        return
    assert isinstance(task, SolverTask)
    if isinstance(task, GradientDescent):
        # Its solver brings A to the size that k steps of the task's η contract; the prompts have that size already.
        written_down = _applied(
            dataclasses.replace(task, query="first"), CONSTRUCTED[kind_of(task)](task), prompts, torch.float64
        )
        for count, x in _applied(task, run.model, prompts, dtype).items():
            yield count, _predicted(prompts, x), _predicted(prompts, written_down[count])
        return
    trace = _iterates(_solver(task, run.model), prompts, dtype)
    exact = None
    if kind_of(task) in CONSTRUCTED and getattr(task, "query", "first") == "first" and getattr(task, "repeats", 1) == 1:
        exact = _iterates(_solver(task, CONSTRUCTED[kind_of(task)](task)), prompts)
    for count in [count for count in APPLICATIONS if count < len(trace)] or [len(trace) - 1]:
        constructed = None if exact is None else _predicted(prompts, exact[min(count, len(exact) - 1)])
        yield max(count, 1), _predicted(prompts, trace[count]), constructed


def _applied(task: GradientDescent, model: Backbone, prompts: Prompts, dtype: torch.dtype) -> dict[int, torch.Tensor]:
    """What a model of k steps has reached from zero, after as many applications as there are steps to compare with."""
    step, x = task.step(model), torch.zeros_like(prompts.A[:, 0], dtype=dtype)
    reached = dict[int, torch.Tensor]()
    for count in range(1, max(STEPS) // task.steps + 1):
        x = step(prompts.A.to(dtype), prompts.b.to(dtype), x)
        if count in APPLICATIONS:
            reached[count] = x
    return reached


def _in_context(task: InContextLeastSquares, model: Backbone, prompts: Prompts, dtype: torch.dtype) -> torch.Tensor:
    """Predictions of the last point, each query a prompt of its own."""
    A = torch.cat([prompts.A.repeat_interleave(QUERIES, dim=0), prompts.queries.flatten(0, 1).unsqueeze(1)], dim=1)
    b = torch.nn.functional.pad(prompts.b.repeat_interleave(QUERIES, dim=0), (0, 1))
    rows, answers = torch.nn.functional.pad(A, (0, 1)), torch.nn.functional.pad(b.unsqueeze(-1), (A.shape[-1], 0))
    separate = torch.stack([rows, answers], dim=2).flatten(1, 2)[:, :-1]
    tokens = separate if task.emits == "all" else rows + answers
    emitted = model(tokens.to(dtype))
    last: torch.Tensor = emitted.reshape(len(A), -1)[:, -1].double()
    return last.reshape(-1, QUERIES)


def compare(name: str, noise: float, count: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """One model at one level of noise.

    Args:
        name: A shipped checkpoint.
        noise: σ.
        count: Prompts.

    Returns:
        A row for each number of applications; and the squared difference to every algorithm, for each.
    """
    run = precisionlab.load(name)
    task = run.experiment.task
    assert isinstance(task, SolverTask | InContextLeastSquares)
    shown = prompts(task.points - 1 if isinstance(task, InContextLeastSquares) else task.rows, task.n, noise, count)
    known = algorithms(shown, noise)
    summary, profile = [], []
    for applications, predictions, constructed in learned(run, shown):
        differences = [float((predictions - one.predictions).square().mean()) for one in known]
        order = sorted(range(len(known)), key=differences.__getitem__)
        first = order[0]
        second = next(place for place in order if known[place].family != known[first].family)
        facts = {"model": name, "applications": applications, "noise": noise}
        summary.append({
            **facts,
            "closest": known[first].name,
            "difference": differences[first],
            "next family": known[second].name,
            "its difference": differences[second],
            "constructed": float("nan") if constructed is None else float((predictions - constructed).square().mean()),
        })
        profile += [
            {**facts, "family": one.family, "setting": one.setting, "difference": difference}
            for one, difference in zip(known, differences, strict=True)
        ]
    return summary, profile


def conclusion(summary: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        summary: All models at all levels of noise.

    Returns:
        The page's title.
    """
    first = summary.drop_duplicates("model").set_index("model")
    families, worst = first["closest"].str.split(",").str[0], summary.groupby("model")["difference"].max()
    same = worst[worst <= SAME]
    parts = [f"{family} ({count})" for family, count in families[same.index].value_counts().items()]
    title = f"{len(same)} of {len(worst)} shipped predictors are known algorithms up to rounding: {', '.join(parts)}"
    apart = [f"{model} is none ({worst[model]:.0e})" for model in worst.index.difference(same.index)]
    return "; ".join([f"{title}, squared difference at most {same.max():.0e}", *apart])


def sections(summary: pd.DataFrame, profile: pd.DataFrame, left_out: dict[str, str]) -> list[Figure | Table | Text]:
    """What the page shows.

    Args:
        summary: All models at all levels of noise.
        profile: Squared differences to every algorithm.
        left_out: Models that make no predictions, and why.

    Returns:
        Its sections.
    """
    quiet = profile[(profile["noise"] == SHOWN_NOISE) & (profile["applications"] <= SHOWN_APPLICATIONS)]
    most = quiet.groupby("model")["applications"].transform("max")
    shown = quiet[quiet["applications"] == most].copy()
    shown["predictor"] = shown["model"] + ", " + shown["applications"].astype(str) + "×"
    table = shown.pivot_table(
        index=["family", "setting"], columns="predictor", values="difference", sort=False
    ).reset_index()
    steps = shown[shown["setting"].str.endswith(" steps")].copy()
    steps["k"] = steps["setting"].str.removesuffix(" steps").astype(int)
    names = "".join(f"\n\n{name}: {why}." for name, why in left_out.items()) or "\n\nnone."
    return [
        Figure(
            name="steps",
            frame=steps[["predictor", "family", "k", "difference"]],
            x="k",
            y="difference",
            series="predictor",
            panel="family",
            x_log=True,
            x_label="steps of the algorithm",
            y_label="squared difference of predictions",
            title="Which algorithm a model applied T times is: its curve falls there, at one number of steps",
            caption=f"Noise σ = {SHOWN_NOISE}. Where a curve falls to rounding, the two are one predictor. With "
            "n near N gradient descent with η = 1/2 diverges on some prompts.",
        ),
        Table(
            name="closest",
            frame=summary,
            title="The algorithm closest to each model, and the closest of another kind",
            caption="Mean squared differences of predictions at fresh queries; constructed: to the exact weights in "
            "the same solver. A dash: there are none for that task.",
            formats={"difference": ".1e", "its difference": ".1e", "constructed": ".1e", "noise": "g"},
        ),
        Table(
            name="profile",
            frame=table,
            title=f"Squared differences to every algorithm, σ = {SHOWN_NOISE}",
            caption=f"Each model applied as often as the column says, at most {SHOWN_APPLICATIONS} times.",
            formats=dict.fromkeys(table.columns[2:], ".1e"),
        ),
        Text(title="Shipped models that are not in the table", body=f"Those that make no prediction:{names}"),
    ]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the page goes.")
@click.option("--prompts", "count", default=512, show_default=True, help="Prompts at each level of noise.")
def main(out: Path, count: int) -> None:
    """Compare every shipped model with every algorithm, and write the page."""
    summary, profile, left_out = list[dict[str, object]](), list[dict[str, object]](), {}
    with math_flags(), torch.no_grad():
        for name in zoo.names():
            task = precisionlab.load(name).experiment.task
            if not isinstance(task, SolverTask | InContextLeastSquares):
                left_out[name] = f"the task {kind_of(task)!r} emits no solution and no prediction"
                continue
            for noise in NOISES:
                one, all_of_it = compare(name, noise, count)
                summary += one
                profile += all_of_it
    frame = pd.DataFrame(summary)
    write_page(
        out,
        title=conclusion(frame),
        sections=sections(frame, pd.DataFrame(profile), left_out),
        spread=f"means over {count} prompts with {QUERIES} queries each; one checkpoint of each model, as shipped",
        config={"prompts": count, "queries": QUERIES, "seed": SEED, "noise": list(NOISES), "models": zoo.names()},
        environment=environment("cpu"),
        command=COMMAND,
    )


if __name__ == "__main__":
    main()
