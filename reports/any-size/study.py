"""Equivariant attention at any size: five trainings, solvers for κ up to 10⁷, and Newton–Schulz, each beside QR.

    python reports/any-size/study.py

One set of weights serves every number of unknowns and rows. Trainings: each recipe from five seeds, timed, and the
model end to end measured alone on fresh problems as the paper draws them. Solvers for κ up to a bound: problems of that
very κ, 1 to 100 unknowns, up to 10,000 rows, solved by one application of the model, nothing refined, its last layer
evaluated as the others or by the residual (docs/end-to-end.md). Newton–Schulz:
X b as the model left it, plain and accelerated, refined, and its control. Errors are against solutions in
double-double. A quarter of an hour on one core.
"""

import time
from copy import deepcopy
from itertools import product
from typing import Any

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import load_control, load_solver
from precisionlab.inspect import spectral
from precisionlab.models import EquivariantStack
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, format_ratio, listed
from precisionlab.tasks import LeastSquares
from precisionlab.tasks.accuracy import exact
from precisionlab.tasks.exact_least_squares import solve_exactly
from solvers import errors
from solvers.problems import LstsqProblem, random_problem

ROOM = "equivariant-attention"
ENDS, NEWTON = f"{ROOM}/end-to-end", f"{ROOM}/newton-schulz"
RECIPES = (ENDS, f"{ROOM}/explicit-gradient", NEWTON)
SEEDS = range(5)
SAMPLERS = {"A ~ N(0, I)": LeastSquares(), "κ = 5": LeastSquares(condition=5.0, spectrum="extremes")}
FRESH, AT_ONCE, SEED = 100_000, 10_000, 1219
PARTS = ("alone", "accelerated", "refined", "control")
BOUNDS = {f"{ENDS}-{name}": float(name) for name in ("1e3", "1e5", "1e7")}
SHAPES = ((20, 1), (20, 2), (20, 5), (80, 20), (400, 100), (10_000, 5))
LARGEST = (10_000, 100)
"""Rows and unknowns; the largest for the models that are applied once."""
RESIDUALS = (0.0, 1.0)
CONDITIONS = (1e1, 1e3, 1e5, 1e7, 1e9)
NUMBERS = 1_000_000
"""Entries of A in a cell, by which the number of its problems is chosen, at most 1,000 and at least 8."""


def fresh(model: torch.nn.Module, count: int = FRESH) -> dict[str, float]:
    """Mean squared errors of a model end to end, alone, by sampler and dtype."""
    found = {}
    for (told, task), (name, dtype) in product(SAMPLERS.items(), DTYPES.items()):
        subject, generator = deepcopy(model).to(dtype), torch.Generator().manual_seed(SEED)
        parts = []
        for _ in range(0, count, AT_ONCE):
            prompt = task.sample(min(AT_ONCE, count), generator=generator, dtype=torch.float64).prompt.to(dtype)
            with torch.no_grad():
                parts.append(errors.mse(subject(prompt).double(), exact(task, prompt)))
        found[f"{told}, {name}"] = float(torch.cat(parts).mean())
    return found


def trainings() -> pd.DataFrame:
    """Every recipe from every seed: seconds of one core, test MSE, and errors on fresh problems."""
    rows = []
    for name, seed in product(RECIPES, SEEDS):
        begun = time.process_time()
        run = precisionlab.train(name, seed=seed, progress=False)
        seconds = time.process_time() - begun
        row: dict[str, Any] = {"experiment": name, "seed": seed, "seconds": seconds, "test_mse": run.card.test_mse}
        rows.append(row | (fresh(run.model) if name == ENDS else {}))
    return pd.DataFrame(rows)


