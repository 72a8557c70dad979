"""Foreign solvers are held to what they promise, and to no more."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch

from solvers import Promise, Status
from solvers.testing import SolverCheckFailed, adapt, check_solver
from solvers.testing.adapters import claims

ORDINARY = {"max_examples": 60}


def batched(A, b):
    return torch.linalg.lstsq(A, b.unsqueeze(-1)).solution.squeeze(-1)


def with_status(A, b):
    x, _, rank, _ = np.linalg.lstsq(A, b)
    return {"x": x, "status": Status.CONVERGED if rank == A.shape[1] else Status.RANK_DEFICIENT}


FOREIGN = {
    "a function": lambda A, b: np.linalg.lstsq(A, b)[0],
    "a tuple": adapt(np.linalg.lstsq, x=0),
    "another driver": adapt(lambda A, b: scipy.linalg.lstsq(A, b, lapack_driver="gelsy"), x=lambda found: found[0]),
    "an attribute, a status": adapt(scipy.optimize.lsq_linear, x="x", status="success"),
    "a key, a rank": adapt(with_status, x="x", status="status"),
    "torch, batches, both dtypes": adapt(batched, family="torch", batch="native", dtypes=("float64", "float32")),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_right_passes_and_is_asked_for_nothing_else(name):
    report = check_solver(FOREIGN[name], **ORDINARY)
    held = {check.name for check in report.checks if not check.skipped}
    assert {"accuracy", "convergence", "sweep", "shapes", "extreme scales", "tall", "inputs", "order"} <= held
    assert not held & {"repetition", "trace", "far start", "types", "validation", "scaling", "empty batch", "columns"}
    assert ("batch" in held) == ("batches" in name)
    assert ("statuses" in held) == ("a status" in name or "a rank" in name)
    assert ("rank" in held) == ("a rank" in name)


@pytest.mark.parametrize(
    ("function", "phrase"),
    [
        (lambda A, b: np.linalg.solve(A.T @ A, A.T @ b), "as normal equations have"),
        (lambda A, b: np.linalg.lstsq(A.astype(np.float32), b)[0], "as float32 inside would have"),
        (lambda A, b: np.linalg.lstsq(A, b)[0] * (2.0 if A.shape[1] > 12 else 1.0), "wrong for n = 13 to 24"),
        (lambda A, b: np.linalg.lstsq(A, b)[0] * np.where(A.shape[0] < 20, 1.0, np.nan), "wrong for m = 20 to 64"),
        (lambda A, b: scipy.linalg.lstsq(A, b, overwrite_b=True)[0] + 0 * b.fill(0.0), "an exception where"),
    ],
)
def test_what_is_wrong_is_found_and_named(function, phrase):
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(function, **ORDINARY)
    assert any(phrase in finding.cause for finding in caught.value.failures), str(caught.value)


def test_a_promise_is_held_against_a_function():
    check_solver(adapt(np.linalg.lstsq, x=0), **ORDINARY)
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(adapt(np.linalg.lstsq, x=0, promises=[Promise.COLUMNWISE]), **ORDINARY)
    assert "columns" in {finding.check for finding in caught.value.failures}


def test_an_adapted_function_is_a_solver():
    solver = adapt(with_status, name="mine", x="x", status="status", dtypes=("float64", "float32"))
    A = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    result = solver.solve(A, torch.ones(2, 2, dtype=torch.float64))
    assert solver.name == "mine"
    assert result.status.tolist() == [Status.CONVERGED, Status.RANK_DEFICIENT]
    assert result.x[0].tolist() == [1.0, 0.5]
    one = solver.solve(A[0].numpy().astype(np.float32), np.ones(2, dtype=np.float32))
    assert one.x.dtype == np.float32
    assert claims(solver) == {"status", "rank"}
    assert claims(adapt(batched, family="torch", batch="native")) == {"batch"}


def test_booleans_are_statuses():
    solver = adapt(lambda A, b: (b[:1], b[0] > 0), x=0, status=1)
    A, b = np.ones((2, 1, 1)), np.array([[1.0], [-1.0]])
    assert solver.solve(A, b).status.tolist() == [Status.CONVERGED, Status.MAX_ITERATIONS]
    assert claims(solver) == {"status"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: adapt(3), TypeError, "function: got int"),
        (lambda: adapt(batched, family="jax"), ValueError, "family: got 'jax'"),
        (lambda: adapt(batched, batch="map"), ValueError, "batch: got 'map'"),
        (lambda: adapt(batched, dtypes=("float16",)), ValueError, "dtypes: got 'float16'"),
        (lambda: adapt(np.linalg.lstsq).solve(np.eye(2), np.ones(2)), TypeError, "x: got a tuple of 4 from lstsq"),
        (lambda: adapt(lambda A, b: b).solve(np.ones((3, 1)), np.ones(3)), ValueError, "x: got shape (3,)"),
        (
            lambda: adapt(np.linalg.lstsq, x=0).solve(np.eye(2, dtype=np.float32), np.ones(2, dtype=np.float32)),
            TypeError,
            "A: got dtype torch.float32, wants one of float64",
        ),
    ],
)
def test_what_cannot_be_adapted_is_said(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)
