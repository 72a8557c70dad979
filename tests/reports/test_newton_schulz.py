"""The cells of the table are measured as they say, at a small size."""

import math

import pytest
import torch

from precisionlab.tasks.newton_schulz import step
from solvers import errors, reference

from .load import load

study = load("newton-schulz")
U = 2.0**-53


@pytest.mark.parametrize("condition", [1e1, 1e5, 1e9])
def test_a_cell_is_within_three_times_qr_within_the_applications_allowed(condition: float) -> None:
    cell = study.cell(study.NAME, 5, 20, condition, 1.0, 30)
    assert cell["refined_median"] <= 3 * cell["qr_median"]
    assert cell["refined_p95"] <= 3 * cell["qr_p95"]
    assert cell["applications"] <= cell["allowed"] == math.floor(4 * math.log2(condition) + 10)
    assert cell["refined_converged"] == cell["control_converged"] == 30


def test_the_model_alone_is_not_refined() -> None:
    cell = study.cell(study.NAME, 5, 20, 1e5, 0.0, 30)
    assert cell["alone_median"] > 100 * cell["refined_median"]
    problem = study.problems(20, 5, 1e5, 0.0, 30)
    exact = tuple(map(torch.as_tensor, reference.solve_exact(problem.A, problem.b)))
    alone = study.three(study.NAME)["alone"].solve(problem.A, problem.b)
    assert float(torch.as_tensor(errors.forward_error(alone.x, exact)).double().quantile(0.5)) == cell["alone_median"]


def test_the_true_step_is_as_good_as_theory_says() -> None:
    found = study.iterated(step, 1e5, balance=True)
    assert found["converged"] == study.ABLATED
    assert found["median"] <= 8 * 1e5 * 25 * U


def test_nist_within_a_digit_of_qr() -> None:
    for row in study.nist_digits().to_dict("records"):
        assert float(row["refined"]) >= float(row["qr"]) - 1
        assert float(row["control"]) >= float(row["qr"]) - 1
