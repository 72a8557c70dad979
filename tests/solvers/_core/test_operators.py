"""Operators in the place of matrices: the answers of the matrix, and a clear word where products are not enough."""

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import solvers
from solvers import Status, errors, reference
from solvers._core.operators import Operator
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
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_products_that_are_not_finite_are_a_breakdown(name, value):
    whole, broken = (lambda x: x), (lambda x: np.full(3, value))
    for products in ((broken, whole), (whole, broken), (broken, broken)):
        operator = LinearOperator((3, 3), matvec=products[0], rmatvec=products[1], dtype=np.float64)
        assert int(solvers.get(name).solve(operator, np.ones(3)).status) == Status.BREAKDOWN


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_that_is_not_finite_on_the_way_is_a_breakdown(name, generator):
    A, b = example(generator)
    calls = itertools.count()

    def matvec(x):
        return A @ x if next(calls) < 16 else np.full(20, np.nan)  # as long as the operator is tried, and one step

    broken = LinearOperator(A.shape, matvec=matvec, rmatvec=lambda y: A.T @ y, dtype=np.float64)
    assert int(solvers.get(name).solve(broken, b).status) == Status.BREAKDOWN


WRONG_ADJOINTS = {
    "zero": lambda A, y: np.zeros(A.shape[1]),
    "sign": lambda A, y: -(A.T @ y),
    "twice": lambda A, y: 2 * (A.T @ y),
    "columns shifted": lambda A, y: np.roll(A.T @ y, 1),
    "a column missing": lambda A, y: np.append((A.T @ y)[:-1], 0.0),
    "another matrix": lambda A, y: (A.T @ y) + 1e-3 * np.cos(np.arange(A.shape[1])) * y[0] * np.abs(A).max(),
    "rows reversed": lambda A, y: A.T @ y[::-1],
}


@pytest.mark.parametrize("wrong", WRONG_ADJOINTS)
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_an_adjoint_that_is_none_is_refused(name, wrong, scale, generator):
    A, b = example(generator, condition=1e3, scale=scale)
    adjoint = WRONG_ADJOINTS[wrong]
    pretended = LinearOperator(A.shape, matvec=lambda x: A @ x, rmatvec=lambda y: adjoint(A, y), dtype=np.float64)
    with pytest.raises(ValueError, match=r"^A: its rmatvec is not the adjoint of its matvec"):
        solvers.get(name).solve(pretended, b)


def test_an_adjoint_to_rounding_is_taken_though_products_cancel(generator):
    # Through an inverse of κ = 1e6 products lose six digits, and so does ⟨u, A v⟩.
    L = random_problem(30, 30, condition=1e6, generator=generator).A.numpy()
    inverse = LinearOperator(
        L.shape, matvec=lambda x: np.linalg.solve(L, x), rmatvec=lambda y: np.linalg.solve(L.T, y), dtype=np.float64
    )
    b = np.linalg.solve(L, np.ones(30))
    assert int(solvers.get("lsmr").solve(inverse, b).status) in {Status.CONVERGED, Status.MAX_ITERATIONS}


@pytest.mark.parametrize(
    ("matvec", "rmatvec", "message"),
    [
        (lambda x: x[:2], lambda y: y, "A: its matvec fails (cannot reshape array of size 2"),
        (lambda x: x, lambda y: np.ones(5), "A: its rmatvec fails (cannot reshape array of size 5"),
        (lambda x: x, None, "A: its rmatvec fails ("),
        (lambda x: x * 1j, lambda y: y, "A: its matvec gives complex128, wants float64"),
        (lambda x: np.array(["1"] * 3), lambda y: y, "A: its matvec gives <U1, wants float64"),
    ],
)
def test_products_of_the_wrong_kind_are_named(matvec, rmatvec, message):
    operator = LinearOperator((3, 3), matvec=matvec, rmatvec=rmatvec, dtype=np.float64)
    with pytest.raises(ValueError, match=r".") as caught:
        solvers.get("lsqr").solve(operator, np.ones(3))
    assert str(caught.value).startswith(message)


