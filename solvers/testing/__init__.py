"""Checks for anyone's least-squares solver, and the problems to check it on.

    from solvers.testing import check_solver, lstsq_problems

    check_solver(my_solver, max_condition=1e6)      # in pytest, in a notebook; raises SolverCheckFailed

    @given(lstsq_problems(max_condition=1e4))       # a Hypothesis strategy, for properties of your own
    def test_mine(problem): ...

Needs Hypothesis, the extra `testing`; nothing else of `solvers` does.
"""

try:
    import hypothesis as _hypothesis
except ImportError as _error:
    raise ImportError("solvers.testing needs hypothesis: pip install 'precisionlab[testing]'") from _error

from solvers.testing.battery import check_solver
from solvers.testing.findings import Finding
from solvers.testing.recipes import DEFICIENT_KINDS, FULL_RANK_KINDS, KINDS, GeneratedProblem, Recipe
from solvers.testing.report import CheckReport, CheckResult, SolverCheckFailed
from solvers.testing.strategies import lstsq_problems
from solvers.testing.table import CHECKS, Check
from solvers.testing.traces import start_of

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
    "check_solver",
    "lstsq_problems",
    "start_of",
]

del _hypothesis
