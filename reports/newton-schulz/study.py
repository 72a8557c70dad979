"""The learned Newton–Schulz solver's forward error beside Householder QR's, alone, refined and beside its control.

    python reports/newton-schulz/study.py

Problems of prescribed condition number, with and without a residual, are solved by QR, by the model alone (X b), by the
solver as it is loaded, which refines X b, and by its control, the same solver around the exact step X (2I − A X).
Errors are against the exact rational solution. Then: error against applications at three condition numbers; correct
digits on NIST's sets; and what the step needs to be stable, taken away one at a time: the training's snap phase, and
the balancing of A and X, never refined. Half an hour on one core.
"""

import math
from functools import cache
from itertools import product
from typing import Any

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import Cell, load_control, load_solver
from precisionlab.experiments import get
from precisionlab.models import Backbone
from precisionlab.models.polynomial import describe, extract
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.iterates import conclusion
from precisionlab.report.measure import UNIT_ROUNDOFF, measure
from precisionlab.report.report import subjects_of
from precisionlab.report.words import format_ratio, listed
from precisionlab.runs.run import build
from precisionlab.tasks.newton_schulz import EmittedStep, prompt, step
from precisionlab.training import Objective, fit
from precisionlab.training.snap import Snap
from precisionlab.training.trainer import Progress
from solvers import errors, nist, reference
from solvers.learned.base import Step
from solvers.learned.newton_schulz import LearnedNewtonSchulz
from solvers.problems import LstsqProblem, random_problem

NAME, LARGE = "linear-attention/newton-schulz", "linear-attention/newton-schulz-16"
CONDITIONS = (1e1, 1e3, 1e5, 1e7, 1e9)
RESIDUALS = (0.0, 1.0)
SUBJECTS = ((NAME, 2), (NAME, 5), (LARGE, 1), (LARGE, 9), (LARGE, 16))
"""Checkpoints, with the unknowns that they are measured on."""
HEIGHTS = {20: 1000, 200: 1000, 2000: 100}
"""Rows, and how many problems."""
PARTS = {"alone": "X b", "refined": "refined", "control": "control"}
NUMBERS_AT_ONCE = 2**18
"""Entries of A that a solver is given at once: what it works on then stays near the processor."""
NIST_SETS = ("Longley", "Wampler1", "Wampler2")
SEED = 1933
SHOWN = 20, 5
"""Rows and unknowns of the figures' problems."""
CURVES, ITERATIONS, CURVE_PROBLEMS = (1e1, 1e4, 1e7), 100, 1000
ABLATED = 200


def problems(m: int, n: int, condition: float, residual: float, count: int, seed: int = SEED) -> LstsqProblem:
    """Of one kind: ‖A‖ = 1, singular values spread evenly in logarithm."""
    generator = torch.Generator().manual_seed(seed)
    return random_problem(m, n, condition=condition, residual=residual, batch=(count,), generator=generator)


def three(name: str) -> dict[str, solvers.Solver]:
    """The model alone, the solver as it is loaded, and its control."""
    run = precisionlab.load(name)
    return {"alone": load_solver(run, refinement=None), "refined": load_solver(run), "control": load_control(run)}


