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


def test_a_float32_answer_is_not_charged_for_rounding_its_error():
    # 1/3 in float32 against 1/3 in float64: an error computed in float32 would be 0 or u.
    x, x_ref = torch.tensor([1 / 3], dtype=torch.float32), torch.tensor([1 / 3], dtype=torch.float64)
    expected = abs(float(x) - 1 / 3) * 3
    assert float(errors.forward_error(x, x_ref)) == pytest.approx(expected, rel=tolerance(1, 1, torch.float64))
