"""Table: the learned Newton–Schulz solver's forward error beside Householder QR's.

    python reports/newton-schulz/study.py

Problems of prescribed condition number, with and without a residual, are solved by QR and by the learned solver, with
refinement and without. Errors are against the exact rational solution. The table says what the model itself reached
(X b, without refinement) and what the solver makes of it; NIST's sets close it. It takes about half an hour, nearly all
of it at 2,000 rows; ``--resume`` goes on with a table that was left half-way.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
import torch

import precisionlab
import solvers
from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from precisionlab.runs.files import write_atomically
from precisionlab.tasks.newton_schulz import EmittedStep, NewtonSchulz
from solvers import errors, nist, reference
from solvers.learned.newton_schulz import LearnedNewtonSchulz, MatrixStep
from solvers.problems import LstsqProblem, random_problem

CONDITIONS = (1e1, 1e3, 1e5, 1e7, 1e9)
RESIDUALS = (0.0, 1.0)
SUBJECTS = (
    ("linear-attention/newton-schulz", 2),
    ("linear-attention/newton-schulz", 5),
    ("linear-attention/newton-schulz-16", 1),
    ("linear-attention/newton-schulz-16", 9),
    ("linear-attention/newton-schulz-16", 16),
)
"""Checkpoints, with the unknowns that they are measured on."""
HEIGHTS = (20, 200, 2000)
NUMBERS_AT_ONCE = 2**18
"""Entries of A that a solver is given at once: what it works on then stays near the processor."""
NIST_SETS = ("Longley", "Wampler1", "Wampler2")
SEED = 1933
SHOWN = 20, 5
"""Rows and unknowns of the figure's problems."""
TABLE, NIST_TABLE = "accuracy.csv", "nist.csv"
COMMAND = "python reports/newton-schulz/study.py"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a solver on problems of one kind.

    Args:
        solver: The checkpoint.
        refined: Whether its answer was refined.
        m: Rows.
        n: Unknowns.
        condition: κ.
        residual: ‖r‖, beside ‖A‖ = 1.
        problems: How many.
        converged: How many of them said so.
        median: Of the forward error.
        p95: Its 95th percentile.
        qr_median: QR's.
        qr_p95: QR's.
        applications: The most that a problem took, of the model; with refinement, of both together.
        allowed: 4 log₂ κ + 10.
    """

    solver: str
    refined: bool
    m: int
    n: int
    condition: float
    residual: float
    problems: int
    converged: int
    median: float
    p95: float
    qr_median: float
    qr_p95: float
    applications: int
    allowed: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What the problems of one line have in common.

    Args:
        solver: The checkpoint.
        m: Rows.
        n: Unknowns.
        condition: κ.
        residual: ‖r‖.
    """

    solver: str
    m: int
    n: int
    condition: float
    residual: float


def kinds() -> list[Kind]:
    """What is measured, in the table's order.

    Returns:
        Every subject at every height, κ and residual; a single unknown has κ = 1.
    """
    return [
        Kind(solver=name, m=m, n=n, condition=condition, residual=residual)
        for name, n in SUBJECTS
        for m, condition, residual in product(HEIGHTS, CONDITIONS if n > 1 else (1.0,), RESIDUALS)
    ]


class Answers(NamedTuple):
    """Of a batch of problems, with and without refinement."""

    plain: torch.Tensor
    refined: torch.Tensor
    applications: torch.Tensor
    """Without refinement."""
    iterations: torch.Tensor
    """Applications and refinements together."""
    plain_converged: torch.Tensor
    refined_converged: torch.Tensor


def answers(step: MatrixStep, A: torch.Tensor, b: torch.Tensor) -> Answers:
    """Solve with and without refinement.

    Args:
        step: The model's.
        A: Matrices, (B, m, n).
        b: Right-hand sides, (B, m).

    Returns:
        What both solvers give.
    """
    plain, refined = (LearnedNewtonSchulz(step, refinement=most).solve(A, b) for most in (None, 10))
    found = plain.x, refined.x, plain.iterations, refined.iterations, plain.converged, refined.converged
    return Answers(*map(torch.as_tensor, found))


