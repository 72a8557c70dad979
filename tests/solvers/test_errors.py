"""Error measures against their formulas in mpmath, and the enclosures against the truth."""

import math

import mpmath
import numpy as np
import pytest
import torch

import solvers
from solvers import errors, reference
from solvers.problems import random_problem

from .tolerance import tolerance, unit


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(120):
        yield


def matrix(t):
    return mpmath.matrix(t.tolist())


def length(v):
    return mpmath.sqrt(mpmath.fsum(e**2 for e in v))


def measures(A, b, x):
    """Karlson–Waldén and optimality residual, by their definitions."""
    A, b, x = matrix(A), matrix(b), matrix(x)
    r = b - A * x
    g = A.T * r
    normal = length(x) ** 2 * (A.T * A) + length(r) ** 2 * mpmath.eye(A.cols)
    estimate = mpmath.sqrt((g.T * mpmath.lu_solve(normal, g))[0]) / length(A)
    return estimate, length(g) / (length(A) * length(r)), r


@pytest.mark.parametrize("residual", [0.0, 1e-4, 1.0])
@pytest.mark.parametrize("condition", [10.0, 1e6, 1e12])
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float64, 1e-150),
        (torch.float64, 1.0),
        (torch.float64, 1e150),
        (torch.float32, 1e-15),
        (torch.float32, 1.0),
    ],
    ids=str,
)
def test_against_mpmath(dtype, scale, condition, residual, generator):
    problem = random_problem(
        8, 3, condition=condition, residual=residual, scale=scale, batch=(2,), dtype=dtype, generator=generator
    )
    A, b = problem.A, problem.b
    x = torch.linalg.lstsq(A.double(), b.double().unsqueeze(-1)).solution.squeeze(-1).to(dtype)
    expected = reference.solve_exact(A, b)
    pair = tuple(torch.from_numpy(part) for part in expected)
    got_backward, got_optimality = errors.backward_error(A, b, x), errors.optimality_residual(A, b, x)
    # A measure with errors of κ u² relative to u-sized quantities keeps this many digits.
    bound = tolerance(8, 3, torch.float64) * (1 + condition * unit(torch.float64) * 1e3)
    for i in range(2):
        backward, optimality, r = measures(A[i], b[i], x[i])
        assert abs(float(got_backward[i]) / backward - 1) <= bound
        assert abs(float(got_optimality[i]) / optimality - 1) <= bound
        truth = matrix(pair[0][i]) + matrix(pair[1][i])
        wrong = matrix(x[i]) - truth
        assert abs(float(errors.forward_error(x, pair)[i]) / (length(wrong) / length(truth)) - 1) <= bound
        assert abs(float(errors.mse(x, pair)[i]) / (length(wrong) ** 2 / 3) - 1) <= bound
        u, size = 2 * unit(dtype) * 8, length(matrix(A[i]))
        ratio = length(A[i].double().numpy().T.tolist() and matrix(A[i]).T * r)
        ratio /= u * size * (length(matrix(b[i])) + size * length(matrix(x[i])))
        assert abs(float(errors.optimality_ratio(A, b, x)[i]) / ratio - 1) <= bound
        ratio = length(r) / (u * size * length(matrix(x[i])))
        assert abs(float(errors.residual_ratio(A, b, x)[i]) / ratio - 1) <= bound


def spread(draw, *shape, centre, width):
    """Numbers with exponents anywhere within a width about a centre, in the range of float64."""
    low, high = max(-1074, centre - width), min(1022, centre + width)
    return np.ldexp(draw.uniform(1, 2, shape), draw.integers(low, high + 1, shape)) * draw.choice([-1.0, 1.0], shape)


def close(got, expected, bound):
    """Within a relative bound, or a subnormal's own spacing; beyond the range, inf."""
    if expected >= 2**1024:
        return got == math.inf
    return abs(mpmath.mpf(got) - expected) <= bound * expected + mpmath.ldexp(1, -1073)


