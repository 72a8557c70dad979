"""Table: the learned Newton–Schulz solver's forward error beside Householder QR's.

    python -m precisionlab.experiments.newton_schulz_accuracy --out reports/newton-schulz

Problems of prescribed condition number, with and without a residual, are solved by QR and by the learned solver, with
refinement and without. Errors are against the exact rational solution. The table says what the model itself reached
(X b, without refinement) and what the solver makes of it; NIST's sets close it.
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

import click
import torch

import precisionlab
import solvers
from precisionlab.precision import math_flags
from solvers import errors, nist, reference
from solvers.problems import random_problem

CONDITIONS = (1e1, 1e3, 1e5, 1e7, 1e9)
RESIDUALS = (0.0, 1.0)
SUBJECTS = (
    ("linear-attention/newton-schulz", 5, (20, 200, 2000)),
    ("linear-attention/newton-schulz-16", 9, (20, 200)),
    ("linear-attention/newton-schulz-16", 16, (20, 200, 2000)),
)
"""Checkpoints, with the unknowns and the rows that they are measured on."""
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


def measure(name: str, m: int, n: int, condition: float, residual: float, *, problems: int) -> list[Row]:
    """Solve problems of one kind.

    Args:
        name: The checkpoint.
        m: Rows.
        n: Unknowns.
        condition: κ.
        residual: ‖r‖.
        problems: How many.

    Returns:
        Two rows: without refinement, and with it.
    """
    generator = torch.Generator().manual_seed(SEED)
    problem = random_problem(m, n, condition=condition, residual=residual, batch=(problems,), generator=generator)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    exact = torch.as_tensor(hi), torch.as_tensor(lo)

    def quantiles(x: object) -> tuple[float, float]:
        error = torch.as_tensor(errors.forward_error(torch.as_tensor(x), exact)).double()
        return float(error.quantile(0.5)), float(error.quantile(0.95))

    qr_median, qr_p95 = quantiles(solvers.get("qr").solve(problem.A, problem.b).x)
    rows = []
    for refined in (False, True):
        result = precisionlab.load_solver(name, refine=refined).solve(problem.A, problem.b)
        median, p95 = quantiles(result.x)
        rows.append(
            Row(
                solver=name,
                refined=refined,
                m=m,
                n=n,
                condition=condition,
                residual=residual,
                problems=problems,
                converged=int(torch.as_tensor(result.converged).sum()),
                median=median,
                p95=p95,
                qr_median=qr_median,
                qr_p95=qr_p95,
                applications=int(torch.as_tensor(result.iterations).max()),
                allowed=math.floor(4 * math.log2(condition) + 10),
            )
        )
    return rows


def table(problems: int, tall_problems: int) -> Iterator[Row]:
    """The whole table.

    Args:
        problems: Problems of a kind.
        tall_problems: The same where there are 2,000 rows, for which the exact solution takes longest.

    Yields:
        Its rows.
    """
    for name, n, heights in SUBJECTS:
        for m, condition, residual in product(heights, CONDITIONS, RESIDUALS):
            yield from measure(name, m, n, condition, residual, problems=tall_problems if m == 2000 else problems)


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


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the table goes.")
@click.option("--problems", default=1000, show_default=True, help="Problems of a kind.")
@click.option("--tall-problems", default=100, show_default=True, help="The same at 2,000 rows.")
def main(out: Path, problems: int, tall_problems: int) -> None:
    """Measure the table, and write it as CSV and as a page."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with math_flags(), (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        for row in table(problems, tall_problems):
            rows.append(row)
            writer.writerow(asdict(row))
            file.flush()  # an hour's work is not lost with its last minute
    digits = nist_rows()
    with (out / NIST_TABLE).open("w", newline="", encoding="utf-8") as file:
        nist_writer = csv.DictWriter(file, list(digits[0]))
        nist_writer.writeheader()
        nist_writer.writerows(digits)
    (out / PAGE).write_text(page(rows, digits), encoding="utf-8")


if __name__ == "__main__":
    main()
