"""Table: correct digits of every solver on the NIST StRD sets.

    python reports/nist/study.py

Digits are counted twice: against the certified coefficients, which have 15 digits and so cap what can be seen at 14.3
to 15, and against the exact solution. `solvers.nist_report` measures; the enclosure of the forward error is proved.
"""

from collections.abc import Sequence
from pathlib import Path

import click
import pandas as pd

from precisionlab.precision import environment, math_flags
from precisionlab.reporting import Figure, Table, Text, write_page
from solvers import nist_report

COMMAND = "python reports/nist/study.py"
MOST_DIGITS = 15.0


def digits(rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    """One line a set, one column a solver.

    Args:
        rows: What `solvers.nist_report.rows` measured.

    Returns:
        Digits against the exact solution and against the certified coefficients, ``exact / certified``; the status
        of a solver that did not say CONVERGED.
    """
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        first = {"set": row["set"], "κ": row["condition"], "κ, columns scaled": row["condition_scaled"]}
        line = lines.setdefault(row["set"], first)
        both = f"{row['digits_exact']} / {row['digits_certified']}"
        line[row["solver"]] = both if row["status"] == "CONVERGED" else row["status"].lower().replace("_", " ")
    return pd.DataFrame(list(lines.values()))


def limited(rows: Sequence[dict[str, str]]) -> str:
    """What the rounding of the certified coefficients costs the exact solution.

    Args:
        rows: What `solvers.nist_report.rows` measured.

    Returns:
        Its digits on the sets where they are below 15, listed.
    """
    of_reference = [row for row in rows if row["solver"] == "reference"]
    below = [row for row in of_reference if float(row["digits_certified"]) < MOST_DIGITS]
    scores = [f"{row['digits_certified']} on {row['set']}" for row in below]
    return " and ".join(part for part in (", ".join(scores[:-1]), *scores[-1:]) if part)


def conclusion(rows: Sequence[dict[str, str]]) -> str:
    """The table in a sentence.

    Args:
        rows: What `solvers.nist_report.rows` measured.

    Returns:
        The page's title.
    """
    least = pd.DataFrame(rows).assign(digits=lambda frame: frame["digits_exact"].map(float))
    worst = least.groupby("solver", sort=False)["digits"].min()
    full = [str(name) for name in worst.index[worst >= MOST_DIGITS] if name != "reference"]
    others = worst.drop([*full, "reference"])
    named = " and ".join(full) or "No solver"
    what = "have" if len(full) > 1 else "has"
    return (
        f"{named} {what} 15 correct digits on all {least['set'].nunique()} NIST sets; "
        f"the others fall to between {others.min():.1f} and {others.max():.1f} on the hardest"
    )


def sections(rows: Sequence[dict[str, str]]) -> list[Figure | Table | Text]:
    """What the page shows.

    Args:
        rows: What `solvers.nist_report.rows` measured.

    Returns:
        Its sections.
    """
    points = pd.DataFrame([
        {"set": row["set"], "solver": row["solver"], "digits": float(row["digits_exact"])}
        for row in rows
        if row["solver"] != "reference" and row["status"] == "CONVERGED"
    ])
    return [
        Figure(
            name="digits",
            frame=points,
            x="set",
            y="digits",
            series="solver",
            joined=False,
            y_log=False,
            y_label="correct digits, the least over the coefficients",
            title="Refinement with residuals in doubled precision is worth more than the choice of the method",
            caption="Against the exact solution of each set, 15 at most. A solver that did not say CONVERGED on a set "
            "has no point there.",
        ),
        Table(
            name="by-set",
            frame=digits(rows),
            title="Correct digits: against the exact solution / against the certified coefficients",
            caption="The least over the coefficients, 15 at most. The first κ is that of A, as iterative methods see "
            "it; the second that of A with columns of length 1, as direct methods see it.",
        ),
        Text(
            title="How to read it",
            body="NIST prints 15 significant digits. Against these, the exact solution itself, rounded correctly, "
            f"scores {limited(rows)}. That is the distance from the printed value to the solution, and no solver can "
            "do better. The exact solution rounds to the certified coefficients in every digit printed, so the first "
            "number is the one that measures a solver. Filip is left out: its data have no exact float64 "
            "representation.\n\nA small backward error is no proof of digits: see cholesky on Longley below.",
        ),
        Table(
            name="results",
            frame=pd.DataFrame(rows),
            title="Every solve, with proved bounds on its forward error",
        ),
    ]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Where the page goes.")
def main(out: Path) -> None:
    """Solve every set by every solver, and write the page."""
    with math_flags():
        rows = nist_report.rows()
        write_page(
            out,
            title=conclusion(rows),
            sections=sections(rows),
            spread="fixed data: nothing is drawn; the solvers are deterministic on one machine",
            config={"sets": list(dict.fromkeys(row["set"] for row in rows)), "columns": nist_report.COLUMNS},
            environment=environment("cpu"),
            command=COMMAND,
        )


if __name__ == "__main__":
    main()