def cell(name: str, n: int, m: int, condition: float, residual: float, count: int) -> dict[str, Any]:
    """One kind of problems: medians and 95th percentiles of every forward error, and who converged."""
    problem = problems(m, n, condition, residual, count)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    exact = torch.as_tensor(hi), torch.as_tensor(lo)
    size = max(2, NUMBERS_AT_ONCE // (m * n))
    parts = list(zip(torch.split(problem.A, size), torch.split(problem.b, size), strict=True))
    row: dict[str, Any] = {"solver": name.rpartition("/")[2], "m": m, "n": n, "condition": condition}
    row |= {"residual": residual, "problems": count}
    for part, solver in {**three(name), "qr": solvers.get("qr")}.items():
        results = [solver.solve(A, b) for A, b in parts]
        x = torch.cat([torch.as_tensor(result.x) for result in results])
        error = torch.as_tensor(errors.forward_error(x, exact)).double()
        row |= {f"{part}_median": float(error.quantile(0.5)), f"{part}_p95": float(error.quantile(0.95))}
        if part != "qr":
            row[f"{part}_converged"] = sum(int(torch.as_tensor(result.converged).sum()) for result in results)
        if part == "alone":
            row["applications"] = max(int(torch.as_tensor(result.iterations).max()) for result in results)
    return row | {"allowed": math.floor(4 * math.log2(condition) + 10)}


def accuracy() -> pd.DataFrame:
    """Every subject at every height, κ and residual; a single unknown has κ = 1."""
    return pd.DataFrame([
        cell(name, n, m, condition, residual, count)
        for name, n in SUBJECTS
        for (m, count), condition, residual in product(HEIGHTS.items(), CONDITIONS if n > 1 else (1.0,), RESIDUALS)
    ])


def nist_digits() -> pd.DataFrame:
    """Correct digits on NIST's sets: the least over the coefficients, 15 at most."""
    rows = []
    for item in map(nist.problem, NIST_SETS):
        found = {"set": item.name}
        for part, solver in {"qr": solvers.get("qr"), **three(LARGE)}.items():
            found[part] = f"{float(errors.lre(solver.solve(item.A, item.b).x, nist.exact(item))):.2f}"
        rows.append(found)
    return pd.DataFrame(rows)


def curves() -> pd.DataFrame:
    """Error against applications."""
    frames = []
    for condition in CURVES:
        drawn = problems(*SHOWN, condition, 1.0, CURVE_PROBLEMS, seed=2503)
        names = (NAME, "gradient-descent", "chebyshev", "cgls", "qr")
        subjects = [part for name in names for part in subjects_of(name, ITERATIONS)]
        frame = measure(subjects, drawn.A, drawn.b, torch.zeros_like(drawn.x))
        frames.append(frame.assign(condition=condition))
    return pd.concat(frames, ignore_index=True)


@cache
def trained(*, snap: bool) -> Backbone:
    """The registered experiment with or without its snap phase."""
    experiment = get(NAME)
    objective = Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=0)
    phases = [phase for phase in experiment.phases if snap or not isinstance(phase, Snap)]
    progress = Progress()
    fit(objective, phases, attempts=experiment.attempts, progress=progress)
    assert progress.best is not None
    return build(experiment, objective.named(progress.best), device="cpu", source="training")


