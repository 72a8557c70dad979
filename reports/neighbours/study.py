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
from functools import cache, partial
from typing import Any, NamedTuple

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import Run
from precisionlab.config import kind_of
from precisionlab.models import Backbone, constructions
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, listed
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
PROMPTS = 512
ELSEWHERE = ("equivariant-attention/end-to-end-1e5", "equivariant-attention/end-to-end-1e7")
"""What end-to-end-1e3 is, for a larger κ: reports/any-size measures the three."""
NAMES = [name for name in zoo.names() if name not in ELSEWHERE]


class Prompts(NamedTuple):
    """What predictors are shown, and asked."""

    A: torch.Tensor
    b: torch.Tensor
    queries: torch.Tensor


class Predictor(NamedTuple):
    """A predictor's answers."""

    family: str
    setting: str
    predictions: torch.Tensor

    @property
    def name(self) -> str:
        """Algorithm and parameter."""
        return f"{self.family}, {self.setting}" if self.setting else self.family


def prompts(rows: int, n: int, noise: float, count: int) -> Prompts:
    """Draw prompts."""
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
    """What is not learned."""
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
    """A model's predictions."""
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
    """One model at one level of noise."""
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


@cache
def measured() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every shipped model that predicts: what it is closest to, and its profile at one level of noise."""
    summary, profile = list[dict[str, object]](), list[dict[str, object]]()
    with torch.no_grad():
        for name in NAMES:
            if isinstance(precisionlab.load(name).experiment.task, SolverTask | InContextLeastSquares):
                for noise in NOISES:
                    one, all_of_it = compare(name, noise, PROMPTS)
                    summary += one
                    profile += all_of_it
    frame = pd.DataFrame(profile)
    quiet = frame[(frame["noise"] == SHOWN_NOISE) & (frame["applications"] <= SHOWN_APPLICATIONS)]
    most = quiet.groupby("model")["applications"].transform("max")
    return pd.DataFrame(summary), quiet[quiet["applications"] == most].reset_index(drop=True)


def title(summary: pd.DataFrame) -> str:
    """How many are known algorithms up to rounding, and how far the others are from any."""
    first = summary.drop_duplicates("model").set_index("model")
    families, worst = first["closest"].str.split(",").str[0], summary.groupby("model")["difference"].max()
    same = worst[worst <= SAME]
    parts = [f"{family} ({count})" for family, count in families[same.index].value_counts().items()]
    told = f"{len(same)} of {len(worst)} shipped predictors are known algorithms up to rounding"
    told += f": {listed(parts)}, squared difference at most {format_mse(same.max())}" if parts else ""
    return "; ".join([
        told,
        *(f"{name} is none ({format_mse(worst[name])})" for name in worst.index.difference(same.index)),
    ])


def constructed(summary: pd.DataFrame) -> str:
    """How far the models are from exact weights in the same solver."""
    rows = summary[summary["constructed"].notna()]
    far = rows[rows["constructed"] > SAME]
    if far.empty:
        return f"Every model that has a construction predicts as it does, to {format_mse(rows['constructed'].max())}."
    names = list(dict.fromkeys(far["model"]))
    return f"{listed(names)} {'do' if len(names) > 1 else 'does'} not predict as constructed weights do."


def page(summary: pd.DataFrame, profile: pd.DataFrame) -> Content:
    """What the page says."""
    shown = profile.assign(predictor=profile["model"] + ", " + profile["applications"].astype(str) + "×")
    table = shown.pivot_table(
        index=["family", "setting"], columns="predictor", values="difference", sort=False
    ).reset_index()
    steps = shown[shown["setting"].str.endswith(" steps")].copy()
    steps["k"] = steps["setting"].str.removesuffix(" steps").astype(int)
    left_out = [name for name in NAMES if name not in set(summary["model"])]
    return Content(
        title=title(summary),
        sections=[
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
                title="How far each model, applied T times, is from k steps of an algorithm",
                caption=f"Noise σ = {SHOWN_NOISE}. Where a curve falls to rounding, the two are one predictor.",
            ),
            Table(
                frame=summary,
                title="The algorithm closest to each model, and the closest of another kind",
                caption="Mean squared differences of predictions at fresh queries; constructed: to the exact weights "
                "in the same solver. A dash: there are none for that task.",
                formats={"difference": ".1e", "its difference": ".1e", "constructed": ".1e", "noise": "g"},
            ),
            Table(
                frame=table,
                title=f"Squared differences to every algorithm, σ = {SHOWN_NOISE}",
                caption=f"Each model applied as often as the column says, at most {SHOWN_APPLICATIONS} times.",
                formats=dict.fromkeys(table.columns[2:], ".1e"),
            ),
            Text(
                title="How it is compared",
                body="A learned step is applied plainly, without refinement: the model stands alone. Constructed "
                f"weights are its control. {constructed(summary)}\n\nShipped models that make no prediction: "
                f"{listed(left_out) if left_out else 'none'}. On the page of any size: {listed(ELSEWHERE)}.",
            ),
        ],
        spread=f"means over {PROMPTS} prompts with {QUERIES} queries each; one checkpoint of each model, as shipped",
    )


SETTINGS = {"prompts": PROMPTS, "queries": QUERIES, "seed": SEED, "noise": list(NOISES)}
STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(function=lambda: measured()[0], settings=SETTINGS, checkpoints=NAMES),
        "profile": Measured(function=lambda: measured()[1], settings=SETTINGS, checkpoints=NAMES),
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
