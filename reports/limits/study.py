"""How near K layers come to the least error that K layers can have: random features with an answer token.

    python reports/limits/study.py

A stack of K layers of linear attention emits x̂ = q(AᵀA) Aᵀb of degree at most D = (3^K − 1)/2 with 1 − λ q(λ), so its
mean squared error is at least a Christoffel function (precisionlab/inspect/limits.py): exact for A ~ N(0, I), from a
sample for κ = 5. Hidden layers are drawn at random, the last one is fitted to emitted x alone, and the model is
measured alone. Gated convolution, of degree 2^K, has its weights written down. Ten minutes on one core.
"""

import time
from itertools import product
from typing import Any

import pandas as pd
import torch

import precisionlab
from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.inspect import limits
from precisionlab.models import EquivariantAnswer, ModelConfig
from precisionlab.models.constructions import gated_convolution
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import format_mse, format_ratio, listed
from precisionlab.tasks import LeastSquares
from precisionlab.tasks.accuracy import exact
from precisionlab.training.random_features import RandomFeatures
from solvers import errors

GAUSSIAN, FIXED = "A ~ N(0, I)", "κ = 5"
SAMPLERS = {GAUSSIAN: LeastSquares(), FIXED: LeastSquares(condition=5.0, spectrum="extremes")}
CHANNELS = {2: (2, 1), 3: (3, 2), 4: (5, 3)}
"""Of a row's token and of the answer token, by layers."""
WIDE, NARROW = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6), (1.0, 1.15, 1.3)
STRETCHES = {2: WIDE, 3: WIDE, 4: NARROW}
"""How far beyond the sample A ~ N(0, I) is fitted, by layers."""
SEEDS = range(3)
BATCH, FRESH, AT_ONCE, SEED = 20_000, 100_000, 10_000, 811
DOUBLINGS = range(1, 9)
RANGES = {GAUSSIAN: (0.03**0.5, 4.6**0.5), FIXED: (20**-0.5, 5 * 20**-0.5)}
"""Singular values of A/√N that the convolutions are made for: those of a sample of 10⁶, and all there are."""
NODES = 48
"""Of the quadrature that gives expectations exactly, to degree 95; the square of the error has 80 at four layers."""


def experiment(sampler: str, layers: int) -> Experiment:
    """A stack of so many layers in all."""
    width, answers = CHANNELS[layers]
    gaussian = sampler == GAUSSIAN
    return Experiment(
        name=f"limits/{'gaussian' if gaussian else 'fixed'}-{layers}",
        cost="a minute on one core",
        task=SAMPLERS[sampler],
        model=ModelConfig(mixer=EquivariantAnswer(answers=answers), width=width, layers=layers, positions="none"),
        phases=(RandomFeatures(batch=BATCH, stretches=STRETCHES[layers] if gaussian else (1.0,)),),
        attempts=1,
    )


def alone(model: torch.nn.Module, task: LeastSquares, count: int = FRESH) -> torch.Tensor:
    """Squared errors of a model on fresh problems."""
    generator, parts = torch.Generator().manual_seed(SEED), []
    for _ in range(0, count, AT_ONCE):
        prompt = task.sample(min(AT_ONCE, count), generator=generator, dtype=torch.float64).prompt
        with torch.no_grad():
            parts.append(errors.mse(model(prompt), exact(task, prompt)))
    return torch.cat(parts)


def expected(model: torch.nn.Module, rows: int = 20, n: int = 5) -> float:
    """The mean squared error over A ~ N(0, I) and x ~ N(0, I), by quadrature: one unknown at a time is enough."""
    nodes, weights = limits.gauss(limits.gaussian_moments(rows, n, 2 * NODES + 1))
    a = (nodes / rows).sqrt()[:, None, None].expand(-1, rows, 1)
    with torch.no_grad():
        missing = 1 - model(torch.cat([a, a], dim=-1)).squeeze(-1)
    return float(weights @ missing.square())


def least(sampler: str, layers: int) -> float:
    """The limit at so many layers."""
    degree = limits.degree(layers)
    if sampler == GAUSSIAN:
        return float(limits.mean_square(limits.gaussian_moments(20, 5, 2 * degree + 1), degree))
    generator = torch.Generator().manual_seed(SEED)
    A = SAMPLERS[sampler].sample(FRESH, generator=generator, dtype=torch.float64).prompt[..., :-1]
    return limits.mean_square_of(torch.linalg.svdvals(A).square(), degree)


def stacks(seeds: range = SEEDS) -> pd.DataFrame:
    """Every sampler, depth and seed."""
    rows = []
    for sampler, layers in product(SAMPLERS, CHANNELS):
        limit = least(sampler, layers)
        for seed in seeds:
            begun = time.process_time()
            run = precisionlab.train(experiment(sampler, layers), seed=seed, progress=False)
            row: dict[str, Any] = {"problems": sampler, "layers": layers, "seed": seed, "weights": run.card.parameters}
            row |= {"seconds": time.process_time() - begun, "limit": limit}
            mse = alone(run.model, SAMPLERS[sampler])
            row |= {"mse_mean": float(mse.mean()), "mse_max": float(mse.max()), "ratio": float(mse.mean()) / limit}
            rows.append(row | {"expected": expected(run.model) if sampler == GAUSSIAN else float("nan")})
    return pd.DataFrame(rows)


