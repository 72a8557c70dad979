"""The enclosures against the truth, in fractions."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

import solvers
from solvers import certify as module
from solvers.certify import certify
from solvers.problems import random_problem

from ..fuzz_reference import METHODS
from ..oracle import eliminate, is_enclosed
from .tolerance import tolerance


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("condition", [10.0, 1e12])
@pytest.mark.parametrize("scale", [1e-290, 1.0, 1e290])
def test_enclosures_hold_the_truth_and_are_tight(method, condition, scale, generator, monkeypatch):
    problem = random_problem(8, 3, condition=condition, residual=1.0, scale=scale, batch=(3,), generator=generator)
    A, b, x = problem.A.numpy(), problem.b.numpy(), solvers.get("qr").solve(problem.A, problem.b).x.numpy()
    if method == "interval":
        monkeypatch.setattr(module, "solve_rational", lambda *_: pytest.fail("no interval decided"))
    bounds = certify(A, b, x, method=method)
    assert bounds.full_rank.all()
    for i in range(3):
        assert is_enclosed(float(bounds.lower[i]), float(bounds.upper[i]), x[i].tolist(), eliminate(A[i], b[i]))
    assert (bounds.upper - bounds.lower <= tolerance(1, 1, torch.float64) * bounds.upper).all()
    np.testing.assert_allclose(bounds.digits, np.maximum(0, -np.log10(bounds.upper)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("a", "b", "x"),
    [
        (1.0, 1e-300, 1e300),  # a ratio of 1e600
        (1.0, 1e-300, -1e300),
        (-1.0, 5e-324, 2.0**1023),
        (2.0**1023, 5e-324, 1.0),
        (1.0, 1e300, 1e-300),
        (5e-324, 2.0**1023, 2.0**1023),  # x* is above every float64
        (1.0, 1.0, 1.0 + 2.0**-52),
        (3.0, 1.0, 1 / 3),
        (5e-324, 5e-324, 1.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, 0.0),
        (1.0, 0.0, 5e-324),
        (1.0, 1.0, -math.inf),
        (1.0, 0.0, math.nan),
    ],
)
def test_one_unknown_at_either_end_of_the_range(a, b, x, method):
    bounds = certify(np.array([[a]]), np.array([b]), np.array([x]), method=method)
    lower, upper = float(bounds.lower), float(bounds.upper)
    assert is_enclosed(lower, upper, [x], [Fraction(b) / Fraction(a)])
    assert math.copysign(1.0, lower) == math.copysign(1.0, upper) == 1.0
    assert float(bounds.digits) == (math.inf if upper == 0 else max(0.0, -math.log10(upper)))


def test_ratios_below_the_range_are_not_proved_exact():
    # x is right in the large component and off by 1 in one of size 2⁻¹⁰⁷⁴ beside it: a ratio of 2⁻²⁰⁹⁷.
    for method in METHODS:
        bounds = certify(np.eye(2), np.array([2.0**1023, 0.0]), np.array([2.0**1023, 5e-324]), method=method)
        assert (float(bounds.lower), float(bounds.upper)) == (0.0, 5e-324)


@pytest.mark.parametrize("method", METHODS)
def test_a_ratio_just_above_a_float_is_not_proved_to_be_at_most_that(method):
    # The ratio is 1 + 2⁻⁸¹ and some, and a bound of 1 would be below it.
    b, x = np.array([1.0, 2.0**-40]), np.array([0.0, 2.5 * 2.0**-40])
    bounds = certify(np.eye(2), b, x, method=method)
    assert is_enclosed(float(bounds.lower), float(bounds.upper), x.tolist(), [Fraction(v) for v in b.tolist()])
    assert float(bounds.upper) == math.nextafter(1.0, 2.0)


@pytest.mark.parametrize("method", METHODS)
def test_certificates_of_special_answers(method):
    A, b = np.eye(3, 2), np.ones(3)

    def bounds(matrix, right, answer):
        result = certify(matrix, right, answer, method=method)
        return float(result.lower), float(result.upper), bool(result.full_rank)

    assert bounds(A, b, np.ones(2)) == (0.0, 0.0, True)
    assert bounds(A, 0 * b, np.zeros(2)) == (0.0, 0.0, True)
    assert bounds(A, 0 * b, np.ones(2)) == (math.inf, math.inf, True)
    assert bounds(A, b, np.array([np.nan, 1.0])) == (math.inf, math.inf, True)
    low, high, unique = bounds(A * [1, 0], b, np.ones(2))
    assert math.isnan(low)
    assert math.isnan(high)
    assert not unique


def test_no_problems(generator):
    problem = random_problem(3, 2, batch=(0, 4), generator=generator)
    assert certify(problem.A, problem.b, problem.x).digits.shape == (0, 4)


def test_what_cannot_be_done_is_said(monkeypatch):
    with pytest.raises(ValueError, match="method: got 'guess', wants one of"):
        certify(np.eye(2), np.ones(2), np.ones(2), method="guess")
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(RuntimeError, match="wants python-flint"):
        certify(np.eye(2), np.ones(2), np.ones(2), method="interval")


def test_the_judge_of_enclosures_can_say_no():
    above = math.nextafter(1.0, 2.0)
    assert is_enclosed(1.0, 1.0, [0.0], [Fraction(3)])
    assert not is_enclosed(above, above, [0.0], [Fraction(3)])
    assert not is_enclosed(0.9, 0.9, [0.0], [Fraction(3)])
    assert not is_enclosed(0.9, 1.1, [0.0], [Fraction(3)])
    assert not is_enclosed(1.0, -math.inf, [0.0], [Fraction(3)])
    assert not is_enclosed(0.0, 0.0, [1e300], [Fraction(1, 10**300)])