@pytest.mark.parametrize("seed", range(100))
def test_errors_of_vectors_over_the_whole_range(seed):
    draw = np.random.default_rng(seed)
    n, centre = int(draw.integers(1, 5)), int(draw.integers(-1074, 1023))
    width = int(draw.choice([0, 5, 100, 600, 2100]))
    hi = spread(draw, n, centre=centre, width=width)
    lo = hi * 2.0**-53 * draw.uniform(-0.4, 0.4, n)
    other = spread(draw, n, centre=centre, width=width)
    x = np.where(draw.random(n) < 0.5, hi, np.nextafter(hi, 0.0))
    x = np.where(draw.random(n) < draw.choice([0.0, 0.3, 1.0]), other, x)
    if draw.random() < 0.3:
        hi, lo = np.where(draw.random(n) < 0.5, 0.0, hi), np.zeros(n)
    with mpmath.workdps(2000):
        truth = [mpmath.mpf(h) + mpmath.mpf(low) for h, low in zip(hi, lo, strict=True)]
        wrong = [mpmath.mpf(v) - t for v, t in zip(x, truth, strict=True)]
        bound = tolerance(1, n, torch.float64)
        expected = length(wrong) / length(truth) if any(truth) else mpmath.inf if any(wrong) else mpmath.mpf(0)
        assert close(float(errors.forward_error(x, (hi, lo))), expected, bound)
        assert close(float(errors.mse(x, (hi, lo))), length(wrong) ** 2 / n, bound)
        parts = [abs(w / t) if t else abs(w) for w, t in zip(wrong, truth, strict=True)]
        digits = min(15.0 if not part else float(-mpmath.log10(part)) for part in parts)
        assert float(errors.lre(x, (hi, lo))) == pytest.approx(min(15.0, max(0.0, digits)), abs=bound * 1e3)


def test_a_small_component_alone_is_wrong():
    x_ref = np.array([2.0**1000, 2.0**-900])
    assert float(errors.forward_error(np.array([2.0**1000, 0.0]), x_ref)) == 0.0  # 2⁻¹⁹⁰⁰ is below the range
    assert float(errors.lre(np.array([2.0**1000, 2.0**-901]), x_ref)) == pytest.approx(math.log10(2))
    x_ref = np.array([1.0, 0.0])
    assert float(errors.forward_error(np.array([1.0, 1e-170]), x_ref)) == 1e-170
    assert float(errors.forward_error(np.array([1e300, 0.0]), np.array([1e-7, 0.0]))) == pytest.approx(1e307)


@pytest.mark.parametrize("seed", range(40))
def test_measures_of_problems_over_the_whole_range(seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 4))
    m = n + int(draw.integers(1, 3))
    centres, width = draw.integers(-1074, 1023, 3), int(draw.choice([0, 3, 30, 300]))
    A = spread(draw, m, n, centre=int(centres[0]), width=width)
    b = spread(draw, m, centre=int(centres[1]), width=width)
    x = reference.solve(A, b)
    if seed % 2 or not np.isfinite(x).all():
        x = spread(draw, n, centre=int(centres[2]), width=0)
    with mpmath.workdps(3000):
        backward, optimality, r = measures(*(torch.from_numpy(t) for t in (A, b, x)))
        terms = length(matrix(b)) + length(matrix(A)) * length(matrix(x))
        slack = tolerance(m, n, torch.float64)
        # What doubled precision leaves of a residual that is all cancellation.
        rounding = m * n * unit(torch.float64) ** 2
        lost = rounding * terms / length(r)
        far = min(1, length(r) / (length(matrix(A)) * length(matrix(x))))
        assert close(float(errors.optimality_residual(A, b, x)), optimality, slack + 8 * lost / optimality)
        assert close(float(errors.backward_error(A, b, x)), backward, slack + 8 * rounding * far / backward)
        ratio = optimality * length(r) / (2 * unit(torch.float64) * m * terms)
        assert close(float(errors.optimality_ratio(A, b, x)), ratio, slack + unit(torch.float64) / ratio)
        ratio = length(r) / (2 * unit(torch.float64) * m * length(matrix(A)) * length(matrix(x)))
        assert close(float(errors.residual_ratio(A, b, x)), ratio, slack + 8 * lost)


