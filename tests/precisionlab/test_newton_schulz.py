"""The Newton–Schulz task against mpmath, and what was learned of it: shipped, for any number of rows, as a solver."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import precisionlab
import solvers
from precisionlab.tasks import NewtonSchulz
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.newton_schulz import EmittedStep, prompt, step
from solvers import Status, errors, nist, reference
from solvers.problems import random_problem

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
SHIPPED = {"linear-attention/newton-schulz": 5, "linear-attention/newton-schulz-16": 16}


def exact_step(tokens: torch.Tensor) -> list[list[mpmath.mpf]]:
    """2 x_j − Σ_i x_i (a_i · x_j) of one prompt, in 60 digits."""
    with mpmath.workdps(60):
        rows = [[mpmath.mpf(value) for value in token] for token in tokens.tolist()]
        n = len(rows[0]) // 2
        weights = [
            [sum(p * q for p, q in zip(left[:n], right[n:], strict=True)) for left in rows] for right in rows
        ]  # [j][i]: a_i · x_j
        return [
            [
                2 * row[n + e] - sum(w * other[n + e] for w, other in zip(weights[j], rows, strict=True))
                for e in range(n)
            ]
            for j, row in enumerate(rows)
        ]


@pytest.mark.parametrize("dtype", list(U))
@settings(deadline=None)
@given(n=st.integers(1, 4), extra=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_the_target_is_the_step(dtype: torch.dtype, n: int, extra: int, seed: int) -> None:
    task = NewtonSchulz(n=n, rows=n + extra)
    example = task.sample(2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert example.prompt.shape == (2, task.rows, 2 * task.n)
    assert example.target.shape == (2, task.rows, task.n)
    for tokens, target in zip(example.prompt, example.target, strict=True):
        size = max(1.0, float(tokens.abs().max()))
        bound = 4 * (n + task.rows) * n * task.rows * U[dtype] * size**3
        for emitted, exact in zip(target.tolist(), exact_step(tokens), strict=True):
            assert all(abs(e - x) <= bound for e, x in zip(emitted, exact, strict=True))


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("relative_error", [0.0, 2.0**-45, 2.0**-20])
def test_the_error_is_measured_above_the_predictions_precision(dtype: torch.dtype, relative_error: float) -> None:
    task = NewtonSchulz(n=3, rows=5)
    example = task.sample(10, generator=torch.Generator().manual_seed(1), dtype=dtype)
    prediction = example.target * (1 + relative_error)
    measured = mean_squared_error(task, prediction, example.prompt)
    with mpmath.workdps(60):
        squares = [
            (mpmath.mpf(emitted) - exact) ** 2
            for tokens, block in zip(example.prompt, prediction, strict=True)
            for row, exact_row in zip(block.tolist(), exact_step(tokens), strict=True)
            for emitted, exact in zip(row, exact_row, strict=True)
        ]
        expected = mpmath.fsum(squares) / len(squares)
    assert expected > 0
    # Near rounding the target is in double-double; far above, in float64, to three digits at the least.
    assert abs(mpmath.sqrt(measured.item()) / mpmath.sqrt(expected) - 1) <= 1e-3


def test_the_prompt_pairs_rows_with_columns() -> None:
    A, X = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[[5.0, 6.0], [7.0, 8.0]]])
    assert prompt(A, X).tolist() == [[[1.0, 2.0, 5.0, 7.0], [3.0, 4.0, 6.0, 8.0]]]


def test_fewer_rows_than_unknowns_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must be at least n"):
        NewtonSchulz(n=5, rows=4)


@pytest.mark.parametrize("name", SHIPPED)
@settings(deadline=None)
@given(data=st.data(), m=st.integers(1, 300), batch=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_a_shipped_model_emits_the_step_for_any_rows_and_fewer_unknowns(
    name: str, data: st.DataObject, m: int, batch: int, seed: int
) -> None:
    n = data.draw(st.integers(1, SHIPPED[name]))
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(batch, m, n, dtype=torch.float64, generator=generator)
    X = torch.randn(batch, n, m, dtype=torch.float64, generator=generator)
    emitted = EmittedStep(precisionlab.load(name).model, n=SHIPPED[name])(A, X)
    # Coefficients within 16 u of 2 and 1, and the rounding of two sums.
    size = 2 * X.abs() + X.abs() @ A.abs() @ X.abs()
    assert bool(((emitted - step(A, X)).abs() <= 2 * (16 + m + n) * U[torch.float64] * size).all())


@pytest.mark.parametrize("name", SHIPPED)
def test_more_unknowns_than_trained_are_refused(name: str) -> None:
    solver, n = precisionlab.load_solver(name), SHIPPED[name] + 1
    with pytest.raises(ValueError, match=f"got {n} unknowns, want at most {n - 1}"):
        solver.solve(torch.eye(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64))


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7, 1e9])
@pytest.mark.parametrize(
    ("name", "m", "n"),
    [
        ("linear-attention/newton-schulz", 20, 5),
        *(("linear-attention/newton-schulz-16", m, n) for m, n in [(20, 3), (200, 16)]),
    ],
)
def test_no_worse_than_qr_at_every_condition_number(
    name: str, m: int, n: int, condition: float, residual: float
) -> None:
    generator = torch.Generator().manual_seed(7)
    problem = random_problem(m, n, condition=condition, residual=residual, batch=(30,), generator=generator)
    exact = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
    qr = errors.forward_error(solvers.get("qr").solve(problem.A, problem.b).x, exact)
    for refinement in (None, 10):
        result = precisionlab.load_solver(name, refinement=refinement).solve(problem.A, problem.b)
        error = errors.forward_error(result.x, exact)
        # u κ² ‖r‖ is above ‖x‖ at the last of these: the model alone, as QR, has no digit, and says so.
        vouched = refinement is not None or residual * condition**2 * U[torch.float64] < 1e-2
        assert bool((result.status == Status.CONVERGED).all()) or not vouched
        assert bool((torch.as_tensor(error)[result.status == Status.CONVERGED] <= 0.25 * condition).all())
        assert float(error.median()) <= 3 * float(qr.median())
        assert int(result.iterations.max()) <= 4 * math.log2(condition) + 10
    # To the last bit; where the rounding of a double-double residual, (u κ)² of it, is above u, to the last but one.
    unit = U[torch.float64]
    assert float(error.median()) <= (2 if residual * unit * condition**2 > 1 else 1) * unit


@pytest.mark.parametrize("name", ["Longley", "Wampler1", "Wampler2"])
def test_nist_digits(name: str) -> None:
    item = nist.problem(name)
    result = precisionlab.load_solver("linear-attention/newton-schulz-16").solve(item.A, item.b)
    qr = solvers.get("qr").solve(item.A, item.b)
    assert int(result.status) == Status.CONVERGED
    assert float(errors.lre(result.x, nist.exact(item))) >= float(errors.lre(qr.x, nist.exact(item))) - 1


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_scale_costs_nothing(scale: float) -> None:
    solver = precisionlab.load_solver("linear-attention/newton-schulz")
    problem = random_problem(
        20, 5, condition=1e5, residual=1.0, scale=scale, batch=(10,), generator=torch.Generator().manual_seed(3)
    )
    exact = tuple(torch.from_numpy(part) for part in reference.solve_exact(problem.A, problem.b))
    result = solver.solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    assert float(errors.forward_error(result.x, exact).max()) <= 2 * U[torch.float64]


def test_options_are_the_solvers_own() -> None:
    solver = precisionlab.load_solver("linear-attention/newton-schulz", max_iterations=3)
    problem = random_problem(20, 5, generator=torch.Generator().manual_seed(0))
    result = solver.solve(problem.A, problem.b)
    assert (int(result.status), int(result.iterations)) == (Status.MAX_ITERATIONS, 3)
    with pytest.raises(ValueError, match="unknown option 'step_size' of linear-attention/newton-schulz"):
        precisionlab.load_solver("linear-attention/newton-schulz", step_size=1.0)
