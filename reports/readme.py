"""README.md's table and the sentence above it, computed from what is saved; ``reports/rebuild.py`` writes them.

Each line has the model alone, its control (the formula, or the same solver around the exact step, in the same dtype),
a classical method, and what was published, all of it in float32.
"""

from pathlib import Path

import pandas as pd

from precisionlab.report.words import counted, format_mse, format_ratio
from precisionlab.runs.tables import read_table

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
BEGIN, END = "<!-- results: made by `make reports` -->", "<!-- end of results -->"
COLUMNS = ("", "model alone", "control", "classical", "published, float32", "seeds", "page")
LINEAR, GATED, SOFTMAX = (f"{mixer}/explicit-gradient" for mixer in ("linear-attention", "gated-conv", "softmax"))
EQUIVARIANT = ("end-to-end", "equivariant")

Line = tuple[str, str, str, str, str, str, str]


def saved(page: str, table: str = "results") -> pd.DataFrame:
    """A table that a study saved."""
    path = FOLDER / page / f"{table}.csv"
    if not path.exists():
        raise ValueError(f"{path}: nothing is saved of it; run python reports/{page}/study.py")
    return read_table(path)


def span(values: pd.Series) -> str:
    """The smallest and the largest of some errors, or the only one."""
    ends = dict.fromkeys((format_mse(values.min()), format_mse(values.max())))
    return " to ".join(ends)


def link(page: str) -> str:
    """To a page."""
    return f"[{page}](reports/{page}/README.md)"


def at_once(results: pd.DataFrame) -> list[Line]:
    """A problem read once and solved by the model alone; the control of a model that emits x is QR itself."""
    lines = []
    for (problems, dtype), rows in results.groupby(["problems", "dtype"], sort=False):
        means = rows.set_index(rows["solver"].str.replace(r"^.*, alone", "alone", regex=True))["mse_mean"]
        alone, qr = (format_mse(float(means[name])) for name in ("alone", "QR"))
        published = "7.5e-10" if dtype == "float32" and not str(problems).startswith("κ") else ""
        what = f"a model reads A and b once and emits x, {problems}, {dtype}"
        lines.append((what, alone, "", f"{qr} (QR)", published, "1", link("end-to-end")))
    return sorted(lines, key=lambda line: line[0].endswith("float32"))


def lead(results: pd.DataFrame) -> str:
    """The model alone beside QR, over samplers and dtypes."""
    told = results[results["solver"].str.endswith((", alone", "QR"))]
    pairs = told.assign(alone=told["solver"] != "QR").pivot_table(
        index=["problems", "dtype"], columns="alone", values="mse_mean"
    )
    worst = float((pairs[True] / pairs[False]).max()) ** 0.5
    return (
        "A model that reads A and b once and emits x has a root mean square error of at most "
        f"{format_ratio(worst).replace('×', '')} times that of Householder QR in the same dtype."
    )


def floors(results: pd.DataFrame, control: pd.DataFrame, recipes: pd.DataFrame) -> list[Line]:
    """What is emitted: a gradient, or the iterate some steps on."""
    formula = control.set_index(["experiment", "dtype"])["control"]
    known = {
        "linear attention emits the gradient": [LINEAR, f"{LINEAR}-10", f"{LINEAR}-20"],
        "gated convolution emits the gradient": [GATED],
    }
    lines = []
    for what, names in known.items():
        rows = results[results["experiment"].isin(names)]
        sizes = ", n = 5, 10, 20" if len(names) > 1 else ", n = 5"
        exact = span(formula[[(name, "float64") for name in names]])
        lines.append((f"{what}{sizes}, float64", span(rows["test_mse"]), exact, "", "", f"{len(rows)}", link("floors")))
    last = recipes.sort_values("seconds", kind="stable").groupby(["experiment", "dtype", "recipe", "seed"]).tail(1)
    for what, names in known.items():
        rows = last[(last["experiment"] == names[0]) & (last["dtype"] == "float32") & (last["recipe"] != "the paper's")]
        exact = format_mse(formula[names[0], "float32"])
        lines.append((
            f"{what}, n = 5, float32",
            span(rows["mse"]),
            exact,
            "",
            "1e-13",
            f"{len(rows)}",
            link("recipes"),
        ))
    return lines


