"""Operators in the place of matrices: the answers of the matrix, and a clear word where products are not enough."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import solvers
from solvers import Status, errors, reference
from solvers.problems import random_problem

from ..tolerance import forward

PRODUCTS = ["cgls", "lsqr", "lsmr"]
ENTRIES = [name for name in solvers.names() if name not in PRODUCTS]


def example(generator, *, condition=10.0, residual=1.0, scale=1.0):
    problem = random_problem(20, 5, condition=condition, residual=residual, scale=scale, generator=generator)
    return problem.A.numpy(), problem.b.numpy()


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize("scale", [1e-290, 1.0, 1e290])
def test_an_operator_gives_the_answer_of_its_matrix(name, residual, scale, generator):
    A, b = example(generator, residual=residual, scale=scale)
    solver, exact = solvers.get(name), reference.solve_exact(A, b)
    rho = residual / float(np.linalg.norm(exact[0]))
    bound = forward(solver, 20, 5, torch.float64, 10.0, rho)
    for x0 in (None, exact[0] + 1.0):
        result = solver.solve(aslinearoperator(A), b, x0=x0, record=True)
        assert isinstance(result.x, np.ndarray)
        assert int(result.status) == Status.CONVERGED
        assert result.trace.shape == (int(result.iterations) + 1, 5)
        np.testing.assert_array_equal(result.trace[-1], result.x)
        assert float(errors.forward_error(result.x, exact)) <= bound
        dense = solver.solve(A, b, x0=x0)
        assert float(errors.forward_error(result.x, dense.x)) <= 2 * bound
        if x0 is not None:
            assert float(errors.forward_error(result.trace[0], x0)) <= bound


@pytest.mark.parametrize("name", PRODUCTS)
def test_an_operator_without_entries_is_enough(name):
    n = 50
    differences = LinearOperator(
        (n, n),
        matvec=lambda x: np.diff(x.ravel(), prepend=0.0),
        rmatvec=lambda y: -np.diff(y.ravel(), append=0.0),
        dtype=np.float64,
    )
    x = np.arange(n, dtype=np.float64)
    result = solvers.get(name).solve(differences, differences.matvec(x))
    condition = np.linalg.cond(differences @ np.eye(n))
    assert int(result.status) == Status.CONVERGED
    assert float(errors.forward_error(result.x, x)) <= forward(solvers.get(name), n, n, torch.float64, float(condition))


@pytest.mark.parametrize("name", PRODUCTS)
def test_inputs_are_left_alone_and_the_cap_holds(name, generator):
    A, b = example(generator)
    x0 = np.ones(5)
    result = solvers.get(name, max_iterations=1).solve(aslinearoperator(A), b, x0=x0)
    assert int(result.status) == Status.MAX_ITERATIONS
    assert int(result.iterations) == 1
    np.testing.assert_array_equal(x0, np.ones(5))
    assert not np.shares_memory(result.x, x0)


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_that_are_not_finite_are_a_breakdown(name):
    broken = LinearOperator((3, 2), matvec=lambda x: np.full(3, np.nan), rmatvec=lambda y: np.ones(2), dtype=np.float64)
    assert int(solvers.get(name).solve(broken, np.ones(3)).status) == Status.BREAKDOWN


@pytest.mark.parametrize("name", ENTRIES)
def test_methods_that_need_entries_say_so(name):
    with pytest.raises(TypeError, match=r"A: got .*LinearOperator.* cgls, lsqr and lsmr alone do without the entries"):
        solvers.get(name).solve(aslinearoperator(np.ones((3, 2))), np.ones(3))


SINGLE = aslinearoperator(np.ones((3, 2), dtype=np.float32))
REFUSED = [
    (SINGLE, np.ones(3, dtype=np.float32), None, TypeError, "A: got a LinearOperator of dtype float32"),
    (
        aslinearoperator(np.ones((3, 2)) * 1j),
        np.ones(3),
        None,
        TypeError,
        "A: got a LinearOperator of dtype complex128",
    ),
    (aslinearoperator(np.ones((2, 3))), np.ones(2), None, ValueError, "A: got a LinearOperator of shape (2, 3)"),
    (aslinearoperator(np.ones((3, 2))), torch.ones(3), None, TypeError, "b: got Tensor"),
    (aslinearoperator(np.ones((3, 2))), np.ones(3, dtype=np.float32), None, TypeError, "b: got dtype float32"),
    (aslinearoperator(np.ones((3, 2))), np.ones((1, 3)), None, ValueError, "b: got shape (1, 3)"),
    (aslinearoperator(np.ones((3, 2))), np.array([1, np.nan, 1]), None, ValueError, "b: got entries that are NaN"),
    (aslinearoperator(np.ones((3, 2))), np.ones(3), np.ones(3), ValueError, "x0: got shape (3,)"),
]


@pytest.mark.parametrize(("A", "b", "x0", "error", "message"), REFUSED, ids=[case[-1] for case in REFUSED])
def test_malformed_input_is_named(A, b, x0, error, message):
    with pytest.raises(error) as caught:
        solvers.get("lsqr").solve(A, b, x0=x0)
    assert str(caught.value).startswith(message)
