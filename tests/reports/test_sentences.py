"""Every sentence with a claim follows from the frame it is about: fed the opposite, it says the opposite."""

from typing import Any

import pandas as pd
import pytest

from .load import load


def table(page: str, test_mse: Any) -> pd.DataFrame:
    """Results of all runs of a study, with given errors."""
    cells = load(page).STUDY.tables["results"].cells
    errors = [test_mse(cell.named) if callable(test_mse) else test_mse for cell in cells]
    facts = {"parameters": 10, "target_mean_square": 2.0, "seconds": 1.0, "ended": "reached", "environment": ""}
    return pd.DataFrame([{**cell.named, "test_mse": mse, **facts} for cell, mse in zip(cells, errors, strict=True)])


def by(column: str, values: dict[Any, float], otherwise: float = 1.0) -> Any:
    return lambda row: values.get(row[column], otherwise)


floors, k_steps, marquardt = load("floors"), load("k-steps"), load("levenberg-marquardt")
softmax, ends, context, primitives = load("softmax"), load("end-to-end"), load("in-context"), load("primitives")
repetition, recipe, recipes, term = (
    load("prompt-repetition"),
    load("recipe-ablation"),
    load("recipes"),
    load("self-term-plateau"),
)
jacobian, momentum, nist, schulz = load("jacobian-spectrum"), load("momentum"), load("nist"), load("newton-schulz")
anywhere, depths, mesa = load("any-size"), load("limits"), load("mesa")
ode, shifted, neighbours = load("ode"), load("out-of-distribution"), load("neighbours")


def steps(*curve: float) -> pd.DataFrame:
    rows = [{"model": "m", "k": k, "mse": mse} for k, mse in zip((1, 2, 4, 8), curve, strict=True)]
    return pd.DataFrame([*rows, *({"model": k_steps.CONTROL, "k": k, "mse": 1e-33} for k in (1, 2, 4, 8))])


def once(alone: float, qr: float, residual: float = 1e-33) -> pd.DataFrame:
    rows = [(ends.GAUSSIAN, dtype, size) for dtype, size in (("float64", 1e-16), ("float32", 1.0))]
    return pd.DataFrame([
        {"problems": problems, "dtype": dtype, "solver": name, "mse_mean": mse * size}
        for problems, dtype, size in rows
        for name, mse in ((ends.ALONE, alone), (ends.RESIDUAL, residual), (ends.QR, qr))
    ])


def seeds(mse: float, seconds: float = 1.0) -> pd.DataFrame:
    facts = dict.fromkeys((f"{told}, {dtype}" for told in anywhere.SAMPLERS for dtype in ("float64", "float32")), mse)
    row = {"experiment": anywhere.ENDS, "seconds": seconds, "test_mse": mse, **facts}
    return pd.DataFrame([{**row, "seed": seed} for seed in (0, 1)])


def stacks(ratio: float, *, expected: float = 1.0) -> pd.DataFrame:
    rows = [(problems, layers) for problems in depths.SAMPLERS for layers in depths.CHANNELS]
    return pd.DataFrame([
        {
            "problems": problems,
            "layers": layers,
            "seed": 0,
            "limit": 10.0**-layers,
            "mse_mean": ratio * 10.0**-layers,
            "ratio": ratio,
            "expected": expected * 10.0**-layers,
        }
        for problems, layers in rows
    ])


def beside(error: float, *, left: int = 0, applications: int = 10) -> pd.DataFrame:
    row = {"solver": "s", "condition": 1e3, "layers": 16, "proved": 1e-17, "problems": 8, "refined_converged": 8 - left}
    row |= {f"qr_{what}": 1e-10 for what in ("median", "p95")}
    for part in (*anywhere.PARTS, "residual"):
        row |= {f"{part}_median": error, f"{part}_p95": error, f"{part}_applications": applications}
    return pd.DataFrame([row])


def known(**errors: float) -> pd.DataFrame:
    return pd.DataFrame([{"predictor": name, "test_mse": mse} for name, mse in errors.items()])


def points(*mse: float) -> pd.DataFrame:
    key = {"experiment": "linear-attention/x", "dtype": "float64", "seed": 0}
    return pd.DataFrame([
        {**key, "recipe": name, "seconds": 10.0, "mse": value}
        for name, value in zip((recipes.OURS, recipes.PAPER), mse, strict=True)
    ])


def plateaus(coefficient: float) -> pd.DataFrame:
    return pd.DataFrame([
        {"n": 20, "active_rows": 4, "x0_scale": scale, "coefficient": c}
        for scale, c in ((1.0, coefficient), (2.0, 0.0))
    ])


