"""Correct digits of every solver on the NIST StRD sets, as a table.

Digits are counted twice: against the certified coefficients, which have 15 digits and so cap what can be seen at 14.3
to 15, and against the exact solution. The enclosure of the forward error is proved (`solvers.certify`).
"""

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
