"""A problem read once and solved by the model alone: equivariant attention beside QR, and Transformers by their depth.

    python reports/end-to-end/study.py

Equivariant attention is the shipped checkpoint, its weights as stored or rounded to float32, on problems as the paper
draws them: 5 unknowns, 20 rows, A ~ N(0, I) or κ = 5. Nothing is around it: a prompt goes in, and what comes out is
measured. Plain linear attention is trained here from three seeds, in five minutes of one core, and measured likewise.
The Transformers have softmax attention, LayerNorm and a perceptron of four times the width, in float32 as in the paper,
at depths 1, 2, 4 and 8; and at condition number 5. Their problems have 2 unknowns and 6 rows.
"""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy

import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab import Cell
from precisionlab.experiments import Experiment
from precisionlab.models import EquivariantStack, ModelConfig, SoftmaxAttention
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Figure, Measured, Study, Table, Text, Trained
from precisionlab.report.words import format_mse, format_ratio, listed
from precisionlab.tasks import LeastSquares
from precisionlab.tasks.accuracy import exact
from precisionlab.training.adam import Adam

PAPER_MSE = {1: 0.13, 2: 1.8e-3, 4: 1.1e-5, 8: 3.0e-8, 12: 2.9e-9, 16: 8.8e-10, 24: 1.0e-9, 32: 7.5e-10} | {
    48: 8.8e-10,
    64: 2.9e-9,
}
"""What the paper reports, by depth: width 256, 5 unknowns, 20 rows, float32."""
DEPTHS = (1, 2, 4, 8)
FIXED_DEPTHS, FIXED_CONDITION = (2, 4), 5.0
N, ROWS, WIDTH = 2, 6, 16
STEPS, BATCH = 4000, 128
U2 = 2.0**-48
GAUSSIAN, FIXED, PAPER = "A ~ N(0, I)", f"κ = {FIXED_CONDITION:g}", "the paper's, A ~ N(0, I)"
NAME, QR = "equivariant-attention/end-to-end", "QR"
ALONE, RESIDUAL = f"{NAME}, alone", f"{NAME}, alone, its last layer by the residual"
DENSE, SEEDS, DENSE_PROBLEMS = "linear-attention/end-to-end", (0, 1, 2), 20_000
SAMPLERS = {GAUSSIAN: LeastSquares(), FIXED: LeastSquares(condition=FIXED_CONDITION, spectrum="extremes")}
PROBLEMS, AT_ONCE, SEED = 100_000, 10_000, 2503


def experiment(depth: int, condition: float | None) -> Experiment:
    """One depth; κ of every A, or None to draw A ~ N(0, I)."""
    return Experiment(
        name=f"end-to-end/depth-{depth}" + ("" if condition is None else f"-condition-{condition:g}"),
        cost="half a minute to 4 minutes on one core, by depth",
        task=LeastSquares(n=N, rows=ROWS, condition=condition),
        model=ModelConfig(
            mixer=SoftmaxAttention(heads=4),
            width=WIDTH,
            layers=depth,
            positions="learned",
            reads="last",
            mlp=4,
            layer_norm=True,
        ),
        phases=(Adam(steps=STEPS, batch=BATCH, learning_rate=3e-3, schedule="cosine"),),
        attempts=1,
        dtype="float32",
    )


Emit = Callable[[torch.Tensor], torch.Tensor]


def solved() -> pd.DataFrame:
    """Errors of the shipped model, its last layer evaluated in either order, and of Householder QR."""
    trained = precisionlab.load(NAME).model
    assert isinstance(trained, EquivariantStack)
    models = {name: deepcopy(trained).to(dtype) for name, dtype in DTYPES.items()}
    emitted = {dtype: {ALONE: model, RESIDUAL: model.by_residual} for dtype, model in models.items()}
    return measured(emitted, PROBLEMS)


def dense() -> pd.DataFrame:
    """Errors of plain linear attention from each seed, with its weights and the seconds of one core it was trained."""
    models: dict[str, torch.nn.Module] = {}
    facts = {}
    for seed in SEEDS:
        begun = time.process_time()
        run = precisionlab.train(DENSE, seed=seed, progress=False)
        name = f"seed {seed}"
        facts[name] = {"seconds": time.process_time() - begun, "weights": run.card.parameters}
        models[name] = run.model
    emitted: dict[str, dict[str, Emit]] = {
        dtype: {name: deepcopy(model).to(kind) for name, model in models.items()} for dtype, kind in DTYPES.items()
    }
    return measured(emitted, DENSE_PROBLEMS).join(pd.DataFrame(facts).T, on="solver")