def steps(results: pd.DataFrame) -> Line:
    """Some steps of gradient descent from one prompt."""
    exact = results["model"].str.startswith("the formula")
    learned, formula = results[~exact], results[exact]
    models = learned["model"].nunique()
    return (
        "both emit 1, 2, 4, 8 steps of descent, float64",
        span(learned["mse"]),
        span(formula["mse"]),
        "",
        "1e-10 (4 steps)",
        f"{models} models, 1 each",
        link("k-steps"),
    )


def iterates(results: pd.DataFrame) -> list[Line]:
    """Learned gradients applied again and again."""
    ends = results.groupby(["solver", "dtype"], sort=False)["mse_median"].last()
    count = int(results["iteration"].max())
    lines = []
    for dtype, published in (("float64", ""), ("float32", "1.5e-13; descent 5.2e-15")):
        alone, control, descent = (
            format_mse(ends[name, dtype]) for name in (f"{LINEAR}, alone", f"{LINEAR}, control", "gradient-descent")
        )
        what = f"learned gradient applied {count} times, {dtype}"
        lines.append((what, alone, f"{control} (refined)", f"{descent} (descent)", published, "1", link("iterates")))
    return lines


def schulz(results: pd.DataFrame) -> Line:
    """Newton–Schulz beside QR: the largest ratio of medians."""
    alone, refined, control = (
        format_ratio(float((results[f"{part}_median"] / results["qr_median"]).max()))
        for part in ("alone", "refined", "control")
    )
    worst = f"κ ≤ {results['condition'].max():.0e}".replace("e+0", "e")
    what = f"learned Newton–Schulz, error beside QR's at most ({counted(len(results), 'cell')}, {worst})"
    return (what, f"{alone} ({refined} refined)", f"{control} (refined)", "1×", "", "1", link("newton-schulz"))


def equations(results: pd.DataFrame) -> Line:
    """Differential equations as least squares."""
    rows = results[(results["sensors"] == 13) & (results["shift"] == "as drawn in training")]
    usual = rows.set_index("predictor")["median"]
    name = "learned Newton–Schulz"
    alone, control, qr = (
        format_mse(usual[part]) for part in (f"{name}, alone", f"{name}, control", "least squares (QR)")
    )
    what = "differential equations as least squares, 15 unknowns, float64"
    return (what, alone, f"{control} (refined)", f"{qr} (QR)", "4e-7 (23 unknowns)", "1", link("ode"))


def shifted(results: pd.DataFrame) -> Line:
    """What the worst shift does to what is emitted."""
    rows = results[results["model"] == LINEAR]
    inside = float(rows.loc[rows["shift"] == "none", "emitted"].iloc[0])
    worst = rows.loc[rows[rows["shift"] != "none"]["emitted"].idxmax()]
    what = f"out of distribution, linear attention's gradient: {worst['shift']} × {worst['value']:g}"
    loss = format_ratio(float(worst["emitted"]) / inside)
    return (what, f"{loss} its error in distribution", "", "", "", "1", link("out-of-distribution"))


def softmax(results: pd.DataFrame) -> Line:
    """Softmax attention, by the recipes tried."""
    rows = results[results["dtype"] == "float64"]
    what = f"softmax attention emits the gradient, n = 5, float64, {counted(len(rows), 'recipe')}"
    return (what, span(rows["test_mse"]), "", "", "", "1 each", link("softmax"))


def table() -> str:
    """The table as Markdown."""
    lines = [
        *at_once(saved(*EQUIVARIANT)),
        *floors(saved("floors"), saved("floors", "control"), saved("recipes")),
        steps(saved("k-steps")),
        *iterates(saved("iterates")),
        schulz(saved("newton-schulz")),
        equations(saved("ode")),
        softmax(saved("softmax")),
        shifted(saved("out-of-distribution")),
    ]
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def written(text: str) -> str:
    """A README with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{lead(saved(*EQUIVARIANT))}\n\n{table()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write it."""
    README.write_text(written(README.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
