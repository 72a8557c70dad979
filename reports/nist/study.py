"""Correct digits of every solver on the NIST StRD sets.

    python reports/nist/study.py

Digits are counted twice: against the certified coefficients, which have 15 digits and so cap what can be seen at 14.3
to 15, and against the exact solution. The enclosure of the forward error is proved.
"""

import numpy as np
import pandas as pd

import solvers
from precisionlab.report import Content, Figure, Measured, Study, Table, Text
from precisionlab.report.words import listed, sentence
from solvers import Status, errors, nist
from solvers.certify import certify
from solvers.refinement import Refinement
from solvers.solver import Solver

MOST_DIGITS = 15.0
REFINED = "+refinement"


def subjects() -> list[Solver]:
    """Those that get further than a first digit on these sets."""
    names = ["reference", "qr", "svd", "cholesky", "cgls", "lsqr", "lsmr", "newton-schulz"]
    return [*map(solvers.get, names), Refinement(), Refinement(solver=solvers.get("cholesky"))]


def measure() -> pd.DataFrame:
    """Every solver on every set."""
    rows: list[dict[str, str | float]] = []
    for item in nist.problems():
        exact = nist.exact(item)
        for solver in subjects():
            result = solver.solve(item.A, item.b)
            x = np.asarray(result.x)
            proved = certify(item.A, item.b, x)
            rows.append({
                "set": item.name,
                "condition": float(np.linalg.cond(item.A)),
                "condition_scaled": float(np.linalg.cond(item.A / np.linalg.norm(item.A, axis=0))),
                "solver": solver.name,
                "status": Status(int(result.status)).name,
                "digits_certified": float(errors.lre(x, item.certified)),
                "digits_exact": float(errors.lre(x, exact)),
                "forward_error_lower": float(proved.lower),
                "forward_error_upper": float(proved.upper),
                "backward_error": float(errors.backward_error(item.A, item.b, x)),
            })
    return pd.DataFrame(rows)


def digits(rows: pd.DataFrame) -> pd.DataFrame:
    """One line a set, one column a solver: digits, ``exact / certified``, or the status where it is not CONVERGED."""
    lines: dict[str, dict[str, str]] = {}
    for row in rows.to_dict("records"):
        first = {
            "set": row["set"],
            "κ": f"{row['condition']:.0e}",
            "κ, columns scaled": f"{row['condition_scaled']:.0e}",
        }
        line = lines.setdefault(row["set"], first)
        both = f"{row['digits_exact']:.2f} / {row['digits_certified']:.2f}"
        line[row["solver"]] = both if row["status"] == "CONVERGED" else row["status"].lower().replace("_", " ")
    return pd.DataFrame(list(lines.values()))


def worst(rows: pd.DataFrame) -> pd.Series:
    """The fewest digits of each solver over the sets."""
    solvers = rows[rows["solver"] != "reference"]
    return solvers.groupby("solver", sort=False)["digits_exact"].min()


def title(rows: pd.DataFrame) -> str:
    """Who has all digits on all sets, and how far the others fall."""
    least, sets = worst(rows), rows["set"].nunique()
    full = [str(name) for name in least.index[least >= MOST_DIGITS]]
    others = least.drop(full)
    has = "has" if len(full) < 2 else "have"
    told = [f"{listed(full) if full else 'no solver'} {has} 15 correct digits on all {sets} NIST sets"]
    if len(others):
        told.append(f"the others fall to between {others.min():.1f} and {others.max():.1f} on the hardest")
    return sentence(told)


def refinement(rows: pd.DataFrame) -> str:
    """Whether the worst refined solver beats the best plain one, by the fewest digits over the sets."""
    least = worst(rows)
    refined = least[least.index.str.endswith(REFINED)]
    plain = least.drop(refined.index)
    if refined.min() > plain.max():
        return "Refinement with residuals in doubled precision is worth more than the choice of the method"
    return (
        f"Refinement does not decide: {refined.idxmin()} falls to {refined.min():.1f} digits, "
        f"{plain.idxmax()} without it to {plain.max():.1f}"
    )


def limited(rows: pd.DataFrame) -> str:
    """What the rounding of the certified coefficients costs the exact solution."""
    reference = rows[rows["solver"] == "reference"]
    below = reference[reference["digits_certified"] < MOST_DIGITS]
    scores = [f"{row['digits_certified']:.2f} on {row['set']}" for row in below.to_dict("records")]
    if not scores:
        return "Against these, the exact solution itself, rounded correctly, scores 15 on every set."
    return (
        f"Against these, the exact solution itself, rounded correctly, scores {listed(scores)}. That is the distance "
        "from the printed value to the solution, and no solver can do better."
    )


def page(rows: pd.DataFrame) -> Content:
    """What the page says."""
    points = rows[(rows["solver"] != "reference") & (rows["status"] == "CONVERGED")]
    return Content(
        title=title(rows),
        sections=[
            Figure(
                name="digits",
                frame=points,
                x="set",
                y="digits_exact",
                series="solver",
                joined=False,
                y_log=False,
                y_label="correct digits, the least over the coefficients",
                title=refinement(rows),
                caption="Against the exact solution of each set, 15 at most. A solver that did not say CONVERGED on a "
                "set has no point there.",
            ),
            Table(
                frame=digits(rows),
                title="Correct digits: against the exact solution / against the certified coefficients",
                caption="The least over the coefficients, 15 at most. The first κ is that of A, as iterative methods "
                "see it; the second that of A with columns of length 1, as direct methods see it.",
            ),
            Text(
                title="How to read it",
                body=f"NIST prints 15 significant digits. {limited(rows)} The first number is the one that measures a "
                "solver. Filip is left out: its data have no exact float64 representation.\n\nA small backward error "
                "is no proof of digits: the table below has both.",
            ),
            Table(
                frame=rows,
                title="Every solve, with proved bounds on its forward error",
                formats=dict.fromkeys(("condition", "condition_scaled"), ".0e")
                | dict.fromkeys(("digits_certified", "digits_exact"), ".2f")
                | {"forward_error_lower": ".16e", "forward_error_upper": ".16e", "backward_error": ".1e"},
            ),
        ],
        spread="fixed data: nothing is drawn; the solvers are deterministic on one machine",
    )


SETTINGS = {
    "sets": [item.name for item in nist.problems()],
    "solvers": [solver.name for solver in subjects()],
}
STUDY = Study(
    script=__file__,
    tables={"results": Measured(function=measure, settings=SETTINGS)},
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
