"""Every solver here goes through the battery at its documented accuracy, the learned one with the true gradient."""

import pytest
from hypothesis import settings

import solvers
from solvers._core.triangular import matvec, rmatvec
from solvers.learned.gradient import LearnedGradient
from solvers.refinement import Refinement
from solvers.testing import check_solver

EXAMPLES = settings().max_examples if settings.get_current_profile_name() == "nightly" else 200
"""10,000 in the nightly profile."""


def true_gradient(A, b, x):
    return rmatvec(A, matvec(A, x) - b)


# Solvers that iterate in proportion to κ² or κ reach their cap beyond these; what they then say is checked once.
LARGEST = {"gradient-descent": 8.0, "chebyshev": 100.0}
SHIPPED = {name: (solvers.get(name), LARGEST.get(name, 1e8)) for name in solvers.names()} | {
    "gradient-descent, gram": (solvers.get("gradient-descent", form="gram"), 4.0),
    "gradient-descent, capped": (solvers.get("gradient-descent", max_iterations=300), 1e8),
    "chebyshev, capped": (solvers.get("chebyshev", max_iterations=300), 1e8),
    "lsqr, loose": (solvers.get("lsqr", tolerance=1e-6), 1e8),
    "refinement": (Refinement(), 1e8),
    "refinement of residuals": (Refinement(mode="residual"), 1e8),
    "learned, narrow": (LearnedGradient(true_gradient), 10.0),
    "learned, wide": (LearnedGradient(true_gradient), 1e2),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_solver_passes(name):
    solver, largest = SHIPPED[name]
    examples = EXAMPLES if "," not in name else max(50, EXAMPLES // 4)
    report = check_solver(solver, max_condition=largest, max_examples=examples)
    assert report.passed
    assert report.worst <= 1