def iterated(subject: Step, condition: float, *, balance: bool) -> dict[str, float]:
    """A step on consistent problems, never refined: the forward error of X b, and how many converged."""
    problem = problems(*SHOWN, condition, 0.0, ABLATED)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    result = LearnedNewtonSchulz(subject, balance=balance, refinement=None).solve(problem.A, problem.b)
    error = torch.as_tensor(errors.forward_error(result.x, (torch.as_tensor(hi), torch.as_tensor(lo)))).double()
    ordered = error.nan_to_num(nan=float("inf")).sort().values
    quantiles = {"median": float(ordered[len(error) // 2]), "p95": float(ordered[int(0.95 * len(error))])}
    return quantiles | {"converged": int(torch.as_tensor(result.converged).sum())}


def ablation() -> pd.DataFrame:
    """Trained with and without snapping, its polynomial by formula, and the true step; balanced or not."""
    polynomial = extract(trained(snap=False))
    steps: dict[str, Step] = {
        "trained": EmittedStep(trained(snap=False), n=SHOWN[1]),
        "trained and snapped": EmittedStep(trained(snap=True), n=SHOWN[1]),
        "trained, its polynomial": lambda A, X: polynomial(prompt(A, X)).mT,
        "true": step,
    }
    return pd.DataFrame([
        {"step": name, "balanced": balance, "condition": condition, "problems": ABLATED}
        | iterated(steps[name], condition, balance=balance)
        for name, balance, condition in product(steps, (False, True), CONDITIONS)
    ])


def algorithms() -> pd.DataFrame:
    """What each model is, read off its weights."""
    models = {"trained": trained(snap=False), "trained and snapped": trained(snap=True)}
    return pd.DataFrame([
        {"model": name, "line": line} for name, model in models.items() for line in describe(model).splitlines()
    ])


def beside_qr(frame: pd.DataFrame, part: str) -> float:
    """The largest ratio of medians to QR's."""
    return float((frame[f"{part}_median"] / frame["qr_median"]).max())


def title(frame: pd.DataFrame) -> str:
    """The largest ratio to QR of all cells: of the model alone, refined, and of the control."""
    told = [f"{what} {format_ratio(beside_qr(frame, part))}" for part, what in PARTS.items()]
    return (
        f"Learned Newton–Schulz beside Householder QR's error, median to median, at most: {', '.join(told)} "
        f"({len(frame)} cells up to κ = {frame['condition'].max():.0e})"
    )


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The cells of the figure."""
    return frame.query(f"m == {SHOWN[0]} and n == {SHOWN[1]} and residual == 1")


def growth(frame: pd.DataFrame) -> str:
    """How the error grows with κ: of the model alone as QR's does, and refined or not."""
    rows = shown(frame).sort_values("condition")
    told = []
    for part, what in {"qr": "QR", "alone": "X b", "refined": "refined"}.items():
        ratio = float(rows[f"{part}_median"].iloc[-1] / rows[f"{part}_median"].iloc[0])
        told.append(f"{what} {format_ratio(ratio)}")
    low, high = rows["condition"].iloc[0], rows["condition"].iloc[-1]
    return f"From κ = {low:.0e} to {high:.0e} the median error grows: {', '.join(told)}"


def provenance(frame: pd.DataFrame) -> str:
    """Whose digits the refined solver has: the model's, or the wrapper's."""
    beside = frame["refined_median"] / frame["control_median"]
    alone = frame["alone_median"] / frame["refined_median"]
    if beside.max() <= 2 and beside.min() >= 0.5:
        return (
            "Refined, the model and the exact step in its place err alike in every cell (ratio "
            f"{beside.min():.2f} to {beside.max():.2f}): those digits are the wrapper's. Alone the model errs up to "
            f"{format_ratio(alone.max())} the refined solver."
        )
    return (
        f"Refined, the model errs {format_ratio(beside.min())} to {format_ratio(beside.max())} the exact step in its "
        "place: refinement does not hide the model."
    )


def statuses(frame: pd.DataFrame) -> str:
    """Who did not converge, and the applications taken."""
    silent = [f"{what} {int((frame['problems'] - frame[f'{part}_converged']).sum())}" for part, what in PARTS.items()]
    over = int((frame["applications"] > frame["allowed"]).sum())
    within = "in every cell" if over == 0 else f"but for {over} cells"
    return (
        f"Of {frame['problems'].sum():,} problems did not say CONVERGED: {', '.join(silent)}. The model was applied at "
        f"most 4 log₂ κ + 10 times {within}."
    )


def stability(table: pd.DataFrame) -> str:
    """What taking away costs at the largest κ, beside the true step."""
    rows = table[table["condition"] == table["condition"].max()].set_index(["step", "balanced"])["median"]
    told = [
        f"{name}{', balanced' if balanced else ''} {format_ratio(rows[name, balanced] / rows['true', balanced])}"
        for name, balanced in rows.index
        if name != "true"
    ]
    return f"Never refined, at κ = {table['condition'].max():.0e}, beside the true step: {', '.join(told)}"


def page(
    frame: pd.DataFrame, trace: pd.DataFrame, digits: pd.DataFrame, table: pd.DataFrame, described: pd.DataFrame
) -> Content:
    """What the page says."""
    named = {
        "Householder QR": "qr",
        "learned, alone (X b)": "alone",
        "learned, refined": "refined",
        "control": "control",
    }
    errors_by = pd.concat(
        shown(frame).assign(error=shown(frame)[f"{part}_median"], series=name)[["condition", "error", "series"]]
        for name, part in named.items()
    )
    medians = {f"{part}_{what}": ".1e" for part in ("alone", "refined", "control", "qr") for what in ("median", "p95")}
    plain = trace.assign(panel=[f"κ = {condition:.0e}" for condition in trace["condition"]])
    last = plain.groupby("panel")["iteration"].transform("max")
    single = plain.groupby(["panel", "solver"])["iteration"].transform("size") == 1
    plain = pd.concat([plain, plain[single].assign(iteration=last[single])], ignore_index=True)
    lines = [
        f"    {name}\n" + "\n".join(f"      {line}" for line in part["line"])
        for name, part in described.groupby("model", sort=False)
    ]
    return Content(
        title=title(frame),
        sections=[
            Figure(
                name="error",
                frame=errors_by,
                x="condition",
                y="error",
                series="series",
                title=growth(frame),
                caption=f"Median forward error ‖x − x*‖/‖x*‖ at m = {SHOWN[0]}, n = {SHOWN[1]}, ‖r‖ = 1.",
                x_label="condition number κ",
                y_label="median forward error",
                x_log=True,
            ),
            Text(body=f"{provenance(frame)}\n\n{statuses(frame)}"),
            Figure(
                name="applications",
                frame=plain,
                x="iteration",
                y="mse_median",
                low="mse_q25",
                high="mse_q75",
                series="solver",
                panel="panel",
                title="Error against applications at three condition numbers",
                caption=f"Median and quartiles over {CURVE_PROBLEMS:,} problems with {SHOWN[0]} rows and {SHOWN[1]} "
                "unknowns, ‖r‖ = 1; Newton–Schulz's iterations are applications and refinements together.",
                y_label="mean squared error",
                lines={"u² of float64": UNIT_ROUNDOFF["float64"] ** 2},
                ceiling=1e6,
            ),
            Text(body="\n\n".join(f"κ = {c:.0e}: {conclusion(trace[trace['condition'] == c])}" for c in CURVES)),
            Table(
                frame=frame,
                title="Every cell",
                caption="Forward error against the exact solution. alone: X b; refined: the solver as it is loaded; "
                "control: the same around the exact step. applications: the most of the model that a problem took, "
                "beside 4 log₂ κ + 10.",
                formats=medians | {"condition": ".0e", "residual": ".0f"},
            ),
            Table(
                frame=digits,
                title="Correct digits on NIST's sets",
                caption="The least over the coefficients, 15 at most.",
            ),
            Table(
                frame=table,
                title=stability(table),
                caption=f"Forward error of X b on {ABLATED} consistent problems with {SHOWN[0]} rows and {SHOWN[1]} "
                "unknowns. The polynomial of the unsnapped model, evaluated by its formula, tells its spurious "
                "coefficients from the rounding of a basis that mixes A with X.",
                formats={"condition": ".0e", "median": ".1e", "p95": ".1e"},
            ),
            Text(title="The algorithm of each, read off the weights", body="\n\n".join(lines)),
        ],
        spread=f"medians and 95th percentiles over {listed(f'{n:,} ({m} rows)' for m, n in HEIGHTS.items())} problems "
        "a cell; one checkpoint a size",
    )


TRAINED = {"experiment": {NAME: Cell(experiment=NAME).key}}
KIND = {"rows": SHOWN[0], "unknowns": SHOWN[1], "seed": SEED}
STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=accuracy,
            settings={
                "conditions": list(CONDITIONS),
                "residuals": list(RESIDUALS),
                "problems by height": HEIGHTS,
                "subjects": [list(subject) for subject in SUBJECTS],
                "seed": SEED,
            },
            checkpoints=(NAME, LARGE),
        ),
        "curves": Measured(
            function=curves,
            settings={"conditions": list(CURVES), "iterations": ITERATIONS, "problems": CURVE_PROBLEMS},
            checkpoints=(NAME,),
        ),
        "nist": Measured(function=nist_digits, settings={"sets": list(NIST_SETS)}, checkpoints=(LARGE,)),
        "ablation": Measured(
            function=ablation, settings={"problems": ABLATED, "conditions": list(CONDITIONS), **KIND, **TRAINED}
        ),
        "algorithms": Measured(function=algorithms, settings=TRAINED),
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
