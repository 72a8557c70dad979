"""Table: the learned Newton–Schulz solver's forward error beside Householder QR's.

    python -m precisionlab.experiments.newton_schulz_accuracy --out reports/newton-schulz

Problems of prescribed condition number, with and without a residual, are solved by QR and by the learned solver, with
refinement and without. Errors are against the exact rational solution. The table says what the model itself reached
(X b, without refinement) and what the solver makes of it; NIST's sets close it. It takes about half an hour, nearly all
of it at 2,000 rows; ``--resume`` goes on with a table that was left half-way.
"""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

import precisionlab
import solvers
from precisionlab.files import write_atomically
from precisionlab.precision import math_flags
from precisionlab.tasks.newton_schulz import EmittedStep, NewtonSchulz
from solvers import errors, nist, reference
from solvers.learned_newton_schulz import LearnedNewtonSchulz, MatrixStep
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
TABLE, NIST_TABLE, PAGE = "accuracy.csv", "nist.csv", "README.md"


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


class _Counted:
    """A step that remembers how many problems it was asked about each time."""

    def __init__(self, step: MatrixStep) -> None:
        self.step, self.sizes = step, list[int]()

    def __call__(self, A: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(A))
        return self.step(A, X)


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
    """Solve with refinement, and tell from the iterates what it began with.

    The application that finds X converged leaves X, and with it x = X b, as it was; every other moves x, or so the
    number of problems that stay in the batch must say. Where the two do not agree, the problems are solved again.

    Args:
        step: The model's.
        A: Matrices, (B, m, n).
        b: Right-hand sides, (B, m).

    Returns:
        What both solvers give, from one run of the model.
    """
    counted = _Counted(step)
    refined = LearnedNewtonSchulz(counted).solve(A, b, record=True)
    trace, converged = torch.as_tensor(refined.trace), torch.as_tensor(refined.converged)
    applications = (trace[1:] == trace[:-1]).all(dim=-1).to(torch.int64).argmax(dim=0) + 1
    plain, plain_converged = trace[applications, torch.arange(len(A))], converged
    stayed = [*counted.sizes[1:], 0]
    left = [before - after for before, after in zip(counted.sizes, stayed, strict=True)]
    if applications.bincount(minlength=len(left) + 1)[1:].tolist() != left or not bool(converged.all()):
        again = LearnedNewtonSchulz(step, refine=False).solve(A, b)
        plain, applications, plain_converged = map(torch.as_tensor, (again.x, again.iterations, again.converged))
    iterations = torch.as_tensor(refined.iterations)
    return Answers(plain, torch.as_tensor(refined.x), applications, iterations, plain_converged, converged)


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


def page(rows: Iterable[Row], digits: Iterable[dict[str, str]]) -> str:
    """The table in words.

    Args:
        rows: Of the table.
        digits: Of NIST's sets.

    Returns:
        Markdown.
    """
    rows = list(rows)
    lines = [
        "# The learned Newton–Schulz solver beside Householder QR",
        "",
        "Forward error ‖x − x*‖/‖x*‖ against the exact solution, median and (95th percentile), for problems with",
        "singular values spread evenly from 1 to 1/κ in logarithm, in float64. X b is what the model's own iterates",
        "give; refined is the solver as it is loaded. A ratio is to QR on the same problems, median to median and",
        "95th percentile to 95th percentile. Applications: the most of the model that any problem took (a refinement",
        "takes none), beside 4 log₂ κ + 10.",
        "",
        "| solver | m | n | κ | ‖r‖ | problems | QR | X b | ratio | refined | ratio | applications |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for plain, refined in zip(rows[::2], rows[1::2], strict=True):
        cells = [
            plain.solver.rpartition("/")[2],
            *map(str, (plain.m, plain.n)),
            f"{plain.condition:.0e}",
            f"{plain.residual:.0f}",
            str(plain.problems),
            f"{plain.qr_median:.1e} ({plain.qr_p95:.1e})",
            *_beside_qr(plain),
            *_beside_qr(refined),
            f"{plain.applications} ≤ {plain.allowed}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    unconverged = sum(row.problems - row.converged for row in rows)
    lines += [
        "",
        f"Of {sum(row.problems for row in rows):,} solves, {unconverged} did not say CONVERGED. `{TABLE}` has it all.",
        "",
        "Correct digits on NIST's sets (the least over the coefficients, 15 at most):",
        "",
        "| set | QR | learned, n ≤ 16 |",
        "| --- | --- | --- |",
        *(f"| {row['set']} | {row['qr']} | {row['learned']} |" for row in digits),
        "",
        "Error against applications of the model, at three condition numbers: the folders `kappa-*` have a page each.",
        "",
        "    python -m precisionlab.experiments.newton_schulz_accuracy --out reports/newton-schulz",
        "    python -m precisionlab.experiments.newton_schulz_curves --out reports/newton-schulz",
        "",
    ]
    return "\n".join(lines)


def _beside_qr(row: Row) -> list[str]:
    ratios = f"{row.median / row.qr_median:.2g} ({row.p95 / row.qr_p95:.2g})"
    return [f"{row.median:.1e} ({row.p95:.1e})", ratios]


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
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the table goes.")
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
    (out / PAGE).write_text(page(rows, digits), encoding="utf-8")


if __name__ == "__main__":
    main()
