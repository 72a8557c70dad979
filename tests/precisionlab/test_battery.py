"""Every shipped learned solver goes through the battery, to the condition that its documentation names."""

import pytest
from hypothesis import settings

from precisionlab import lab, zoo
from solvers.testing import check_solver

NIGHTLY = settings.get_current_profile_name() == "nightly"
EXAMPLES = settings().max_examples if NIGHTLY else 60
"""10,000 in the nightly profile; `tests/solvers/testing` draws more of the same properties by day."""

# docs/newton-schulz.md, and the κ that the gradient and the momentum steps are made for.
LARGEST = {
    "linear-attention/newton-schulz": 1e9,
    "linear-attention/newton-schulz-16": 1e9,
    "linear-attention/explicit-gradient": 8.0,
    "linear-attention/heavy-ball": 10.0,
}


@pytest.mark.parametrize("name", LARGEST)
def test_learned_solver_passes(name):
    report = check_solver(lab.load_solver(name), max_condition=LARGEST[name], max_examples=EXAMPLES)
    assert report.passed
    assert report.worst <= 1


def test_the_table_has_every_shipped_solver():
    assert set(LARGEST) <= set(zoo.names())
