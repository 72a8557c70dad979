"""The rate of momentum, as measured, against theory."""

import math
from functools import partial

import pytest

from precisionlab.tasks.heavy_ball import step

from .load import load

descent = load("momentum").descent


@pytest.mark.parametrize("condition", [3.0, 10.0, 30.0])
def test_the_true_step_contracts_as_theory_says(condition: float) -> None:
    steps, rate, _ = descent(partial(step, condition=condition), condition, 50)
    limit = (condition - 1) / (condition + 1)
    # β^(k/2) is multiplied by a polynomial of degree one in k: the rate nears the limit from above as 1 + 1/k.
    assert limit * (1 - 2 / steps) <= rate <= limit * (1 + 4 / steps)
    assert steps < math.log(1e-9) / math.log((condition**2 - 1) / (condition**2 + 1))