def measured(emitted: Mapping[str, Mapping[str, Emit]], problems: int) -> pd.DataFrame:
    """Errors of models alone, by dtype and name, and of Householder QR on the same problems in that dtype."""
    rows = []
    for told, task in SAMPLERS.items():
        for dtype, models in emitted.items():
            generator = torch.Generator().manual_seed(SEED)
            errors: dict[str, list[torch.Tensor]] = {name: [] for name in (*models, QR)}
            for count in [min(AT_ONCE, problems - start) for start in range(0, problems, AT_ONCE)]:
                prompt = task.sample(count, generator=generator, dtype=torch.float64).prompt.to(DTYPES[dtype])
                with torch.no_grad():
                    answers = {name: emit(prompt) for name, emit in models.items()}
                answers[QR] = torch.as_tensor(solvers.get("qr").solve(prompt[..., :-1], prompt[..., -1]).x)
                for name, x in answers.items():
                    errors[name].append(solvers.errors.mse(x.double(), exact(task, prompt)))
            for name, parts in errors.items():
                mse = torch.cat(parts)
                facts = {"mse_mean": float(mse.mean()), "mse_median": float(mse.median()), "mse_max": float(mse.max())}
                rows.append({"problems": told, "dtype": dtype, "solver": name, "count": problems, **facts})
    return pd.DataFrame(rows)


def means(results: pd.DataFrame, problems: str, dtype: str, name: str = ALONE) -> tuple[float, float]:
    """Mean squared errors of the model alone, in one of its orders of evaluation, and of QR."""
    rows = results[(results["problems"] == problems) & (results["dtype"] == dtype)].set_index("solver")["mse_mean"]
    return float(rows[name]), float(rows[QR])


def headline(results: pd.DataFrame) -> str:
    """The model alone on Gaussian problems, in both dtypes, beside QR and the paper."""
    told = []
    for dtype in ("float64", "float32"):
        alone, qr = means(results, GAUSSIAN, dtype)
        told.append(f"{format_mse(alone)} in {dtype} (QR {format_mse(qr)})")
    best = min(PAPER_MSE.values())
    ratio = means(results, GAUSSIAN, "float32")[0] / best
    paper = f"in float32 {format_ratio(ratio)} the paper's best, {format_mse(best)}"
    return f"Read once and solved by the model alone, mean squared error: {listed(told)}; {paper}"


def as_qr(results: pd.DataFrame) -> str:
    """The model alone beside QR, over dtypes and samplers."""
    pairs = [means(results, *where) for where in results.groupby(["problems", "dtype"], sort=False).groups]
    ratios = [(alone / qr) ** 0.5 for alone, qr in pairs]
    return f"The model's root mean square error is {min(ratios):.2g} to {max(ratios):.2g} times that of QR"


def by_residual(results: pd.DataFrame) -> str:
    """What the order of evaluation of the last layer does, at worst and at best."""
    places = list(results.groupby(["problems", "dtype"], sort=False).groups)
    gains = [means(results, *where)[0] / means(results, *where, RESIDUAL)[0] for where in places]
    beside = [means(results, *where, RESIDUAL) for where in places]
    told = ", ".join(
        f"{format_mse(mse)} for {problems} in {dtype} (QR {format_mse(qr)})"
        for (problems, dtype), (mse, qr) in zip(places, beside, strict=True)
    )
    return (
        "The last layer is 2x − Σ_i x_i (a_i·x), read against b. With z = Σ_i x_i b_i before it the answer is also "
        "z + Σ_i x_i (b_i − a_i·z): the same weights and polynomial, but what rounding left in z is taken away "
        f"(`EquivariantStack.by_residual`). Mean squared errors then are {format_ratio(min(gains))} to "
        f"{format_ratio(max(gains))} smaller: {told}."
    )


def from_random(results: pd.DataFrame) -> str:
    """Plain linear attention in float64: each seed's median on each sampler."""
    rows = results[(results["dtype"] == "float64") & (results["solver"] != QR)]
    told = [
        f"{problems} {listed([format_mse(median) for median in part['mse_median']])}"
        for problems, part in rows.groupby("problems", sort=False)
    ]
    return (
        f"Plain linear attention from {rows['solver'].nunique()} seeds of random weights, median squared errors: "
        f"{'; '.join(told)}; at most {format_mse(rows['mse_max'].max())}"
    )


def title(results: pd.DataFrame) -> str:
    """Every depth on Gaussian problems."""
    curve = results[results["problems"] == GAUSSIAN].set_index("layers")["test_mse"]
    told = [f"{format_mse(mse)} at depth {depth}" for depth, mse in curve.items()]
    paper = f"the paper's are at {format_mse(min(PAPER_MSE.values()))} to {format_mse(max(PAPER_MSE.values()))}"
    return f"Softmax Transformers, after {STEPS:,} steps and from one seed each: {listed(told)}; {paper}"


