"""Least squares end to end: problems as prescribed, targets, and the solver that a model becomes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import LeastSquares
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.exact_least_squares import solve
from solvers import Status, errors, reference
from solvers.learned.iterates import LearnedDirect
from solvers.problems import random_problem

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


@pytest.mark.parametrize("dtype", list(U))
@given(n=st.integers(1, 6), extra=st.integers(0, 10), condition=st.floats(1, 1e4), seed=st.integers(0, 2**31))
def test_the_condition_number_is_as_prescribed(
    dtype: torch.dtype, n: int, extra: int, condition: float, seed: int
) -> None:
    task = LeastSquares(n=n, rows=n + extra, condition=condition)
    example = task.sample(3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    A, b = example.prompt[..., :-1].double(), example.prompt[..., -1].double()
    s = torch.linalg.svdvals(A)
    rounding = 8 * n * task.rows * U[dtype]
    # A change of A by δ moves σₙ by no more than δ, and κ by κ² δ/σ₁.
    allowed = rounding * condition**2
    assert bool(((s[:, 0] / s[:, -1] - (condition if n > 1 else 1.0)).abs() <= allowed).all())
    assert bool(((A.square().mean(dim=(-2, -1)) - 1).abs() <= rounding).all())
    residual = b - (A @ example.target.double().unsqueeze(-1)).squeeze(-1)
    assert bool((residual.abs().amax(dim=-1) <= rounding * s[:, 0] * (1 + example.target.abs().amax(dim=-1))).all())


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("condition", [None, 5.0])
def test_the_error_is_against_the_exact_solution(dtype: torch.dtype, noise: float, condition: float | None) -> None:
    task = LeastSquares(n=4, rows=9, condition=condition, noise=noise, repeats=2)
    example = task.sample(30, generator=torch.Generator().manual_seed(2), dtype=dtype)
    A, b = example.prompt[:, :9, :-1], example.prompt[:, :9, -1]
    hi, lo = (torch.as_tensor(part) for part in reference.solve_exact(A, b))
    for relative_error in (0.0, 2.0**-20):
        prediction = example.target * (1 + relative_error)
        expected = ((prediction.double() - hi) - lo).square().mean() ** 0.5
        measured = mean_squared_error(task, prediction, example.prompt) ** 0.5
        assert expected > 0
        assert (measured - expected).abs() <= 2.0**-8 * expected
    assert bool((torch.as_tensor(errors.forward_error(example.target.double(), (hi, lo))) <= 36 * 64 * U[dtype]).all())


@given(seed=st.integers(0, 2**31))
def test_neither_the_order_of_the_rows_nor_copies_matter(seed: int) -> None:
    task, twice = LeastSquares(n=3, rows=8, noise=0.3), LeastSquares(n=3, rows=8, noise=0.3, repeats=2)
    generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
    example, copied = (
        t.sample(4, generator=g, dtype=torch.float64) for t, g in zip((task, twice), generators, strict=True)
    )
    assert torch.equal(copied.prompt, example.prompt.repeat(1, 2, 1))
    assert torch.equal(copied.target, example.target)
    shuffled = example.prompt[:, torch.randperm(8, generator=generators[0])]
    s = torch.linalg.svdvals(example.prompt[..., :-1])
    kappa = float((s[:, 0] / s[:, -1]).max())
    size = float(example.prompt[..., -1].abs().max() / s[:, -1].min() + example.target.abs().max())
    assert mean_squared_error(task, example.target, shuffled) ** 0.5 <= 8 * 24 * U[torch.float64] * kappa * size


class TrueSolution(torch.nn.Module):
    """Solves the problem in the prompt, and refuses prompts of any other shape than it was made for."""

    def __init__(self, task: LeastSquares) -> None:
        super().__init__()
        self.task = task
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape[1:] == (self.task.repeats * self.task.rows, self.task.n + 1)
        rows = tokens[:, : self.task.rows]
        A, b = rows[..., :-1], rows[..., -1]
        used = (A != 0).any(dim=1)[0]
        return torch.nn.functional.pad(solve(A[..., used], b), (0, self.task.n - int(used.sum())))


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize(("rows", "n"), [(20, 5), (7, 3), (1, 1)])
def test_a_true_solution_converges_at_any_scale(scale: float, rows: int, n: int) -> None:
    task = LeastSquares(n=5, rows=20, repeats=2)
    problem = random_problem(rows, n, condition=5.0, scale=scale, batch=(20,))
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    solver = LearnedDirect(task.step(TrueSolution(task)))
    result = solver.solve(problem.A, problem.b, record=True)
    assert bool((result.status == Status.CONVERGED).all())
    assert bool((errors.forward_error(result.x, exact) <= 64 * rows * n * U[torch.float64] * 5.0).all())
    assert result.trace is not None
    start, answer = torch.as_tensor(result.trace)
    assert bool((start == 0).all())
    assert torch.equal(answer, torch.as_tensor(result.x))


def test_what_is_not_a_solution_is_not_called_one() -> None:
    problem = random_problem(9, 3, batch=(5,))
    rough = LearnedDirect(lambda A, b: solve(A, b) * (1 + 2.0**-20)).solve(problem.A, problem.b)
    assert bool((rough.status == Status.MAX_ITERATIONS).all())
    broken = LearnedDirect(lambda A, b: solve(A, b) / 0.0).solve(problem.A, problem.b)
    assert bool((broken.status == Status.BREAKDOWN).all())


@pytest.mark.parametrize(
    ("m", "n", "says"), [(21, 5, "21 rows, want at most 20"), (20, 6, "6 unknowns, want at most 5")]
)
def test_larger_problems_are_refused(m: int, n: int, says: str) -> None:
    task = LeastSquares(n=5, rows=20)
    with pytest.raises(ValueError, match=says):
        task.step(TrueSolution(task))(torch.zeros(1, m, n), torch.zeros(1, m))