def measure(kind: Kind, *, problems: int) -> list[Row]:
    """Solve problems of one kind.

    Args:
        kind: What they have in common.
        problems: How many.

    Returns:
        Two rows: without refinement, and with it.
    """
    run = precisionlab.load(kind.solver)
    task = run.experiment.task
    assert isinstance(task, NewtonSchulz)
    step = EmittedStep(run.model, n=task.n)
    problem = _problems(kind, problems)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    exact = torch.as_tensor(hi), torch.as_tensor(lo)

    def quantiles(x: object) -> tuple[float, float]:
        error = torch.as_tensor(errors.forward_error(torch.as_tensor(x), exact)).double()
        return float(error.quantile(0.5)), float(error.quantile(0.95))

    size = max(2, NUMBERS_AT_ONCE // (kind.m * kind.n))
    parts = [
        answers(step, A, b) for A, b in zip(torch.split(problem.A, size), torch.split(problem.b, size), strict=True)
    ]
    every = Answers(*map(torch.cat, zip(*parts, strict=True)))
    qr_median, qr_p95 = quantiles(solvers.get("qr").solve(problem.A, problem.b).x)
    rows = []
    for refined, x, taken, converged in (
        (False, every.plain, every.applications, every.plain_converged),
        (True, every.refined, every.iterations, every.refined_converged),
    ):
        median, p95 = quantiles(x)
        rows.append(
            Row(
                **asdict(kind),
                refined=refined,
                problems=problems,
                converged=int(converged.sum()),
                median=median,
                p95=p95,
                qr_median=qr_median,
                qr_p95=qr_p95,
                applications=int(taken.max()),
                allowed=math.floor(4 * math.log2(kind.condition) + 10),
            )
        )
    return rows


def _problems(kind: Kind, count: int) -> LstsqProblem:
    generator = torch.Generator().manual_seed(SEED)
    return random_problem(
        kind.m, kind.n, condition=kind.condition, residual=kind.residual, batch=(count,), generator=generator
    )


def nist_rows() -> list[dict[str, str]]:
    """NIST's sets.

    Returns:
        For each, correct digits of QR and of the learned solver: the least over the coefficients, 15 at most.
    """
    learned = precisionlab.load_solver("linear-attention/newton-schulz-16")
    rows = []
    for item in map(nist.problem, NIST_SETS):
        result = learned.solve(item.A, item.b)
        digits = {
            "qr": errors.lre(solvers.get("qr").solve(item.A, item.b).x, nist.exact(item)),
            "learned": errors.lre(result.x, nist.exact(item)),
        }
        row = {key: f"{float(value):.2f}" for key, value in digits.items()}
        rows.append({"set": item.name, **row, "iterations": str(int(result.iterations))})
    return rows


def page(rows: Sequence[Row], digits: Sequence[dict[str, str]], out: Path) -> None:
    """Write the page.

    Args:
        rows: Of the table.
        digits: Of NIST's sets.
        out: Its folder.
    """
    frame = pd.DataFrame(rows)
    frame["median, × QR"] = frame["median"] / frame["qr_median"]
    frame["p95, × QR"] = frame["p95"] / frame["qr_p95"]
    frame["solver"] = frame["solver"].str.rpartition("/")[2]
    plain, refined = (frame[frame["refined"] == state] for state in (False, True))
    place = f"m == {SHOWN[0]} and n == {SHOWN[1]} and residual == 1"
    named = {
        "Householder QR": ("qr_median", plain),
        "learned, X b": ("median", plain),
        "learned, refined": ("median", refined),
    }
    curves = pd.concat([
        part.query(place).assign(error=part[column], series=name)[["condition", "error", "series"]]
        for name, (column, part) in named.items()
    ])
    columns = ["median", "p95", "median, × QR", "p95, × QR"]
    table = plain.drop(columns=["refined", "converged", *columns]).reset_index(drop=True)
    for name, part in (("X b", plain), ("refined", refined)):
        for column in columns:
            table[f"{name}: {column}"] = part[column].to_numpy()
    unconverged = int((frame["problems"] - frame["converged"]).sum())
    worst = refined[["median, × QR", "p95, × QR"]].max()
    write_page(
        out,
        title=f"The learned Newton–Schulz solver errs by at most {worst.iloc[0]:.2f} times what Householder QR does, "
        f"median to median, in {len(refined)} cells up to κ = {frame['condition'].max():.0e}",
        sections=[
            Figure(
                name="error",
                frame=curves,
                x="condition",
                y="error",
                series="series",
                title="The model alone errs as QR does; refined, its error does not grow with κ",
                caption=f"Median forward error ‖x − x*‖/‖x*‖ at m = {SHOWN[0]}, n = {SHOWN[1]}, ‖r‖ = 1.",
                x_label="condition number κ",
                y_label="median forward error",
                x_log=True,
            ),
            Table(
                name="cells",
                frame=table,
                title="Every cell",
                caption="Forward error against the exact solution; singular values spread evenly from 1 to 1/κ in "
                "logarithm. X b is what the model's own iterates give; refined is the solver as it is loaded. Ratios "
                "are to QR on the same problems. Applications: the most of the model that a problem took (a refinement "
                "takes none), beside 4 log₂ κ + 10.",
                formats={str(name): ".1e" for name in table.filter(regex="median|p95")}
                | {"condition": ".0e", "residual": ".0f"},
            ),
            Table(
                name="nist-digits",
                frame=pd.DataFrame(digits),
                title="Correct digits on NIST's sets",
                caption="The least over the coefficients, 15 at most.",
            ),
            Text(
                title="Beside this page",
                body=f"Of {frame['problems'].sum():,} solves, {unconverged} did not say CONVERGED; `{TABLE}` has it "
                f"all. At the 95th percentile the refined solver errs by at most {worst.iloc[1]:.2f} times what QR "
                "does. The folders `kappa-*` have error against applications at three condition numbers.",
            ),
        ],
        spread=f"median and 95th percentile over {frame['problems'].min():,} problems a cell; one checkpoint a size",
        config={"conditions": list(CONDITIONS), "residuals": list(RESIDUALS), "heights": list(HEIGHTS), "seed": SEED},
        environment=environment("cpu"),
        command=COMMAND,
    )


def read(path: Path) -> dict[Kind, list[Row]]:
    """The table, as far as it goes.

    Args:
        path: Where it lies; it need not exist.

    Returns:
        Two rows of each kind.
    """
    types: dict[str, Any] = {"solver": str, "refined": lambda text: text == "True"}
    types |= dict.fromkeys(("m", "n", "problems", "converged", "applications", "allowed"), int)
    lines: dict[Kind, list[Row]] = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            for line in csv.DictReader(file):
                row = Row(**{key: types.get(key, float)(value) for key, value in line.items()})
                kind = Kind(**{field.name: getattr(row, field.name) for field in fields(Kind)})
                lines.setdefault(kind, []).append(row)
    return lines


def write(path: Path, lines: dict[Kind, list[Row]]) -> None:
    """Write the table, as far as it goes.

    Args:
        path: Where it lies.
        lines: Two rows of each kind.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Row)])
    writer.writeheader()
    for kind in kinds():
        writer.writerows(map(asdict, lines.get(kind, ())))
    write_atomically(path, text.getvalue())


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the table goes.")
@click.option("--problems", default=1000, show_default=True, help="Problems of a kind.")
@click.option("--resume", is_flag=True, help="Keep the lines that the table has, of that many problems.")
def main(out: Path, problems: int, resume: bool) -> None:
    """Measure the table, and write it as CSV and as a page."""
    out.mkdir(parents=True, exist_ok=True)
    lines = {kind: rows for kind, rows in read(out / TABLE).items() if resume and rows[0].problems == problems}
    with math_flags():
        for kind in kinds():
            if kind not in lines:
                lines[kind] = measure(kind, problems=problems)
                write(out / TABLE, lines)  # half an hour's work is not lost with its last minute
    write(out / TABLE, lines)
    digits = nist_rows()
    with (out / NIST_TABLE).open("w", newline="", encoding="utf-8") as file:
        nist_writer = csv.DictWriter(file, list(digits[0]))
        nist_writer.writeheader()
        nist_writer.writerows(digits)
    rows = [row for kind in kinds() for row in lines[kind]]
    page(rows, digits, out)


if __name__ == "__main__":
    main()
