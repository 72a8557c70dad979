"""The limits by depth, each against what it is defined by."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from precisionlab.inspect import limits
from solvers import reference


@pytest.mark.parametrize(("rows", "n"), [(20, 5), (5, 2), (4, 1), (9, 4)])
def test_moments_are_those_of_wishart_matrices(rows: int, n: int) -> None:
    zeroth, first, second, third = limits.gaussian_moments(rows, n, 4)
    assert (zeroth, first, second) == (1, rows, rows * (rows + n + 1))
    assert third == rows * (rows**2 + n**2 + 3 * rows * n + 3 * rows + 3 * n + 4)


def test_high_moments_are_those_that_are_drawn() -> None:
    A = torch.randn(400_000, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(A).square()
    for k, moment in enumerate(limits.gaussian_moments(5, 2, 6)):
        drawn = values.pow(k).mean(dim=1)
        assert abs(drawn.mean() - float(moment)) <= 5 * drawn.std() / len(drawn) ** 0.5 + 1e-12


def test_an_integral_that_is_not_rational_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        limits.gaussian_moments(6, 2, 3)


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_the_smallest_mean_square_is_that_of_least_squares(degree: int) -> None:
    points = np.array([0.25, 1.0, 1.5, 2.0, 3.0, 4.5])
    moments = [sum((Fraction(p) ** k for p in points), Fraction(0)) / len(points) for k in range(2 * degree + 1)]
    powers = points[:, None] ** np.arange(1, degree + 1)
    best = reference.solve(powers, np.ones(len(points)))
    mean = float(np.mean((1 - powers @ best) ** 2))
    assert float(limits.mean_square(moments, degree)) == pytest.approx(mean, rel=1e-9)


def test_a_measure_of_as_many_points_as_degrees_has_no_limit() -> None:
    points = [Fraction(1), Fraction(2), Fraction(3)]
    moments = [sum((p**k for p in points), Fraction(0)) / 3 for k in range(7)]
    assert limits.mean_square(moments, 3) == 0
    assert limits.mean_square(moments, 2) > 0


@pytest.mark.parametrize("condition", [2.0, 1e3])
def test_the_worst_case_is_chebyshevs(condition: float) -> None:
    for layers in (1, 2, 3):
        degree = limits.degree(layers)
        with mpmath.workdps(60):
            square = mpmath.mpf(condition) ** 2
            expected = 1 / mpmath.chebyt(degree, (square + 1) / (square - 1))
        assert abs(limits.worst(condition, degree) / expected - 1) < mpmath.mpf(10) ** -28


def test_the_limits_of_the_papers_problems() -> None:
    """docs/end-to-end.md states these digits."""
    moments = limits.gaussian_moments(20, 5, 2 * limits.degree(4) + 1)
    found = [float(limits.mean_square(moments, limits.degree(layers))) for layers in (1, 2, 3, 4)]
    assert [f"{value:.5e}" for value in found] == ["2.30769e-01", "1.09905e-02", "5.72091e-05", "4.69610e-08"]


@pytest.mark.parametrize("degree", [1, 4, 13])
def test_the_limit_of_a_sample_is_that_of_its_moments(degree: int) -> None:
    drawn = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    moments = [sum((Fraction(p) ** k for p in drawn.tolist()), Fraction(0)) / 50 for k in range(2 * degree + 1)]
    assert limits.mean_square_of(drawn, degree) == pytest.approx(float(limits.mean_square(moments, degree)), rel=1e-6)


def test_a_quadrature_has_the_moments_it_was_made_of() -> None:
    moments = limits.gaussian_moments(20, 5, 21)
    nodes, weights = limits.gauss(moments)
    assert len(nodes) == 10
    for k, moment in enumerate(moments[:20]):
        assert float(weights @ nodes**k) == pytest.approx(float(moment), rel=1e-10)
