"""Correct digits of every solver on the NIST StRD sets, as a table and a page.

    python -m solvers.nist_report --out reports/nist

Digits are counted twice: against the certified coefficients, which have 15 digits and so cap what can be seen at 14.3
to 15, and against the exact solution. The enclosure of the forward error is proved (`solvers.certify`).
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import solvers
from solvers import errors, nist
from solvers.certify import certify
from solvers.refinement import Refinement
from solvers.result import Status
from solvers.solver import Solver

COLUMNS = [
    "set",
    "condition",
    "condition_scaled",
    "solver",
    "status",
    "digits_certified",
    "digits_exact",
    "forward_error_lower",
    "forward_error_upper",
    "backward_error",
]


def subjects() -> list[Solver]:
    """The solvers that the report compares.

    Returns:
        Those that get further than a first digit on these sets.
    """
    names = ["reference", "qr", "svd", "cholesky", "cgls", "lsqr", "lsmr", "newton-schulz"]
    refined = [Refinement(), Refinement(solver=solvers.get("cholesky"))]
    return [*(solvers.get(name) for name in names), *refined]


def rows() -> list[dict[str, str]]:
    """Every solver on every set.

    Returns:
        One row a set and solver, under COLUMNS.
    """
    table = []
    for item in nist.problems():
        exact = nist.exact(item)
        condition = np.linalg.cond(item.A)
        scaled = np.linalg.cond(item.A / np.linalg.norm(item.A, axis=0))
        for solver in subjects():
            result = solver.solve(item.A, item.b)
            x = np.asarray(result.x)
            bounds = certify(item.A, item.b, x)
            table.append({
                "set": item.name,
                "condition": f"{condition:.0e}",
                "condition_scaled": f"{scaled:.0e}",
                "solver": solver.name,
                "status": Status(int(result.status)).name,
                "digits_certified": f"{float(errors.lre(x, item.certified)):.2f}",
                "digits_exact": f"{float(errors.lre(x, exact)):.2f}",
                "forward_error_lower": f"{float(bounds.lower):.17g}",
                "forward_error_upper": f"{float(bounds.upper):.17g}",
                "backward_error": f"{float(errors.backward_error(item.A, item.b, x)):.3e}",
            })
    return table


def page(table: Sequence[dict[str, str]]) -> str:
    """The table as a page.

    Args:
        table: rows under COLUMNS.

    Returns:
        Markdown.
    """
    names = list(dict.fromkeys(row["solver"] for row in table))
    lines = [
        "# NIST StRD: correct digits",
        "",
        "Least number of correct decimal digits over the coefficients, 15 at most: first against the exact solution of",
        "each set, then against the certified coefficients.¹ A solver that did not say CONVERGED has its status in",
        "place of a number. The first κ is that of A, as iterative methods see it; the second that of A with columns",
        "of length 1, as direct methods see it.",
        "",
        f"| set | κ | scaled | {' | '.join(names)} |",
        f"| --- | --- | --- | {' | '.join('---' for _ in names)} |",
    ]
    for name in dict.fromkeys(row["set"] for row in table):
        mine = {row["solver"]: row for row in table if row["set"] == name}
        cells = []
        for solver in names:
            row = mine[solver]
            digits = f"{row['digits_exact']} / {row['digits_certified']}"
            cells.append(digits if row["status"] == "CONVERGED" else row["status"].lower().replace("_", " "))
        first = mine[names[0]]
        lines.append(f"| {name} | {first['condition']} | {first['condition_scaled']} | {' | '.join(cells)} |")
    lines += [
        "",
        "¹ NIST prints 15 significant digits. Against these, the exact solution itself, rounded correctly, scores",
        f"{_limited(table)}. That is the distance from the printed value to the",
        "solution, and no solver can do better. The exact solution rounds to the certified coefficients in every digit",
        "printed, so the first number is the one that measures a solver. Both are columns of `results.csv`, as are",
        "proved bounds on the forward error. Filip is left out: its data have no exact float64 representation.",
        "",
        "A small backward error is no proof of digits: see `cholesky` on Longley.",
        "",
        "    python -m solvers.nist_report --out reports/nist",
        "",
    ]
    return "\n".join(lines)


def _limited(table: Sequence[dict[str, str]]) -> str:
    """What the rounding of the certified coefficients costs the exact solution.

    Args:
        table: rows under COLUMNS.

    Returns:
        Its digits on the sets where they are below 15, listed.
    """
    rows = [row for row in table if row["solver"] == "reference" and float(row["digits_certified"]) < 15]
    scores = [f"{row['digits_certified']} on {row['set']}" for row in rows]
    return " and ".join(part for part in (", ".join(scores[:-1]), *scores[-1:]) if part)


def write(out: Path) -> None:
    """Write results.csv and README.md.

    Args:
        out: the report's folder; made if need be.
    """
    out.mkdir(parents=True, exist_ok=True)
    table = rows()
    with (out / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    (out / "README.md").write_text(page(table), encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m solvers.nist_report", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for results.csv and README.md")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
