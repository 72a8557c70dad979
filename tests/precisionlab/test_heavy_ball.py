"""The heavy-ball task against mpmath, its rate against theory, and a model that learns it."""

import mpmath
import pytest
import torch

import precisionlab
from precisionlab.tasks import HeavyBall
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.heavy_ball import EmittedIterate, coefficients, prompt, step
from solvers import Status, errors, reference
from solvers.learned.iterates import LearnedMomentum
from solvers.problems import random_problem

U = 2.0**-53


def test_the_error_is_measured_above_the_predictions_precision() -> None:
    task = HeavyBall(n=3, rows=5, condition=7.0)
    example = task.sample(10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    alpha, beta = map(mpmath.mpf, coefficients(7.0))
    with mpmath.workdps(50):
        squares = []
        for tokens, emitted in zip(example.prompt.tolist(), example.target.tolist(), strict=True):
            rows = [[mpmath.mpf(value) for value in token] for token in tokens]
            x, y = rows[0][4:7], rows[0][7:10]
            residual = [row[3] - sum(a * c for a, c in zip(row[:3], x, strict=True)) for row in rows]
            gradient = [sum(r * row[j] for r, row in zip(residual, rows, strict=True)) for j in range(3)]
            exact = [x[j] + alpha * gradient[j] + beta * (x[j] - y[j]) for j in range(3)]
            squares += [(mpmath.mpf(e) - v) ** 2 for e, v in zip(emitted, exact, strict=True)]
        expected = float(mpmath.fsum(squares) / len(squares))
    assert 0 < expected <= (32 * U) ** 2 * float(example.target.square().max())
    measured = float(mean_squared_error(task, example.target, example.prompt))
    assert abs(measured - expected) <= 2.0**-40 * expected


def test_the_learned_step_is_the_true_one_and_contracts_alike() -> None:
    run = precisionlab.train(
        "linear-attention/heavy-ball", progress=False, **{"task.n": 2, "task.rows": 8, "width": 8, "residuals": 2.0}
    )
    assert run.card.ended == "reached"
    emitted = EmittedIterate(run.model, n=2)
    A = torch.randn(4, 30, 2, dtype=torch.float64) / 30**0.5
    b = torch.randn(4, 30, dtype=torch.float64)
    x, y = torch.randn(2, 4, 2, dtype=torch.float64)
    size = float(b.abs().max() * A.abs().max() * 30 + x.abs().max() + y.abs().max())
    assert (emitted(A, b, x, y) - step(A, b, x, y, condition=10.0)).abs().max() <= 256 * U * size
    problem = random_problem(30, 2, condition=10.0, residual=1.0, batch=(20,))
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    result = precisionlab.load_solver(run).solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    relative = problem.residual_norm / problem.x.norm(dim=-1)
    assert bool((errors.forward_error(result.x, exact) <= 64 * U * 10**2 * (1 + relative)).all())
    with pytest.raises(ValueError, match="got 3 unknowns, want at most 2"):
        emitted(torch.zeros(1, 4, 3), torch.zeros(1, 4), torch.zeros(1, 3), torch.zeros(1, 3))


def test_every_token_holds_both_iterates() -> None:
    A, b = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[3.0, 4.0]])
    assert prompt(A, b, torch.tensor([[5.0]]), torch.tensor([[6.0]])).tolist() == [
        [[1.0, 3.0, 5.0, 6.0], [2.0, 4.0, 5.0, 6.0]]
    ]


def test_an_unstable_step_is_no_answer() -> None:
    problem = random_problem(10, 3, batch=(5,))
    result = LearnedMomentum(lambda A, b, x, y: 1e200 * (x + 1)).solve(problem.A, problem.b)
    assert bool((result.status == Status.BREAKDOWN).all())
    assert LearnedMomentum(lambda A, b, x, y: x, max_iterations=3).solve(problem.A, problem.b).iterations.tolist() == (
        [3] * 5
    )