def diagonal(*values):
    return np.diag(np.array(values))


def hidden(n):
    """Of rank one beyond a multiple of I, in a direction that the vector cos(k²) is orthogonal to."""
    start = np.cos(np.arange(1, n + 1) ** 2.0)
    direction = np.eye(n)[0] - start[0] * start / (start @ start)
    return np.eye(n) + 1e6 * np.outer(direction, direction) / (direction @ direction)


NORMED = {
    "one": np.array([[3.0]]),
    "outlier": diagonal(1e6, *np.ones(99)),
    "outlier at the end": diagonal(*np.ones(399), 20.0),
    "two alike": diagonal(1.0, 1.0 - 1e-9, *np.linspace(0.1, 0.9, 30)),
    "all alike": np.eye(50),
    "graded": diagonal(*np.logspace(0, -14, 20)),
    "hidden": hidden(30),
    "tall": np.vander(np.linspace(-1, 1, 200), 8),
    "nilpotent": np.eye(10, k=1),
}


@pytest.mark.parametrize("matrix", NORMED.values(), ids=NORMED)
@pytest.mark.parametrize("exponent", [-1060, -600, 0, 1, 1000])
def test_the_norm_is_estimated_from_below_within_a_factor_of_two(matrix, exponent):
    stored = np.ldexp(matrix, exponent)
    matrix = np.ldexp(stored, -exponent)  # subnormal entries have lost digits
    unit, e = Operator(aslinearoperator(stored)).scaled()
    assert 0.5 <= unit.norm < 1
    norm, estimate = float(np.linalg.norm(matrix, 2)), float(np.ldexp(unit.norm, e - exponent))
    assert norm / 2 <= estimate <= norm * (1 + max(matrix.shape) * np.finfo(np.float64).eps)
    v = np.linspace(1, 2, matrix.shape[1])
    image = np.ldexp(unit.matvec(torch.from_numpy(v)[None]).numpy()[0], e - exponent)
    np.testing.assert_array_equal(image, matrix @ v)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_zero_operator_leaves_x_where_it_is(name):
    nothing = aslinearoperator(np.zeros((4, 3)))
    for x0 in (None, np.ones(3)):
        result = solvers.get(name).solve(nothing, np.ones(4), x0=x0)
        assert int(result.status) == Status.CONVERGED
        np.testing.assert_array_equal(result.x, np.zeros(3) if x0 is None else x0)
        assert float(result.residual_norm) == 2.0


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_zero_right_hand_side_gives_zero(name, generator):
    A, b = example(generator)
    result = solvers.get(name).solve(aslinearoperator(A), 0 * b)
    assert int(result.status) == Status.CONVERGED
    assert (result.x == 0).all()


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (2, 2), (3, 3), (20, 5), (400, 40)], ids=str)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e10, 1e30])
def test_from_any_start_an_operator_gives_the_answer_of_its_matrix(name, shape, size, generator):
    m, n = shape
    solver = solvers.get(name)
    problem = random_problem(m, n, condition=3.0 if n > 1 else 1.0, residual=float(m > n), generator=generator)
    A, b = problem.A.numpy(), problem.b.numpy()
    exact = reference.solve_exact(A, b)
    result = solver.solve(aslinearoperator(A), b, x0=size * np.cos(np.arange(n)))
    bound = forward(solver, m, n, torch.float64, 3.0, float(m > n) / float(np.linalg.norm(exact[0])))
    assert int(result.status) == Status.CONVERGED
    assert float(errors.forward_error(result.x, exact)) <= bound


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("scale", [1e-290, 1e-200, 1e200, 1e290])
def test_the_residual_norm_is_had_at_any_scale(name, scale, generator):
    A, b = example(generator, scale=scale)
    result = solvers.get(name).solve(aslinearoperator(A), b)
    dense = solvers.get(name).solve(A, b)
    assert float(result.residual_norm) == pytest.approx(scale, rel=1e-12)
    assert float(dense.residual_norm) == pytest.approx(scale, rel=1e-12)


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