def ranks(rank: int, following: float) -> pd.DataFrame:
    return pd.DataFrame([{"model": "m", "parameters": 100, "rank": rank, "last": 1e-6, "next": following}])


def rates(power: float, floor: float = 1e-15, extra: int = 0) -> pd.DataFrame:
    kappa = pd.Series([3.0, 10.0, 30.0, 100.0])
    steps = (10 * kappa**power).round()
    rate = (kappa**2 - 1) / (kappa**2 + 1)
    data = {"condition": kappa, "steps": steps + extra, "steps_control": steps, "rate_gradient_descent": rate}
    return pd.DataFrame({**data, "floor": floor, "floor_control": 1e-15})


def digits(**least: float) -> pd.DataFrame:
    rows = [
        {"set": "Longley", "solver": name.replace("_", "+"), "digits_exact": value} for name, value in least.items()
    ]
    return pd.DataFrame(rows).assign(status="CONVERGED", digits_certified=14.0)


def cells(alone: float, refined: float, control: float, *, converged: int = 10, applications: int = 5) -> pd.DataFrame:
    rows = []
    for condition in (1e1, 1e9):
        row: dict[str, Any] = {
            "m": 20,
            "n": 5,
            "residual": 1.0,
            "condition": condition,
            "problems": 10,
            "qr_median": 1.0,
        }
        row |= {"alone_median": alone, "refined_median": refined, "control_median": control}
        row |= {f"{part}_converged": converged for part in schulz.PARTS}
        rows.append({**row, "applications": applications, "allowed": 10})
    return pd.DataFrame(rows)


def equations(alone: float, refined: float = 1e-33, control: float = 1e-33) -> pd.DataFrame:
    values = {ode.DIRECT: 1e-31, ode.DESCENT: 1e-31}
    for name in (ode.NEWTON, ode.LEARNED):
        values |= {name: refined, f"{name}, alone": alone, f"{name}, control": control}
    values |= dict.fromkeys(ode.MIXERS.values(), 1e-3)
    return pd.DataFrame([
        {"sensors": task.sensors, "shift": shift, "predictor": name, "median": mse}
        for task in (ode.SMALL, ode.MIDDLE)
        for shift in ode.SHIFTS
        for name, mse in values.items()
    ])


def layers(ours: float, rival: float) -> pd.DataFrame:
    facts = {"T": 8, "d": 4, "decay": "1 to 1"}
    return pd.DataFrame([
        {"dtype": dtype, "method": name, **facts, "λ ×": shift, "output": error, "gradient": error, "seconds": seconds}
        for dtype in ("float64", "float32")
        for shift in mesa.SHIFTS
        for name, error, seconds in (
            (mesa.OURS, ours, 1.0 + (ours > 1e-10)),
            (mesa.RIVAL, rival, 1.0),
            (mesa.BARE, rival, 1.0),
            (mesa.FACTOR, rival, 1.0),
        )
    ])


def shifts(emitted: float, solver: float, control: float = 1e-16) -> pd.DataFrame:
    base = {"model": "m", "value": 1.0, "alone": solver, "control": control}
    return pd.DataFrame([
        {**base, "shift": "none", "emitted": 1e-16, "solver": 1e-16},
        {**base, "shift": "scale of A", "emitted": emitted, "solver": solver},
    ])


def closest(difference: float) -> pd.DataFrame:
    return pd.DataFrame([
        {"model": "m", "closest": "ridge, λ = 1", "difference": difference, "constructed": difference}
    ])


