"""Checks for anyone's least-squares solver, and the problems to check it on.

    from solvers.testing import adapt, check_solver, lstsq_problems, parametrize_with_checks

    check_solver(my_solver, max_condition=1e6)      # in pytest, in a notebook; raises SolverCheckFailed
    check_solver(lambda A, b: numpy.linalg.lstsq(A, b)[0])      # a function is held to its accuracy alone

    @parametrize_with_checks([my_solver])           # pytest: one test a check
    def test_mine(solver, check): check(solver)

    @given(lstsq_problems(max_condition=1e4))       # a Hypothesis strategy, for properties of your own
    def test_property(problem): ...

`lstsq_problems` needs Hypothesis, the extra `testing`; nothing else of `solvers` does.
"""

from solvers.testing.accuracy import error_bound
from solvers.testing.adapters import adapt
from solvers.testing.battery import check_solver, parametrize_with_checks
from solvers.testing.checks import CHECKS, Check
from solvers.testing.findings import Finding
from solvers.testing.iterations import start_of
from solvers.testing.recipes import DEFICIENT_KINDS, FULL_RANK_KINDS, KINDS, GeneratedProblem, Recipe
from solvers.testing.report import CheckReport, CheckResult, SolverCheckFailed
from solvers.testing.strategies import lstsq_problems

__all__ = [
    "CHECKS",
    "DEFICIENT_KINDS",
    "FULL_RANK_KINDS",
    "KINDS",
    "Check",
    "CheckReport",
    "CheckResult",
    "Finding",
    "GeneratedProblem",
    "Recipe",
    "SolverCheckFailed",
    "adapt",
    "check_solver",
    "error_bound",
    "lstsq_problems",
    "parametrize_with_checks",
    "start_of",
]