@pytest.mark.parametrize("gap", [*range(2, 30, 3), 40, 57, 63, 80, 200])
def test_the_backward_error_of_an_x_far_too_small(gap, generator):
    # ‖r‖/(‖A‖‖x‖) near 2^gap: on either side of where one term is dropped.
    problem = random_problem(6, 3, condition=1e3, residual=1.0, batch=(2,), generator=generator)
    x = problem.x * 2.0**-gap
    got = errors.backward_error(problem.A, problem.b, x)
    for i in range(2):
        expected = measures(problem.A[i], problem.b[i], x[i])[0]
        assert abs(float(got[i]) / expected - 1) <= tolerance(6, 3, torch.float64)


@pytest.mark.parametrize("power", [10, 100, 600, 900])
def test_a_residual_that_cancels_to_almost_nothing(power):
    # The first equation holds exactly; what is left, and the column it is in, are 2^power smaller.
    small = 2.0**-power
    A, b, x = np.array([[1.0, 0.0], [0.0, small], [0.0, 0.0]]), np.array([1.0, small, 0.0]), np.array([1.0, 2.0])
    with mpmath.workdps(1000):
        backward, optimality, r = measures(*(torch.from_numpy(t) for t in (A, b, x)))
        bound = tolerance(3, 2, torch.float64)
        assert close(float(errors.backward_error(A, b, x)), backward, bound)
        assert close(float(errors.optimality_residual(A, b, x)), optimality, bound)
        ratio = length(r) / (6 * unit(torch.float64) * length(matrix(A)) * length(matrix(x)))
        assert close(float(errors.residual_ratio(A, b, x)), ratio, bound)
        size = length(matrix(A)) * (length(matrix(b)) + length(matrix(A)) * length(matrix(x)))
        ratio = length(matrix(A).T * r) / (6 * unit(torch.float64) * size)
        assert close(float(errors.optimality_ratio(A, b, x)), ratio, bound)


def test_a_right_hand_side_of_zero_beside_a_tiny_x():
    A, b, x = np.eye(3, 2), np.zeros(3), np.array([1.0, 2.0])
    for measure in (errors.optimality_ratio, errors.residual_ratio, errors.optimality_residual, errors.backward_error):
        assert measure(A, b, 2.0**-1000 * x) == measure(A, b, x) > 0


def test_chunks_change_nothing(generator, monkeypatch):
    problem = random_problem(6, 3, residual=1.0, batch=(7,), generator=generator)
    x = problem.x * (1 + 1e-8)
    whole = errors.backward_error(problem.A, problem.b, x)
    monkeypatch.setattr(errors, "_CHUNK_ENTRIES", 80)
    assert torch.equal(errors.backward_error(problem.A, problem.b, x), whole)


@pytest.mark.parametrize("size", [2.0**k for k in (-70, -61, -59, -30, -12, -6, -4, 0, 6, 30)])
def test_backward_error_of_an_answer_of_any_size_beside_its_residual(size, generator):
    A, b, x = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((6, 3), (6,), (3,)))
    x = x * size
    expected, _, _ = measures(A, b, x)
    assert abs(float(errors.backward_error(A, b, x)) / expected - 1) <= tolerance(6, 3, torch.float64)


def test_a_difference_in_the_last_bit_is_measured():
    x_ref = torch.tensor([1.0, 2.0], dtype=torch.float64)
    x = torch.tensor([1.0, 2.0 + 2.0**-51], dtype=torch.float64)
    assert float(errors.forward_error(x, x_ref)) == pytest.approx(2.0**-51 / math.sqrt(5), rel=tolerance(1, 2, x.dtype))
    # Below u only a pair can tell: here x is the reference rounded.
    low = torch.tensor([0.0, 2.0**-60], dtype=torch.float64)
    assert float(errors.mse(x_ref, (x_ref, low))) == 2.0**-120 / 2


