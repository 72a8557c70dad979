"""Every solver here goes through the battery at its documented accuracy, the learned one with the true gradient."""

import pytest

import solvers
from solvers import Status
from solvers._core.triangular import matvec, rmatvec
from solvers.learned.gradient import LearnedGradient
from solvers.refinement import Refinement
from solvers.testing import Recipe, check_solver
from solvers.testing.checks import is_iterative
from solvers.testing.iterations import capped

EXAMPLES, FEWER = 100, 25
"""Of a solver, and of a variant of one; `make nightly` draws thousands."""


def true_gradient(A, b, x):
    return rmatvec(A, matvec(A, x) - b)


# Solvers that iterate in proportion to κ² or κ reach their cap beyond these; what they then say is checked once.
LARGEST = {"gradient-descent": 8.0, "chebyshev": 100.0}
SHIPPED = {name: (solvers.get(name), LARGEST.get(name, 1e8)) for name in solvers.names()} | {
    "gradient-descent, gram": (solvers.get("gradient-descent", form="gram"), 4.0),
    "gradient-descent, capped": (solvers.get("gradient-descent", max_iterations=300), 1e8),
    "chebyshev, capped": (solvers.get("chebyshev", max_iterations=300), 1e8),
    "newton-schulz, accelerated": (solvers.get("newton-schulz", accelerate=True), 1e8),
    "lsqr, loose": (solvers.get("lsqr", tolerance=1e-6), 1e8),
    "refinement": (Refinement(), 1e8),
    "refinement of residuals": (Refinement(mode="residual"), 1e8),
    "learned, narrow": (LearnedGradient(true_gradient), 10.0),
    "learned, wide": (LearnedGradient(true_gradient), 1e2),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_solver_passes(name):
    solver, largest = SHIPPED[name]
    examples = FEWER if "," in name or name in LARGEST else EXAMPLES
    check_solver(solver, max_condition=largest, max_examples=examples)


HARD = [
    Recipe(kind="spectrum", m=12, n=4, columns=300),
    Recipe(kind="spectrum", m=12, n=4, condition=1e6, columns=40),
    Recipe(kind="recurrence", m=20, n=20, condition=2.0**20, seed=1),
    Recipe(kind="wilkinson", m=24, n=24, seed=1),
    Recipe(kind="hilbert", m=6, n=6),
    Recipe(kind="kahan", m=24, n=24, condition=2.0**70, seed=1),
    Recipe(kind="hilbert", m=20, n=20),
    Recipe(kind="vandermonde", m=24, n=20, dtype="float32"),
    Recipe(kind="lauchli", m=5, n=4, grade=70),
    Recipe(kind="dependent-columns", m=9, n=5, columns=90, seed=1),
]


@pytest.mark.parametrize("recipe", HARD, ids=str)
def test_solvers_agree_on_the_rank(recipe):
    problem = recipe.problem()
    deficient = problem.known.rank(problem.A.dtype) == "deficient"
    assert deficient or problem.known.rank(problem.A.dtype) == "full"
    for name in solvers.names():
        solver = solvers.get(name)
        if name != "reference":  # exact: it takes for full what is so by less than any rounding
            few = capped(solver, 60) if is_iterative(solver) else solver
            status = int(few.solve(problem.A, problem.b).status)
            assert (status == Status.RANK_DEFICIENT) == deficient, (name, Status(status))
