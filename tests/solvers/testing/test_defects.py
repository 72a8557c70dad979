"""The battery finds what is planted, and says what it is."""

import pytest
import torch

from solvers.testing import CHECKS, Recipe, SolverCheckFailed, check_solver
from solvers.testing.battery import Run

from . import hidden_defects, interface_defects
from .defects import DEFECTS

BY_NAME = {check.name: check for check in CHECKS}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect.solver).__name__)
def test_planted_defect_is_found_and_named(defect):
    with pytest.raises(SolverCheckFailed) as caught:
        Run(max_condition=defect.max_condition).over(defect.solver, [BY_NAME[defect.check]])
    (finding,) = caught.value.failures
    assert defect.phrase in finding.cause, str(finding)
    # The message stands alone: the property, the problem, the figures and the code.
    assert str(finding) in str(caught.value)
    assert finding.claim
    assert finding.measured
    assert finding.allowed
    assert "Recipe(" in finding.code


def test_every_check_has_been_seen_red():
    modules = {type(defect.solver).__module__ for defect in DEFECTS}
    assert {hidden_defects.__name__, interface_defects.__name__} < modules
    assert len(DEFECTS) >= 70
    assert {defect.check for defect in DEFECTS} == set(BY_NAME)


def test_the_code_of_a_finding_shows_it_again():
    defect = DEFECTS[0]
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(defect.solver, max_condition=defect.max_condition, max_examples=60)
    finding = next(finding for finding in caught.value.failures if finding.check == defect.check)
    scope = {"Recipe": Recipe, "solver": defect.solver, "torch": torch}
    statement, call = finding.code.split("; ", maxsplit=1)
    exec(statement, scope)
    result = eval(call, scope)
    problem = scope["p"]
    assert not torch.equal(result.x, torch.zeros_like(result.x))
    assert float((result.x - problem.x).norm() / problem.x.norm()) > float(torch.finfo(torch.float32).eps) / 64
    assert tuple(problem.A.shape) <= (3, 2), "the counterexample is small"