def test_traces_are_measured_in_one_call(generator):
    problem = random_problem(8, 3, residual=0.5, batch=(2, 4), generator=generator)
    result = solvers.get("cgls").solve(problem.A, problem.b, record=True)
    pair = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
    for values, single in (
        (errors.forward_error(result.trace, pair), lambda x: errors.forward_error(x, pair)),
        (errors.mse(result.trace, pair), lambda x: errors.mse(x, pair)),
        (errors.lre(result.trace, pair), lambda x: errors.lre(x, pair)),
        (
            errors.backward_error(problem.A, problem.b, result.trace),
            lambda x: errors.backward_error(problem.A, problem.b, x),
        ),
        (
            errors.optimality_residual(problem.A, problem.b, result.trace),
            lambda x: errors.optimality_residual(problem.A, problem.b, x),
        ),
    ):
        assert values.shape == result.trace.shape[:-1]
        assert torch.equal(values[-1], single(result.x))


def test_families(generator):
    problem = random_problem(5, 2, batch=(3,), dtype=torch.float32, generator=generator)
    A, b, x = problem.A, problem.b, problem.x
    x_ref = reference.solve(A, b)
    for torch_value, numpy_value in (
        (errors.forward_error(x, x_ref), errors.forward_error(x.numpy(), x_ref)),
        (errors.backward_error(A, b, x), errors.backward_error(A.numpy(), b.numpy(), x.numpy())),
        (errors.lre(x, x_ref), errors.lre(x.numpy(), x_ref)),
    ):
        assert torch_value.dtype == torch.float64
        assert isinstance(numpy_value, np.ndarray)
        np.testing.assert_array_equal(torch_value.numpy(), numpy_value)


def test_edges():
    one, zero = np.array([1.0, 2.0]), np.zeros(2)
    nan = np.array([np.nan, 2.0])
    assert errors.forward_error(zero, zero) == 0
    assert errors.forward_error(one, zero) == math.inf
    assert errors.forward_error(nan, one) == errors.mse(nan, one) == math.inf
    assert errors.lre(nan, one) == 0
    assert errors.lre(one, one) == 15
    assert errors.lre(np.array([1.0, 2.0002]), one) == pytest.approx(
        4, abs=tolerance(1, 1, torch.float64, condition=1e5)
    )
    assert errors.lre(np.array([1e-3, 2.0]), np.array([0.0, 2.0])) == pytest.approx(3)
    A, b = np.eye(3, 2), np.ones(3)
    assert errors.backward_error(A, b, np.ones(2)) == errors.optimality_residual(A, b, np.ones(2)) == 0
    # x = 0: the limit ‖Aᵀb‖/(‖b‖ ‖A‖).
    expected = math.sqrt(2) / math.sqrt(3) / math.sqrt(2)
    assert float(errors.backward_error(A, b, zero)) == pytest.approx(expected, rel=tolerance(3, 2, torch.float64))
    assert errors.backward_error(A, b, nan) == math.inf
    with pytest.raises(ValueError, match="x: got shape"):
        errors.backward_error(A, b, np.ones(3))
    with pytest.raises(ValueError, match="x_ref: got shape"):
        errors.forward_error(one, np.ones(3))
    with pytest.raises(ValueError, match=r"x_ref\[1\]: got 1 entries that are NaN"):
        errors.forward_error(one, (one, nan))


def test_a_float32_answer_is_not_charged_for_rounding_its_error():
    # 1/3 in float32 against 1/3 in float64: an error computed in float32 would be 0 or u.
    x, x_ref = torch.tensor([1 / 3], dtype=torch.float32), torch.tensor([1 / 3], dtype=torch.float64)
    expected = abs(float(x) - 1 / 3) * 3
    assert float(errors.forward_error(x, x_ref)) == pytest.approx(expected, rel=tolerance(1, 1, torch.float64))