def problems(m: int, n: int, condition: float, residual: float) -> LstsqProblem:
    """Of one kind; a single unknown has κ = 1."""
    count = max(8, min(1000, NUMBERS // (m * n)))
    generator = torch.Generator().manual_seed(SEED)
    kappa = condition if n > 1 else 1.0
    return random_problem(m, n, condition=kappa, residual=residual, batch=(count,), generator=generator)


def cell(subjects: dict[str, Any], m: int, n: int, condition: float, residual: float) -> dict[str, Any]:
    """Medians and 95th percentiles of forward errors beside QR's on the same problems."""
    problem = problems(m, n, condition, residual)
    answer = solve_exactly(problem.A, problem.b)
    row: dict[str, Any] = {"m": m, "n": n, "condition": condition, "residual": residual, "problems": len(problem.A)}
    for name, solver in {"qr": solvers.get("qr"), **subjects}.items():
        result = solver.solve(problem.A, problem.b)
        error = torch.as_tensor(errors.forward_error(result.x, (answer.hi, answer.lo))).double()
        row |= {f"{name}_median": float(error.quantile(0.5)), f"{name}_p95": float(error.quantile(0.95))}
        row[f"{name}_converged"] = int(torch.as_tensor(result.converged).sum())
        row[f"{name}_applications"] = int(torch.as_tensor(result.iterations).max())
    return row


class ByResidual(torch.nn.Module):
    """A model whose last layer is evaluated by the residual.

    Args:
        model: Of equivariant attention, trained end to end.
    """

    any_size = True

    def __init__(self, model: EquivariantStack) -> None:
        super().__init__()
        self.model = model

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the answers."""
        return self.model.by_residual(prompt)


def bounded() -> pd.DataFrame:
    """The solvers for κ up to a bound, alone, at that κ; what is proved of each stands with it."""
    rows = []
    for name, bound in BOUNDS.items():
        run = precisionlab.load(name)
        model, task = run.model, run.experiment.task
        assert isinstance(model, EquivariantStack)
        assert isinstance(task, LeastSquares)
        layers = spectral.layers_of(model)
        proved = spectral.prove(layers, 1 / (2 * bound), 1.0).error
        facts = {"solver": name, "layers": len(layers) + 1, "proved": proved}
        shapes = product((*SHAPES, LARGEST), RESIDUALS)
        subjects = {"alone": load_solver(run), "residual": task.solver_class(task.step(ByResidual(model)))}
        rows += [facts | cell(subjects, *shape, bound, r) for shape, r in shapes]
    return pd.DataFrame(rows)


def schulz() -> pd.DataFrame:
    """Newton–Schulz alone, accelerated, refined, and its control."""
    run = precisionlab.load(NEWTON)
    subjects = {
        "alone": load_solver(run, refinement=None),
        "accelerated": load_solver(run, refinement=None, accelerate=True),
        "refined": load_solver(run),
        "control": load_control(run),
    }
    return pd.DataFrame([
        cell(subjects, *shape, condition, residual)
        for shape, condition, residual in product(SHAPES, CONDITIONS, RESIDUALS)
    ])


def ratios(frame: pd.DataFrame, part: str, quantile: str = "median") -> pd.Series:
    """A quantile of a part's errors over that of QR's, which is at least a tenth of u."""
    return frame[f"{part}_{quantile}"] / frame[f"qr_{quantile}"].clip(lower=2.0**-53 / 10)


def headline(trained: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The worst mean of all seeds and samplers, and the solvers beside QR."""
    worst = trained[[f"{told}, float64" for told in SAMPLERS]].max().max()
    told = f"Trained from {trained['seed'].nunique()} seeds and alone: mean squared error {format_mse(worst)} at most"
    beside = format_ratio(ratios(frame, "alone").max())
    return f"{told}; up to κ = {frame['condition'].max():.0e} median errors are {beside} those of QR at most"


def by_recipe(trained: pd.DataFrame) -> str:
    """Seconds and test errors of every recipe."""
    told = [
        f"{name.rpartition('/')[2]} {part['seconds'].median():.1f} s ({part['seconds'].max():.1f} s at most), "
        f"test MSE {format_mse(part['test_mse'].max())} at most"
        for name, part in trained.groupby("experiment", sort=False)
    ]
    return f"{trained['seed'].nunique()} seeds each: {'; '.join(told)}"


def by_bound(frame: pd.DataFrame) -> str:
    """Each solver's largest ratios, and what is proved."""
    told = [
        f"κ <= {part['condition'].iloc[0]:.0e} in {part['layers'].iloc[0]} layers: medians "
        f"{format_ratio(ratios(part, 'alone').median())} in the middle and {format_ratio(ratios(part, 'alone').max())} "
        f"at most, 95th percentiles {format_ratio(ratios(part, 'alone', 'p95').max())} at most; its last layer by the "
        f"residual, medians {format_ratio(ratios(part, 'residual').max())} at most and 95th percentiles "
        f"{format_ratio(ratios(part, 'residual', 'p95').max())}; "
        f"proved to {part['proved'].iloc[0]:.1e} in exact arithmetic"
        for _, part in frame.groupby("solver", sort=False)
    ]
    return "The model alone beside QR, error over error, by cells. " + ". ".join(told) + "."


def newton(frame: pd.DataFrame) -> str:
    """The largest ratios of each part, and who converged."""
    told = [f"{part} {format_ratio(ratios(frame, part).max())}" for part in PARTS]
    left = int((frame["problems"] - frame["refined_converged"]).sum())
    return (
        f"Newton–Schulz with one set of weights, medians beside QR's at most: {', '.join(told)}; refined, "
        f"{'all' if left == 0 else f'all but {left}'} of {frame['problems'].sum():,} problems converged"
    )


def applications(frame: pd.DataFrame) -> str:
    """How often the step is applied until X b is at rest, plain and accelerated, by κ."""
    most = frame.groupby("condition")[["alone_applications", "accelerated_applications"]].max()
    told = [
        f"{row.accelerated_applications} where the plain iteration takes {row.alone_applications} at κ = {kappa:.0e}"
        for kappa, row in zip(most.index, most.itertuples(), strict=True)
    ]
    return f"Accelerated, Newton–Schulz applies the model {listed(told)}, at most."


def page(trained: pd.DataFrame, frame: pd.DataFrame, table: pd.DataFrame) -> Content:
    """What the page says."""
    shown = frame.assign(
        ratio=ratios(frame, "alone"),
        series=[
            f"n = {n}, m = {m:,}, ‖r‖ = {r:g}"
            for n, m, r in zip(frame["n"], frame["m"], frame["residual"], strict=True)
        ],
    )
    quantiles = {f"{part}_{what}": ".1e" for part in ("qr", "residual", *PARTS) for what in ("median", "p95")}
    formats = quantiles | {"condition": ".0e", "residual": ".0f", "proved": ".1e", "m": ",", "problems": ","}
    bounds, steps = ({name: how for name, how in formats.items() if name in part} for part in (frame, table))
    errors_of = {f"{told}, {name}": ".1e" for told, name in product(SAMPLERS, DTYPES)}
    return Content(
        title=headline(trained, frame),
        sections=[
            Figure(
                name="ratio",
                frame=shown[shown["residual"] == 1],
                x="condition",
                y="ratio",
                series="series",
                title="Median error of the model alone over that of QR, at the κ that it is made for",
                caption="Forward errors ‖x − x*‖/‖x*‖, one application of each model, nothing refined.",
                x_label="condition number κ",
                y_label="median error over QR's",
                x_log=True,
                lines={"as QR": 1.0},
            ),
            Text(body=by_bound(frame)),
            Table(frame=frame, title="Every κ and shape", formats=bounds),
            Table(
                frame=trained,
                title=by_recipe(trained),
                caption=f"Mean squared errors over {FRESH:,} fresh problems, 5 unknowns and 20 rows, of the model "
                "alone; weights rounded to float32 where it says so.",
                formats=errors_of | {"seconds": ".1f", "test_mse": ".1e"},
            ),
            Text(body=applications(table)),
            Table(frame=table, title=newton(table), formats=steps),
        ],
        spread=f"{len(SEEDS)} seeds a recipe; one checkpoint a solver, 8 to 1,000 problems a cell",
    )


SETTINGS = {"shapes": [*SHAPES, LARGEST], "residuals": RESIDUALS, "seed": SEED, "entries": NUMBERS}
STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=trainings,
            settings={
                "experiments": {name: precisionlab.Cell(experiment=name).key for name in RECIPES},
                "seeds": list(SEEDS),
                "fresh problems": FRESH,
            },
        ),
        "bounds": Measured(
            function=bounded,
            settings=SETTINGS | {"κ": list(BOUNDS.values()), "last layer": ["alone", "residual"]},
            checkpoints=list(BOUNDS),
        ),
        "newton-schulz": Measured(function=schulz, settings=SETTINGS | {"κ": list(CONDITIONS)}, checkpoints=[NEWTON]),
    },
    page=page,
    settings={"fresh problems": FRESH, "seed": SEED},
)

if __name__ == "__main__":
    STUDY.main()