def above_rounding(results: pd.DataFrame) -> str:
    """How far the lowest of all, ours and the paper's, is above rounding."""
    low = min(float(results["test_mse"].min()), *PAPER_MSE.values())
    if low <= 100 * U2:
        return "A depth brings an end-to-end Transformer to rounding"
    return (
        f"No depth brings an end-to-end Transformer to rounding: the lowest is {format_ratio(low / U2)} u² of float32"
    )


def page(equivariant: pd.DataFrame, dense: pd.DataFrame, results: pd.DataFrame) -> Content:
    """What the page says."""
    theirs = pd.DataFrame([{"problems": PAPER, "layers": depth, "test_mse": mse} for depth, mse in PAPER_MSE.items()])
    columns = ["problems", "layers", "test_mse"]
    shown = results[[*columns, "seed", "parameters", "target_mean_square", "seconds", "ended"]]
    return Content(
        title=headline(equivariant),
        sections=[
            Table(
                frame=equivariant,
                title=as_qr(equivariant),
                caption="Errors of x over fresh problems of 5 unknowns and 20 rows, b = A x, against the solution of "
                "each problem in its dtype, in double-double. The weights for float32 are the stored ones, rounded.",
                formats={"count": ",", **dict.fromkeys(("mse_mean", "mse_median", "mse_max"), ".1e")},
            ),
            Text(title="The last layer by the residual", body=by_residual(equivariant)),
            Table(
                frame=dense,
                title=from_random(dense),
                caption=f"{DENSE}: coordinates mixed freely, dense q, k, v and o, ten hidden layers and a read-out, "
                "trained on emitted x alone; seconds are of one core. Errors as above.",
                formats={"count": ",", "seconds": ".0f", "weights": ",.0f"}
                | dict.fromkeys(("mse_mean", "mse_median", "mse_max"), ".1e"),
            ),
            Text(title="Transformers by their depth", body=f"{title(results)}."),
            Figure(
                name="depth",
                frame=pd.concat([results[columns], theirs], ignore_index=True),
                x="layers",
                y="test_mse",
                series="problems",
                title=above_rounding(results),
                caption=f"Test MSE on 4,096 fresh problems, float32. Ours: n = {N}, N = {ROWS}, width {WIDTH}, "
                f"{STEPS:,} steps of {BATCH} problems; the paper's: n = 5, N = 20, width 256.",
                y_label="test MSE",
                x_log=True,
                lines={"u² of float32": U2},
            ),
            Table(
                frame=shown.assign(relative=results["test_mse"] / results["target_mean_square"]),
                title="Every depth",
                formats={"test_mse": ".1e", "target_mean_square": ".2g", "relative": ".1%", "seconds": ".0f"},
            ),
            Table(frame=theirs[["layers", "test_mse"]], title="The paper's depth curve", formats={"test_mse": ".1e"}),
            Text(
                title="What it does not say",
                body="The target is scaled so that a model that emits zero has an MSE of about 1. These curves are of "
                "other sizes and of another length of training than the paper's, and compare in shape alone.",
            ),
        ],
        spread=f"one checkpoint, seed 0; {len(SEEDS)} seeds of plain linear attention; one seed a depth",
    )


STUDY = Study(
    script=__file__,
    tables={
        "equivariant": Measured(
            function=solved,
            settings={
                "solvers": [ALONE, RESIDUAL, QR],
                "samplers": list(SAMPLERS),
                "fresh problems": PROBLEMS,
                "seed": SEED,
            },
            checkpoints=[NAME],
        ),
        "dense": Measured(
            function=dense,
            settings={
                "experiment": Cell(experiment=DENSE).key,
                "seeds": list(SEEDS),
                "samplers": list(SAMPLERS),
                "fresh problems": DENSE_PROBLEMS,
                "seed": SEED,
            },
        ),
        "results": Trained(
            cells=[
                Cell(labels={"problems": problems, "layers": depth}, experiment=experiment(depth, condition))
                for problems, depths, condition in ((GAUSSIAN, DEPTHS, None), (FIXED, FIXED_DEPTHS, FIXED_CONDITION))
                for depth in depths
            ]
        ),
    },
    page=page,
    settings={"n": N, "rows": ROWS, "width": WIDTH, "heads": 4, "mlp": 4, "steps": STEPS, "batch": BATCH},
)

if __name__ == "__main__":
    STUDY.main()