SENTENCES: dict[str, tuple[Any, Any, str, Any, str]] = {
    # the sentence, a frame, what it must say; another frame, what it must say of that
    "floors": (floors.title, table("floors", 1e-30), "22 of 22 trainings", table("floors", 1e-3), "0 of 22 trainings"),
    "any size, seeds and bounds": (
        lambda frame: anywhere.headline(seeds(float(frame["alone_median"][0]) ** 2), frame),
        beside(1e-10),
        "median errors are 1× those of QR",
        beside(1e-9),
        "median errors are 10× those of QR",
    ),
    "any size, by recipe": (
        anywhere.by_recipe,
        seeds(1e-30),
        "1.0 s at most), test MSE 1.0e-30",
        seeds(0.5, 99.0),
        "99.0 s at most), test MSE 0.5",
    ),
    "any size, by bound": (
        anywhere.by_bound,
        beside(2e-10),
        "95th percentiles 2× at most",
        beside(1e-8),
        "95th percentiles 100× at most",
    ),
    "any size, Newton–Schulz": (
        anywhere.newton,
        beside(1e-10),
        "refined, all of 8 problems converged",
        beside(1e-10, left=3),
        "refined, all but 3 of 8 problems converged",
    ),
    "any size, applications": (
        anywhere.applications,
        beside(1e-10),
        "10 where the plain iteration takes 10",
        beside(1e-10, applications=40),
        "40 where the plain iteration takes 40",
    ),
    "mesa": (
        mesa.headline,
        layers(1e-16, 5e-4),
        "is off by 1.0e-16, its gradients are off by 1.0e-16 at most; conjugate gradients with 1e-05 in the den",
        layers(0.0, float("nan")),
        "is exact, rounded once, its gradients are off by 0.0e+00 at most; conjugate gradients with 1e-05 in the "
        "denominators by inf at λ × 1 and inf at λ × 1e-06",
    ),
    "mesa, by λ": (
        mesa.by_ridge,
        layers(1e-16, 5e-4),
        "times 1e-06: precisionlab 1.0e-16 (1.0e-16), CG, 1e-5 added 5.0e-04 (5.0e-04)",
        layers(2e-3, 5e-14),
        "times 1e-06: precisionlab 2.0e-03 (2.0e-03), CG, 1e-5 added 5.0e-14 (5.0e-14)",
    ),
    "mesa, cost": (
        mesa.cost,
        layers(1e-16, 1.0),
        "takes 1 to 1 times CG, 1e-5 added",
        layers(1e-3, 1.0),
        "takes 2 to 2 times CG, 1e-5 added",
    ),
    "no start above": (
        floors.above,
        table("floors", 1e-30),
        "From no start",
        table("floors", by("seed", {0: 1e-30}, 1e-3)),
        "Above it: linear-attention/explicit-gradient, seed 1 (1.0e-3)",
    ),
    "growth with k": (
        k_steps.growth,
        steps(4e-30, 3e-30, 2e-30, 1e-30),
        "does not grow",
        steps(2e-30, 1e-30, 2e-30, 3e-30),
        "grows with the number of steps: 3× from k = 2 to 8 (m)",
    ),
    "k steps": (k_steps.title, steps(1e-30, 1e-30, 1e-30, 1e-30), "1.0e-30", steps(1e-30, 1e-30, 1e-30, 0.5), "0.5"),
    "k steps beside the formula": (
        k_steps.beside_control,
        steps(1e-33, 1e-33, 1e-33, 1e-33),
        "1× to 1×",
        steps(1e-30, 1e-33, 1e-33, 1e-32),
        "1× to 1,000×",
    ),
    "no part of a phase is worth anything": (
        lambda frame: marquardt.difference(marquardt.summary(frame)),
        table("levenberg-marquardt", 1e-30),
        "no part shows a worth",
        table("levenberg-marquardt", by("variant", {marquardt.WHOLE: 1e-30})),
        "Variants differ by up to 5 of 5 seeds",
    ),
    "levenberg-marquardt": (
        lambda frame: marquardt.title(marquardt.summary(frame)),
        table("levenberg-marquardt", 1e-30),
        "15 of 15 with neither",
        table("levenberg-marquardt", 1.0),
        "0 of 15 with neither",
    ),
    "softmax, every recipe": (
        softmax.title,
        table("softmax", 0.17),
        "0.17 (the paper's Adam)",
        table("softmax", by("recipe", {"the paper's Adam": 2.2})),
        "2.2 (the paper's Adam)",
    ),
    "softmax, lifted": (
        softmax.lifted,
        table("softmax", by("recipe", {"the same, 4 residuals a parameter": 0.03}, 0.17)),
        "Below the plateau of Adam, cosine: the same, 4 residuals a parameter",
        table("softmax", by("recipe", {"the same, 4 residuals a parameter": 3.0}, 0.17)),
        "Above the plateau of Adam, cosine: the same, 4 residuals a parameter",
    ),
    "softmax, float32": (
        softmax.dtypes,
        table("softmax", by("dtype", {"float64": 1.0, "float32": 1.3})),
        "at most 30%",
        table("softmax", lambda row: 0.5 if row["dtype"] == "float32" and "paper" in row["recipe"] else 1.0),
        "at most 50% (the paper's Adam)",
    ),
    "softmax, rounding": (
        softmax.plateau,
        table("softmax", 0.1),
        "No recipe",
        table("softmax", 2e-14),
        "One recipe comes",
    ),
    "at once": (
        ends.headline,
        once(1.5e-14, 4.5e-14),
        "1.5e-14 in float32 (QR 4.5e-14); in float32 2.0e-5× the paper's best",
        once(7.5e-7, 4.5e-14),
        "7.5e-7 in float32 (QR 4.5e-14); in float32 1,000× the paper's best",
    ),
    "at once, beside QR": (
        ends.as_qr,
        once(1e-14, 4e-14),
        "0.5 to 0.5 times that of QR",
        once(4e-12, 4e-14),
        "10 to 10 times that of QR",
    ),
    "end to end": (
        ends.title,
        table("end-to-end", by("layers", {1: 0.5})),
        "0.5 at depth 1",
        table("end-to-end", by("layers", {1: 2.0, 8: 1e-3})),
        "1.0e-3 at depth 8",
    ),
    "end to end, rounding": (
        ends.above_rounding,
        table("end-to-end", 1e-3),
        "No depth brings",
        table("end-to-end", 1e-14),
        "A depth brings",
    ),
    "in context": (
        lambda frame: context.beside(frame, known(zero=1.0, ridge=1e-3)),
        table("in-context", by("predictor", {"softmax": 0.5}, 2.0)),
        "Softmax is worse than ridge (1.0e-3) and no worse than zero (1)",
        table("in-context", by("predictor", {"softmax": 3.0}, 2.0)),
        "Softmax is worse than zero (1)",
    ),
    "primitives": (
        primitives.reached,
        table("primitives", by("model", {"gated-conv": 1e-30})),
        "Gated-conv square and multiply to 1e-28 at some depth; linear-attention and softmax at none",
        table("primitives", by("model", {"softmax": 1e-30})),
        "Softmax square and multiply to 1e-28 at some depth; gated-conv and linear-attention at none",
    ),
    "LayerNorm": (
        primitives.norms,
        table("primitives", 1e-3),
        "No model with LayerNorm reaches",
        table("primitives", 1e-30),
        "models with LayerNorm reach",
    ),
    "one point": (
        primitives.one_point,
        table("primitives", 1e-30),
        "squares and multiplies to 1e-28",
        table("primitives", 1e-20),
        "does not square and multiply to 1e-28; its worst is 1.0e-20",
    ),
    "readers": (
        repetition.title,
        table("prompt-repetition", by("model", {"gated-conv": 1e-30})),
        "4 of 9 readers",
        table("prompt-repetition", 1.0),
        "0 of 9 readers of two causal layers end at 1e-26 or below",
    ),
    "repetition": (
        repetition.repetition,
        table("prompt-repetition", by("repeats", {2: 0.5})),
        "lowers the error of 4 of 4",
        table("prompt-repetition", by("repeats", {2: 2.0})),
        "lowers the error of 0 of 4",
    ),
    "the paper's recipe": (
        recipe.title,
        table("recipe-ablation", by("recipe", {recipe.WHOLE: 0.5})),
        "4 of 4 ablations end above it",
        table("recipe-ablation", by("recipe", {recipe.WHOLE: 2.0})),
        "0 of 4 ablations end above it",
    ),
    "recipes": (
        lambda frame: recipes.title(recipes.summary(frame, (10.0,))),
        points(1e-30, 0.5),
        "linear-attention 1.0e-30 and 0.5",
        points(0.5, 1e-30),
        "linear-attention 0.5 and 1.0e-30",
    ),
    "plateau": (term.stuck, plateaus(1.0), "1 model of 2 on the plateau: n = 20", plateaus(0.01), "No model rests"),
    "told apart": (
        term.title,
        plateaus(1.0),
        "by 0 of 1 model where x₀ is as",
        plateaus(0.01),
        "by 1 of 1 model where x₀ is as",
    ),
    "cliff": (jacobian.cliff, ranks(30, 1e-17), "ends in a cliff", ranks(30, 1e-7), "fades"),
    "batch": (jacobian.batch, ranks(30, 0.0), "are more than the rank:", ranks(60, 0.0), "fewer than the rank of m"),
    "ranks": (jacobian.title, ranks(30, 0.0), "30 of 100 directions", ranks(99, 0.0), "99 of 100 directions"),
    "momentum": (
        momentum.title,
        rates(1.0),
        "as many steps as its control at 4 of 4 condition numbers, and ends at 1× to 1×",
        rates(1.0, floor=1e-12, extra=1),
        "as many steps as its control at 0 of 4 condition numbers, and ends at 1,000× to 1,000×",
    ),
    "momentum's steps": (momentum.growth, rates(1.0), "as κ^1.0, those", rates(2.0), "as κ^2.0, those"),
    "digits": (
        nist.title,
        digits(qr=9.0, qr_refinement=15.0),
        "Qr+refinement has 15 correct digits",
        digits(qr=15.0, qr_refinement=9.0),
        "Qr has 15 correct digits",
    ),
    "refinement": (
        nist.refinement,
        digits(qr=9.0, qr_refinement=15.0),
        "worth more than the choice",
        digits(qr=12.0, qr_refinement=9.0),
        "Refinement does not decide: qr+refinement falls to 9.0",
    ),
    "beside QR": (schulz.title, cells(1.0, 0.1, 0.1), "X b 1×", cells(30.0, 0.1, 0.1), "X b 30×"),
    "the wrapper's digits": (
        schulz.provenance,
        cells(1.0, 0.1, 0.1),
        "those digits are the wrapper's",
        cells(1.0, 10.0, 0.1),
        "refinement does not hide the model",
    ),
    "applications": (
        schulz.statuses,
        cells(1.0, 1.0, 1.0),
        "times in every cell",
        cells(1.0, 1.0, 1.0, converged=9, applications=11),
        "CONVERGED: X b 2, refined 2, control 2. The model was applied at most 4 log₂ κ + 10 times but for 2 cells",
    ),
    "equations": (ode.title, equations(1e-30), "alone is at 1.0e-30", equations(0.5), "alone is at 0.5"),
    "beside descent": (ode.gap, equations(1.2e-31), "within 20%", equations(1e-28), "1,000× to 1,000×"),
    "equations beside QR": (
        ode.beside_qr,
        equations(1e-32),
        "alone under 6 of 6",
        equations(1e-30),
        "alone under 0 of 6",
    ),
    "equations, the wrapper": (
        ode.wrapper,
        equations(1e-30),
        "so refinement decides",
        equations(1e-30, refined=1e-20),
        "so the model decides",
    ),
    "equations, neither": (
        ode.wrapper,
        equations(1e-33),
        "neither the model nor refinement",
        equations(1e-30),
        "so refinement decides",
    ),
    "out of distribution": (shifted.title, shifts(1e-5, 1e-16), "m 1.0e11×", shifts(2e-16, 1e-16), "m 2×"),
    "scaling": (
        shifted.scaling,
        shifts(1e-5, 1e-16),
        "solver by up to 1×",
        shifts(1e-5, 1e-12),
        "solver by up to 1.0e4×",
    ),
    "conditioning": (
        shifted.conditioning,
        shifts(1.0, 1e-16),
        "m: solver 1×, alone 1×",
        shifts(1.0, 1e-14),
        "m: solver 100×, alone 100×",
    ),
    "depths": (
        depths.headline,
        stacks(1.0),
        "have 1.00 times the least error of their depth at most; four reach 1.0e-4",
        stacks(3.0),
        "have 3.00 times the least error of their depth at most; four reach 3.0e-4",
    ),
    "from random weights": (
        ends.from_random,
        once(1e-28, 1e-32, 1e-28).assign(mse_median=1e-28, mse_max=1e-26),
        "A ~ N(0, I) 1.0e-28 and 1.0e-28; at most 1.0e-26",
        once(1e-28, 1e-32, 1e-28).assign(mse_median=1e-20, mse_max=1e-10),
        "A ~ N(0, I) 1.0e-20 and 1.0e-20; at most 1.0e-10",
    ),
    "the last layer by the residual": (
        ends.by_residual,
        once(1e-15, 1e-14, 1e-16),
        "10× to 10× smaller",
        once(1e-15, 1e-14, 1e-15),
        "1× to 1× smaller",
    ),
    "convolutions": (
        depths.by_convolution,
        pd.DataFrame([
            {"problems": "p", "layers": k, "width": 9, "mse_mean": 0.09**k, "any": 0.01**k} for k in (9, 20)
        ]),
        "reaches 1.0e-20 at 20 layers for p (in the worst case 20 are the least)",
        pd.DataFrame([{"problems": "p", "layers": 20, "width": 9, "mse_mean": 1e-19, "any": 1e-30}]),
        "reaches 1.0e-20 not at 20 layers for p",
    ),
    "the tail of a distribution": (
        depths.tail,
        stacks(1.0),
        "at most 1× the limit at 2 layers, 1× the limit at 3 layers and 1× the limit at 4 layers.",
        stacks(1.0, expected=100.0),
        "At 2, 3 and 4 layers a polynomial",
    ),
    "neighbours": (neighbours.title, closest(1e-28), "1 of 1 shipped predictors", closest(1.0), "m is none (1)"),
    "constructed": (neighbours.constructed, closest(1e-28), "as it does", closest(1.0), "m does not predict"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_sentence_follows_its_frame(case: str) -> None:
    sentence, one, said_of_one, other, said_of_other = SENTENCES[case]
    assert said_of_one in sentence(one)
    assert said_of_other in sentence(other)
    assert said_of_one not in sentence(other)
    assert said_of_other not in sentence(one)