def convolutions(count: int = FRESH // 10) -> pd.DataFrame:
    """Constructed gated convolutions by depth, beside what no stack of that depth can be better than."""
    rows = []
    for (sampler, (smallest, largest)), doublings in product(RANGES.items(), DOUBLINGS):
        model = gated_convolution.solution(n=5, rows=20, smallest=smallest, largest=largest, doublings=doublings)
        layers, mse = model.config.layers, alone(model, SAMPLERS[sampler], count)
        bounds = [float(limits.worst(largest / smallest, 2**power)) ** 2 for power in (doublings, layers - 1)]
        row = {"problems": sampler, "layers": layers, "width": model.config.width, "mse_mean": float(mse.mean())}
        rows.append(row | {"mse_max": float(mse.max()), "own": bounds[0], "any": bounds[1]})
    return pd.DataFrame(rows)


def by_convolution(frame: pd.DataFrame, wanted: float = 1e-20) -> str:
    """The depth at which a mean squared error is reached, and the depth that it takes."""
    told = []
    for sampler, part in frame.groupby("problems", sort=False):
        reached, possible = part[part["mse_mean"] <= wanted], part[part["any"] <= wanted]
        if reached.empty:
            told.append(f"not at {part['layers'].max()} layers for {sampler}")
            continue
        least_depth = f"{possible['layers'].min()}" if len(possible) else "more"
        depth = reached["layers"].min()
        told.append(f"at {depth} layers for {sampler} (in the worst case {least_depth} are the least)")
    return f"Gated convolution of width {frame['width'].max()} reaches {format_mse(wanted)} {listed(told)}"


def by_depth(frame: pd.DataFrame, column: str) -> list[str]:
    """Medians over seeds of a column, by depth."""
    middle = frame.groupby("layers")[column].median()
    return [f"{format_mse(value)} at {layers} layers" for layers, value in middle.items()]


def headline(frame: pd.DataFrame) -> str:
    """The largest ratio to the limit of stacks of two and three layers, and the errors of four."""
    ratio = frame[frame["layers"] < 4]["ratio"].max()
    deep = frame[frame["layers"] == 4].groupby("problems", sort=False)["mse_mean"].median()
    told = listed([f"{format_mse(value)} for {name}" for name, value in deep.items()])
    return f"Two and three layers have {ratio:.2f} times the least error of their depth at most; four reach {told}"


def tail(frame: pd.DataFrame) -> str:
    """Means over fresh problems beside expectations."""
    own = frame[frame["problems"] == GAUSSIAN]
    least_ratio = (own["expected"] / own["limit"]).groupby(own["layers"]).max()
    far = [layers for layers, ratio in least_ratio.items() if ratio > 10]
    told = [f"{format_ratio(ratio)} the limit at {layers} layers" for layers, ratio in least_ratio.items()]
    cause = (
        f" At {listed([str(layers) for layers in far])} layers a polynomial that is small on all that was drawn is "
        "huge beyond: in the mean over all of N(0, I), problems rule that nobody will ever draw."
        if far
        else ""
    )
    return (
        f"For A ~ N(0, I), medians of {own['seed'].nunique()} seeds, means over {FRESH:,} fresh problems are "
        f"{listed(by_depth(own, 'mse_mean'))}. The limit is that of the expectation, in which eigenvalues count that "
        f"no sample has; the expectation of the same models, exact, is at most {listed(told)}.{cause}"
    )


def page(frame: pd.DataFrame, convolved: pd.DataFrame) -> Content:
    """What the page says."""
    limit = frame.drop_duplicates(["problems", "layers"]).assign(mse_mean=lambda rows: rows["limit"])
    shown = pd.concat([
        frame.assign(series=frame["problems"] + ", models"),
        limit.assign(series=limit["problems"] + ", limit"),
    ])
    return Content(
        title=headline(frame),
        sections=[
            Figure(
                name="depth",
                frame=shown,
                x="layers",
                y="mse_mean",
                series="series",
                title="Mean squared error by depth, and the least that the depth allows",
                caption=f"Over {FRESH:,} fresh problems of 5 unknowns and 20 rows, float64; {len(SEEDS)} seeds.",
                y_label="mean squared error",
            ),
            Text(title="The tail of A ~ N(0, I)", body=tail(frame)),
            Table(
                frame=frame,
                title="Every stack",
                caption="ratio is mse_mean over limit; expected is the mean over the whole distribution.",
                formats=dict.fromkeys(("limit", "mse_mean", "mse_max", "expected"), ".1e")
                | {"ratio": ".2g", "seconds": ".0f"},
            ),
            Table(
                frame=convolved,
                title=by_convolution(convolved),
                caption=f"Weights written down, not trained; over {FRESH // 10:,} fresh problems. own is the square of "
                "its largest relative error over its range of singular values, and any what no stack of as many gated "
                "convolutions is below, both in exact arithmetic.",
                formats=dict.fromkeys(("mse_mean", "mse_max", "own", "any"), ".1e"),
            ),
        ],
        spread=f"{len(SEEDS)} seeds each",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=stacks,
            settings={
                "experiments": {
                    f"{sampler}, {layers}": Cell(experiment=experiment(sampler, layers)).key
                    for sampler, layers in product(SAMPLERS, CHANNELS)
                },
                "seeds": list(SEEDS),
                "fresh problems": FRESH,
                "seed": SEED,
            },
        ),
        "convolutions": Measured(
            function=convolutions,
            settings={"ranges": list(RANGES.items()), "doublings": list(DOUBLINGS), "fresh problems": FRESH // 10},
        ),
    },
    page=page,
    settings={"n": 5, "rows": 20, "batch": BATCH, "fresh problems": FRESH, "seed": SEED},
)

if __name__ == "__main__":
    STUDY.main()
