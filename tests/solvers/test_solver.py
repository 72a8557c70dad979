"""The interface: what goes in, what comes out, and what is refused, for every solver alike."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import solvers
from solvers import LstsqResult, Solver, Status
from solvers.problems import random_problem

from .cases import CASES, DIRECT
from .tolerance import forward, tolerance

NAMES = solvers.names()
DTYPES = [torch.float64, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,), (2, 0)], ids=str)
def test_shapes_family_and_dtype_come_back(name, batch, dtype, generator):
    problem = random_problem(6, 3, condition=2.0, batch=batch, dtype=dtype, generator=generator)
    before = problem.A.clone(), problem.b.clone()
    result = solvers.get(name).solve(problem.A, problem.b, record=True)
    assert result.x.shape == (*batch, 3)
    assert result.x.dtype == dtype
    assert result.status.shape == result.iterations.shape == batch
    assert bool((result.status == Status.CONVERGED).all())
    longest = int(result.iterations.max()) if result.iterations.numel() else 0
    assert result.trace.shape == (longest + 1, *batch, 3)
    assert torch.equal(result.trace[-1], result.x)
    assert torch.equal(before[0], problem.A)
    assert torch.equal(before[1], problem.b)
    assert solvers.get(name).solve(problem.A, problem.b).trace is None


@pytest.mark.parametrize("name", NAMES)
def test_numpy_gives_the_bits_of_torch(name, generator):
    problem = random_problem(6, 3, condition=2.0, batch=(4,), generator=generator)
    solver = solvers.get(name)
    expected = solver.solve(problem.A, problem.b, record=True)
    A, b = problem.A.numpy(), problem.b.numpy()
    A.flags.writeable = False
    for variant in (A, np.asfortranarray(A), A[:, ::-1][:, ::-1], A.astype(">f8")):
        got = solver.solve(variant, b, record=True)
        for key in ("x", "status", "iterations", "trace"):
            value = getattr(got, key)
            assert isinstance(value, np.ndarray)
            np.testing.assert_array_equal(value, getattr(expected, key).numpy())
        assert got.x.dtype == np.float64


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DIRECT])
def test_starting_point_is_row_zero_and_is_used(name, generator):
    problem = random_problem(6, 3, condition=2.0, generator=generator)
    x0 = problem.x + 1.0
    result = solvers.get(name).solve(problem.A, problem.b, x0=x0, record=True)
    scale = float(x0.norm())
    assert float((result.trace[0] - x0).norm()) <= tolerance(6, 3, torch.float64) * scale
    assert float((result.x - problem.x).norm()) <= forward(solvers.get(name), 6, 3, torch.float64, 2.0) * scale
    near = solvers.get(name).solve(problem.A, problem.b, x0=problem.x)
    assert int(near.iterations) <= int(result.iterations)


def at_offset(values, offset):
    """The same values in memory that begins `offset` bytes after a cache line."""
    room = torch.empty(values.numel() * values.element_size() + 128, dtype=torch.uint8)
    start = -room.data_ptr() % 64 + offset
    moved = room[start : start + values.numel() * values.element_size()].view(values.dtype).view(values.shape)
    return moved.copy_(values)


class OneStep(Solver):
    """A user's: it fills only what it must, and its products are a library's on the memory that it is handed."""

    name = "one step"

    def _solve(self, A, b, x0, record):
        x = x0 + (A.mT @ (b - (A @ x0[..., None])[..., 0])[..., None])[..., 0]
        return LstsqResult(x=x, status=torch.zeros(len(A)), iterations=torch.ones(len(A)))


@pytest.mark.parametrize("name", [*NAMES, "one step"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_same_call_gives_the_same_bits_wherever_its_input_lies(name, dtype, generator):
    # One problem of a size at which the products of MKL do depend on it.
    problem = random_problem(33, 17, condition=2.0, residual=1.0, dtype=dtype, generator=generator)
    solver = OneStep() if name == "one step" else solvers.get(name)
    expected = solver.solve(problem.A, problem.b, x0=problem.x)
    for step in range(8):
        moved = [at_offset(part, step * dtype.itemsize) for part in (problem.A, problem.b, problem.x)]
        A, b, x0 = moved if step < 6 else [part.numpy() for part in moved]
        got = solver.solve(A, b, x0=x0)
        for key in ("x", "status", "iterations", "residual_norm", "condition"):
            ours, theirs = getattr(got, key), getattr(expected, key)
            assert (ours is None) == (theirs is None)
            assert ours is None or torch.equal(torch.as_tensor(ours), theirs), (step, key)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [-900, -60, 60, 900])
def test_scaling_by_a_power_of_two_changes_no_bit(name, shift, generator):
    problem = random_problem(8, 3, condition=4.0, residual=0.5, batch=(3,), generator=generator)
    solver = solvers.get(name)
    plain = solver.solve(problem.A, problem.b)
    scaled = solver.solve(problem.A * 2.0**shift, problem.b * 2.0**shift)
    assert torch.equal(plain.x, scaled.x)
    assert torch.equal(plain.iterations, scaled.iterations)
    assert torch.equal(solver.solve(problem.A, problem.b * 2.0**shift).x, plain.x * 2.0**shift)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "columns",
    [[[1, 1], [1, 1], [0, 0]], [[1, 0], [2, 0], [3, 0]], [[0, 0], [0, 0], [0, 0]], [[1, -3], [2, -6], [-4, 12]]],
    ids=["duplicated", "zero column", "zero", "multiple"],
)
@pytest.mark.parametrize("size", [1.0, 2.0**-500, 2.0**500])
def test_rank_deficiency_is_a_status(name, columns, size):
    A = np.array(columns, dtype=np.float64) * size
    result = solvers.get(name).solve(A, np.array([1.0, 2.0, 2.0]))
    assert int(result.status) == Status.RANK_DEFICIENT


@pytest.mark.parametrize("name", NAMES)
def test_zero_right_hand_side_gives_zero(name, generator):
    problem = random_problem(6, 3, condition=2.0, batch=(2,), generator=generator)
    result = solvers.get(name).solve(problem.A, torch.zeros_like(problem.b))
    assert bool((result.x == 0).all())
    assert bool((result.status == Status.CONVERGED).all())


@pytest.mark.parametrize("name", NAMES)
def test_overflow_is_a_breakdown_and_harms_no_neighbour(name, generator):
    problem = random_problem(6, 3, condition=2.0, batch=(3,), generator=generator)
    A, b = problem.A.clone(), problem.b.clone()
    A[1], b[1] = A[1] * 1e-200, b[1] * 1e200
    result = solvers.get(name).solve(A, b)
    plain = solvers.get(name).solve(problem.A, problem.b)
    assert result.status.tolist() == [Status.CONVERGED, Status.BREAKDOWN, Status.CONVERGED]
    assert torch.equal(result.x[[0, 2]], plain.x[[0, 2]])


def test_an_x_that_is_no_number_is_told_whatever_its_solver_says():
    class Wrong(Solver):
        name = "wrong"

        def _solve(self, A, b, x0, record):
            zero = torch.zeros(len(A), dtype=torch.int64)
            x = torch.full_like(A[:, 0], float("nan"))
            return LstsqResult(x=x, status=zero, iterations=zero, residual_norm=torch.zeros_like(b[:, 0]))

    result = Wrong().solve(torch.eye(3, 2), torch.ones(3))
    assert int(result.status) == Status.BREAKDOWN
    assert float(result.residual_norm) == float("inf")


@pytest.mark.parametrize("name", [case.name for case in CASES if case.name not in DIRECT])
def test_the_cap_is_a_status(name, generator):
    problem = random_problem(8, 4, condition=8.0, batch=(2,), generator=generator)
    result = solvers.get(name, max_iterations=1).solve(problem.A, problem.b, record=True)
    assert result.status.tolist() == [Status.MAX_ITERATIONS] * 2
    assert result.iterations.tolist() == [1, 1]
    assert len(result.trace) == 2


ONES = {"A": np.ones((3, 2)), "b": np.ones(3)}
REFUSED = [
    ({"A": [[1.0]]}, TypeError, "A: got list"),
    ({"A": np.ones((3, 2), dtype=int)}, TypeError, "A: got dtype int64"),
    ({"A": np.ones((3, 2), dtype=complex)}, TypeError, "A: got dtype complex128"),
    ({"A": np.ones((3, 2), dtype=bool)}, TypeError, "A: got dtype bool"),
    ({"A": np.ones((3, 2), dtype=object)}, TypeError, "A: got dtype object"),
    ({"A": np.ones((3, 2), dtype=np.float16)}, TypeError, "A: got dtype float16"),
    ({"A": np.ma.masked_array(np.ones((3, 2)))}, TypeError, "A: got a masked array"),
    ({"A": torch.ones(3, 2).to_sparse()}, TypeError, "A: got layout"),
    ({"A": np.ones((3, 2), dtype=np.float32)}, TypeError, "b: got dtype torch.float64, wants torch.float32"),
    ({"b": torch.ones(3, dtype=torch.float64)}, TypeError, "b: got Tensor, wants ndarray"),
    ({"A": np.ones(3)}, ValueError, "A: got shape"),
    ({"A": np.ones((3, 0))}, ValueError, "A: got shape"),
    ({"A": np.ones((0, 0)), "b": np.ones(0)}, ValueError, "A: got shape"),
    ({"b": np.ones(2)}, ValueError, "b: got shape"),
    ({"b": np.ones((3, 1))}, ValueError, "b: got shape"),
    ({"b": np.ones((4, 3))}, ValueError, "b: got shape"),
    ({"A": np.array([[1.0, np.nan], [1, 1], [1, 1]])}, ValueError, "A: got 1 entries that are NaN"),
    ({"b": np.array([1.0, np.inf, 1])}, ValueError, "b: got 1 entries that are NaN"),
    ({"x0": np.ones(3)}, ValueError, "x0: got shape"),
    ({"x0": np.array([np.nan, 0.0])}, ValueError, "x0: got 1 entries"),
]


@pytest.mark.parametrize("name", ["reference", "qr", "svd", "lsqr"])
@pytest.mark.parametrize(
    ("changed", "error", "message"), REFUSED, ids=[case[2] + str(i) for i, case in enumerate(REFUSED)]
)
def test_malformed_input_is_named(name, changed, error, message):
    arguments = ONES | changed
    with pytest.raises(error) as caught:
        solvers.get(name).solve(arguments["A"], arguments["b"], x0=arguments.get("x0"))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_only_svd_takes_more_unknowns_than_rows(generator):
    A = torch.randn(4, 2, 5, dtype=torch.float64, generator=generator)
    b = torch.randn(4, 2, dtype=torch.float64, generator=generator)
    for name in NAMES:
        if name != "svd":
            with pytest.raises(ValueError, match="wants m >= n"):
                solvers.get(name).solve(A, b)
    result = solvers.get("svd").solve(A, b)
    expected = (A.mT @ torch.linalg.solve(A @ A.mT, b.unsqueeze(-1))).squeeze(-1)
    kappa = float(torch.linalg.cond(A).max())
    bound = tolerance(2, 5, torch.float64, condition=kappa, power=2) * float(expected.norm())
    assert float((result.x - expected).norm()) <= bound
    assert bool((result.status == Status.CONVERGED).all())


def test_svd_gives_the_least_norm_where_rank_is_short(generator):
    A = torch.randn(6, 2, dtype=torch.float64, generator=generator)
    A = torch.cat([A, A[:, :1]], dim=-1)
    b = torch.randn(6, dtype=torch.float64, generator=generator)
    x = solvers.get("svd").solve(A, b).x
    expected = torch.linalg.pinv(A) @ b
    assert float((x - expected).norm()) <= tolerance(6, 3, torch.float64, condition=10.0) * float(expected.norm())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qrr", {}, "unknown solver: 'qrr'; did you mean 'qr'?"),
        ("lsqr", {"tolerence": 1.0}, "unknown option of solver 'lsqr': 'tolerence'; did you mean 'tolerance'?"),
        ("svd", {"tolerance": 1.0}, "unknown option of solver 'svd': 'tolerance'"),
        ("cgls", {"max_iterations": -1}, "max_iterations: got -1"),
        ("cgls", {"tolerance": float("nan")}, "tolerance: got nan"),
        ("gradient-descent", {"form": "normal"}, "form: got 'normal', wants one of 'residual', 'gram'"),
    ],
)
def test_options_are_checked(name, options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        solvers.get(name, **options)
    assert str(caught.value).startswith(message)


def test_names_and_repr(generator):
    assert [
        *("reference", "qr", "svd", "cholesky", "gradient-descent", "chebyshev", "cgls", "lsqr", "lsmr"),
        "newton-schulz",
    ] == NAMES
    assert [solvers.get(name).name for name in NAMES] == NAMES
    problem = random_problem(4, 2, batch=(3,), generator=generator)
    result = solvers.get("qr").solve(problem.A, problem.b)
    assert "3 CONVERGED" in repr(result)
    assert "3 CONVERGED" in result._repr_html_()
    assert bool(result.converged.all())


def test_what_a_user_leaves_out_is_filled_in(generator):
    problem = random_problem(6, 3, condition=2.0, residual=1.0, batch=(2, 2), generator=generator)
    result = OneStep().solve(problem.A.numpy(), problem.b.numpy(), x0=problem.x.numpy())
    assert result.condition is None
    assert result.status.dtype == result.iterations.dtype == np.int64
    expected = np.linalg.norm(problem.b.numpy() - (problem.A.numpy() @ result.x[..., None])[..., 0], axis=-1)
    np.testing.assert_allclose(result.residual_norm, expected, rtol=tolerance(6, 3, torch.float64))


def test_one_import_is_enough():
    code = (
        "import sys, solvers; assert not {'mpmath', 'hypothesis', 'pandas'} & set(sys.modules)\n"
        "for room in ('certify', 'errors', 'problems', 'reference', 'testing'):\n"
        "    assert getattr(solvers, room).__name__ == f'solvers.{room}' and room in dir(solvers)\n"
        "assert not hasattr(solvers, 'rooms')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_graph_and_no_autocast(generator):
    problem = random_problem(6, 3, condition=2.0, generator=generator)
    A = problem.A.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = solvers.get("cgls").solve(A, problem.b).x
    assert not x.requires_grad
    assert torch.equal(x, solvers.get("cgls").solve(problem.A, problem.b).x)
