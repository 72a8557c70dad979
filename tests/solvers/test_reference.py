"""The oracle against elimination in fractions and Householder in mpmath, over the whole range of float64."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

import solvers
from solvers import Status, reference
from solvers.problems import random_problem
from solvers.reference import RankDeficientError, round_pair, solve_rational

from .. import fuzz_reference
from ..fuzz_reference import draw, run
from ..oracle import eliminate, householder, is_nearest
from .tolerance import unit


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("condition", [1.0, 1e5, 1e14])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 3), (7, 2), (20, 5)], ids=str)
def test_householder_in_mpmath_rounds_to_the_same_answer(shape, condition, dtype, generator):
    residual = 1.0 if shape[0] > shape[1] else 0.0
    problem = random_problem(
        *shape, condition=condition, residual=residual, batch=(3,), dtype=dtype, generator=generator
    )
    x = reference.solve(problem.A, problem.b)
    hi, lo = reference.solve_exact(problem.A, problem.b)
    np.testing.assert_array_equal(x, hi)
    with mpmath.workdps(80):
        expected = [
            [float(v) for v in householder(A.numpy(), b.numpy())] for A, b in zip(problem.A, problem.b, strict=True)
        ]
    np.testing.assert_array_equal(x, expected)
    assert x.dtype == np.float64
    assert x.shape == (3, shape[1])
    assert bool((np.abs(lo) <= unit(torch.float64) * np.abs(hi)).all())


def test_exact_solution_satisfies_the_normal_equations(generator):
    problem = random_problem(6, 3, condition=1e12, residual=1.0, generator=generator)
    exact = solve_rational(problem.A.numpy(), problem.b.numpy()).fractions()
    A = [[Fraction(v) for v in row] for row in problem.A.tolist()]
    r = [
        Fraction(v) - sum(a * x for a, x in zip(row, exact, strict=True))
        for v, row in zip(problem.b.tolist(), A, strict=True)
    ]
    assert [sum(row[j] * e for row, e in zip(A, r, strict=True)) for j in range(3)] == [0, 0, 0]
    hi, lo = reference.solve_exact(problem.A, problem.b)
    u = Fraction(unit(torch.float64))
    for h, low, x in zip(hi.tolist(), lo.tolist(), exact, strict=True):
        assert abs(Fraction(h) - x) <= u * abs(x)
        assert abs(Fraction(h) + Fraction(low) - x) <= u * u * abs(x)


def test_columns_as_near_to_dependence_as_integers_of_53_bits_can_be():
    # Neighbours in Fibonacci's sequence: the determinant is −1, and κ about 1e32.
    f = [0.0, 1.0]
    while f[-1] + f[-2] < 2.0**53:
        f.append(f[-1] + f[-2])
    A, b = np.array([[f[-1], f[-2]], [f[-2], f[-3]]]), np.array([1.0, 0.0])
    sign = round((-1) ** len(f))
    np.testing.assert_array_equal(reference.solve(A, b), [sign * f[-3], -sign * f[-2]])


@pytest.mark.parametrize("exponents", [(-1000, -1000), (1000, 1000), (-900, 900), (600, -300)])
def test_extreme_scales(exponents, generator):
    problem = random_problem(6, 3, condition=1e6, residual=1.0, generator=generator)
    plain = reference.solve(problem.A, problem.b)
    units = 2.0 ** np.array([exponents[0], 0, exponents[1]])
    got = reference.solve(problem.A.numpy() * units, problem.b.numpy())
    np.testing.assert_array_equal(got, plain / units)


@pytest.mark.parametrize(
    "columns",
    [
        [[1, 1], [1, 1], [0, 0]],
        [[1, 0], [1, 0], [1, 0]],
        [[1e-300, 2.0**1000], [2e-300, 2.0**1001]],
        [[0.1, 0.2, 0.4], [0.3, 0.6, 0.0], [0.7, 1.4, 1.0]],  # doubling rounds nothing
    ],
)
def test_dependence_is_decided_exactly(columns):
    A = np.array(columns, dtype=np.float64)
    for function in (reference.solve, reference.solve_exact):
        with pytest.raises(RankDeficientError, match="column 1 depends"):
            function(A, np.ones(len(A)))


def test_the_last_bit_of_independence_is_seen():
    # κ is about 2/u: no float64 method can tell this matrix from a dependent one.
    delta = 2.0**-52
    A = np.array([[1.0, 1.0], [1.0, 1.0 + delta], [0.0, 0.0]])
    np.testing.assert_array_equal(reference.solve(A, np.array([1.0, 1.0 + delta, 5.0])), [0.0, 1.0])
    A = np.array([[1.0, 1.0], [0.0, 2.0**-600]])
    np.testing.assert_array_equal(reference.solve(A, np.array([3.0, 2.0**-600])), [2.0, 1.0])


def test_ties_round_to_even():
    x = reference.solve(np.array([[1.0], [1.0]]), np.array([1.0, 1.0 + 2.0**-52])).item()
    assert x == 1.0  # 1 + 2⁻⁵³ is half way, and 1 is even
    x = reference.solve(np.array([[1.0], [1.0]]), np.array([1.0 + 2.0**-52, 1.0 + 2.0**-51])).item()
    assert x == 1.0 + 2.0**-51


@pytest.mark.parametrize("k", [2.0, 4.0, 8.0, 16.0])
@pytest.mark.parametrize("odd", [1, 3, 5, 7])
def test_ties_are_seen_through_irrational_factors(k, odd):
    # x = (b₁ + k b₂)/(1 + k²) = 1 + odd·u, half way between two float64, while the norm of A is irrational.
    size, u = 1 + k * k, unit(torch.float64)
    A, b = np.array([[1.0], [k]]), np.array([0.5 + size * odd * u, (size - 0.5) / k])
    even = 1 + (odd + 1 if odd % 4 == 3 else odd - 1) * u
    assert reference.solve(A, b).item() == even


def test_rounding_to_pairs_covers_subnormals_and_overflow():
    assert round_pair(1, 3, 0) == (1 / 3, float(Fraction(1, 3) - Fraction(1 / 3)))
    assert round_pair(1, 1, -1075)[0] == 0.0  # a tie, to even
    assert round_pair(3, 1, -1075)[0] == 2.0**-1073
    assert round_pair(-1, 1, 1024) == (float("-inf"), 0.0)


def test_batches_empty_and_nested(generator):
    problem = random_problem(4, 2, batch=(2, 3), generator=generator)
    x = reference.solve(problem.A, problem.b)
    assert x.shape == (2, 3, 2)
    np.testing.assert_array_equal(x[1, 2], reference.solve(problem.A[1, 2], problem.b[1, 2]))
    assert reference.solve(problem.A[:0], problem.b[:0]).shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("A", "b", "x"),
    [
        ([[0.0], [1.0]], [1.0, 1e-110], [1e-110]),
        ([[0.0], [1.0]], [1e150, 1e20], [1e20]),
        ([[5e-324]], [5e-324], [1.0]),
        ([[5e-324]], [1.0], [np.inf]),
        ([[1e300]], [-1e-300], [-0.0]),
        ([[2.0**1023], [2.0**-1074]], [0.0, 2.0**1023], [0.0]),
        ([[2.0, 0.0], [0.0, 2.0**-1074]], [2.0**-1074, 2.0**-1074], [0.0, 1.0]),  # 2⁻¹⁰⁷⁵ is a tie, and 0 is even
        ([[2.0, 0.0], [0.0, 2.0**-1074]], [3 * 2.0**-1074, 2.0**-51], [2.0**-1073, 2.0**1023]),
    ],
)
def test_nothing_is_lost_at_either_end_of_the_range(A, b, x):
    np.testing.assert_array_equal(reference.solve(np.array(A), np.array(b)), x)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_long_integers_change_nothing(seed, long, monkeypatch):
    A, b = next(pair for pair in (draw(seed, i) for i in range(100)) if pair[0].shape[1] == 5 and eliminate(*pair))
    monkeypatch.setattr(reference, "_LONG_BITS", 0 if long else 10**9)
    assert all(map(is_nearest, reference.solve(A, b).tolist(), eliminate(A, b)))


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_a_short_fuzz(start):
    kinds, failures = run(0, range(start, start + 50))
    assert not failures, "\n".join(failures)
    assert min(kinds["solved"], kinds["rank-deficient"]) > 0


def test_the_fuzz_sees_a_last_bit(monkeypatch, capsys):
    def towards_zero(numerator, denominator, exponent):
        hi, lo = round_pair(numerator, denominator, exponent)
        return np.nextafter(hi, 0.0) if hi * lo < 0 else hi, lo

    monkeypatch.setattr(reference, "round_pair", towards_zero)
    monkeypatch.setattr("sys.argv", ["fuzz", "--problems", "5", "--seed", "1"])
    assert fuzz_reference.main() == 1
    told = capsys.readouterr().out
    assert "--seed 1 --only" in told
    assert "x[0] = " in told


@pytest.mark.parametrize(("half", "rest", "rounded"), [(1, 1, 1), (3, -1, 1), (1, 0, 0), (3, 0, 2)])
def test_the_solver_rounds_once_to_float32(half, rest, rounded):
    # x₁ = 1 + half·2⁻²⁴ + rest·2⁻⁶⁰ rounds in float64 to a tie of float32, which must not be taken for one.
    A = np.array([[1.0, -1.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
    b = np.array([1.0, half * 2.0**-24, rest * 2.0**-60], dtype=np.float32)
    assert reference.solve(A, b)[0] == 1 + half * 2.0**-24
    assert solvers.get("reference").solve(A, b).x[0] == np.float32(1 + rounded * 2.0**-23)


def test_the_solver_says_how_each_problem_ended():
    A, b = np.array([[[1.0]], [[0.0]], [[1e-300]]]), np.array([[1.0], [1.0], [1e300]])
    result = solvers.get("reference").solve(A, b)
    assert result.status.tolist() == [Status.CONVERGED, Status.RANK_DEFICIENT, Status.BREAKDOWN]
    np.testing.assert_array_equal(result.x[:, 0], [1.0, np.nan, np.inf])
    assert result.condition is None


@pytest.mark.parametrize("value", [0.0, -3.5, 5e-324, 2.0**-1022, 2.0**1023, 1 / 3])
def test_the_judge_of_rounding_can_say_no(value):
    gap = Fraction(np.spacing(abs(value))) / 2
    assert is_nearest(value, Fraction(value) + gap * Fraction(99, 100))
    assert not is_nearest(value, Fraction(value) + gap * Fraction(101, 100))
    assert is_nearest(value, Fraction(value) + gap) == (round(abs(value) / np.spacing(abs(value))) % 2 == 0)
    assert is_nearest(np.inf, Fraction(2) ** 1024)
    assert not is_nearest(-np.inf, Fraction(2) ** 1024)
