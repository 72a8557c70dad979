"""The battery finds what is planted, and says what it is."""

import pytest
import torch

from solvers.testing import CHECKS, Recipe, SolverCheckFailed, check_solver

from . import interface_defects
from .defects import DEFECTS

EXAMPLES = 120


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect.solver).__name__)
def test_planted_defect_is_found_and_named(defect):
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(defect.solver, max_condition=defect.max_condition, max_examples=EXAMPLES)
    found = {finding.check: finding for finding in caught.value.failures}
    assert defect.check in found, str(caught.value)
    finding = found[defect.check]
    assert defect.phrase in finding.cause, str(finding)
    # The message stands alone: the property, the problem, the figures and the code.
    assert str(finding) in str(caught.value)
    assert finding.claim
    assert finding.measured
    assert finding.allowed
    assert "Recipe(" in finding.code


def test_every_check_has_been_seen_red():
    assert any(type(defect.solver).__module__ == interface_defects.__name__ for defect in DEFECTS)
    assert len(DEFECTS) >= 40
    assert {defect.check for defect in DEFECTS} == {check.name for check in CHECKS}


@pytest.mark.parametrize("defect", DEFECTS[:1], ids=lambda defect: type(defect.solver).__name__)
def test_the_code_of_a_finding_shows_it_again(defect):
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(defect.solver, max_condition=defect.max_condition, max_examples=EXAMPLES)
    finding = next(finding for finding in caught.value.failures if finding.check == defect.check)
    scope = {"Recipe": Recipe, "solver": defect.solver, "torch": torch}
    statement, call = finding.code.split("; ", maxsplit=1)
    exec(statement, scope)
    result = eval(call, scope)
    problem = scope["p"]
    assert not torch.equal(result.x, torch.zeros_like(result.x))
    assert float((result.x - problem.x).norm() / problem.x.norm()) > float(torch.finfo(torch.float32).eps) / 64
    assert tuple(problem.A.shape) <= (3, 2), "the counterexample is small"
