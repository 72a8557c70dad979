"""k steps of gradient descent: the target against mpmath, its properties, and the solver that a model becomes."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import ExplicitGradient, GradientDescent, layout
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.gradient_descent import EmittedDescent, descend
from precisionlab.tasks.layout import Problem
from solvers import Status, errors, reference
from solvers.learned.iterates import LearnedIteration
from solvers.problems import random_problem

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
QUERIES = ("first", "last")


def exact_iterate(problem: Problem, steps: int, step_size: float) -> list[list[mpmath.mpf]]:
    """x_k of each problem, in the working precision of mpmath."""
    found = []
    for A, b, x in zip(*(part.tolist() for part in problem), strict=True):
        rows = [[mpmath.mpf(value) for value in row] for row in A]
        iterate = [mpmath.mpf(value) for value in x]
        for _ in range(steps):
            residuals = [
                sum(a * c for a, c in zip(row, iterate, strict=True)) - r for row, r in zip(rows, b, strict=True)
            ]
            descent = [sum(r * row[j] for r, row in zip(residuals, rows, strict=True)) for j in range(len(iterate))]
            iterate = [c - mpmath.mpf(step_size) * d / len(rows) for c, d in zip(iterate, descent, strict=True)]
        found.append(iterate)
    return found


def growth(problem: Problem, steps: int, step_size: float) -> float:
    """By how much k steps may make anything grow: the bound on what their rounding may leave."""
    A, b, x = (part.double() for part in problem)
    norm = float(A.abs().sum(dim=(-2, -1)).max())
    size = float(b.abs().max() + x.abs().max() + 1)
    return size * (1 + step_size * norm**2 / A.shape[-2]) ** steps


@pytest.mark.parametrize("dtype", list(U))
@given(n=st.integers(1, 4), extra=st.integers(0, 5), steps=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_the_target_is_the_iterate(dtype: torch.dtype, n: int, extra: int, steps: int, seed: int) -> None:
    task = GradientDescent(n=n, rows=n + extra, steps=steps, step_size=0.3)
    example = task.sample(2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert example.prompt.shape == (2, task.rows + 1, task.n + 1)
    problem = layout.read(example.prompt)
    with mpmath.workdps(60):
        rows = [[float(c) for c in row] for row in exact_iterate(problem, steps, 0.3)]
    exact = torch.tensor(rows, dtype=torch.float64)
    bound = 8 * (n + task.rows) * steps * U[dtype] * growth(problem, steps, 0.3)
    assert (example.target.double() - exact).abs().max() <= bound


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("relative_error", [0.0, 1e-3, 2.0**-20])
def test_the_error_is_measured_above_the_predictions_precision(dtype: torch.dtype, relative_error: float) -> None:
    task = GradientDescent(n=3, rows=8, steps=4)
    example = task.sample(20, generator=torch.Generator().manual_seed(1), dtype=dtype)
    prediction = example.target * (1 + relative_error)
    measured = float(mean_squared_error(task, prediction, example.prompt))
    with mpmath.workdps(60):
        exact = exact_iterate(layout.read(example.prompt), 4, 0.5)
        squares = [
            (mpmath.mpf(p) - e) ** 2
            for row, line in zip(prediction.tolist(), exact, strict=True)
            for p, e in zip(row, line, strict=True)
        ]
        expected = float(mpmath.fsum(squares) / len(squares))
    assert expected > 0
    # Against a float64 target where the error is a thousand times its rounding, in double-double below.
    assert abs(measured**0.5 - expected**0.5) <= 2.0**-8 * expected**0.5


@given(first=st.integers(1, 4), second=st.integers(1, 4), query=st.sampled_from(QUERIES), repeats=st.integers(1, 3))
def test_steps_compose(first: int, second: int, query: layout.Query, repeats: int) -> None:
    generator = torch.Generator().manual_seed(first + 10 * second)
    whole, start, rest = (
        GradientDescent(n=3, rows=7, steps=k, query=query, repeats=repeats) for k in (first + second, first, second)
    )
    example = whole.sample(5, generator=generator, dtype=torch.float64)
    half = start.iterates(example.prompt)[:, -1]
    problem = layout.read(example.prompt, query=query, repeats=repeats)
    onward = rest.iterates(layout.write(problem._replace(x=half), query=query, repeats=repeats))
    # The same operations in the same order: the same bits.
    assert torch.equal(onward[:, -1], example.target)
    assert torch.equal(torch.cat([start.iterates(example.prompt), onward], dim=1), whole.iterates(example.prompt))


def test_one_step_is_a_step_along_the_explicit_gradient() -> None:
    example = ExplicitGradient(n=4, rows=9).sample(10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    problem = layout.read(example.prompt)
    stepped = descend(problem, steps=1, step_size=0.25)[:, 0]
    assert torch.equal(stepped, problem.x - 0.25 * example.target)


@given(seed=st.integers(0, 2**31), steps=st.integers(1, 8))
def test_the_order_of_the_rows_is_no_matter(seed: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    task = GradientDescent(n=4, rows=10, steps=steps)
    example = task.sample(3, generator=generator, dtype=torch.float64)
    problem = layout.read(example.prompt)
    order = torch.randperm(10, generator=generator)
    shuffled = problem._replace(A=problem.A[:, order], b=problem.b[:, order])
    measured = mean_squared_error(task, example.target, layout.write(shuffled))
    assert measured**0.5 <= 8 * 14 * steps * U[torch.float64] * growth(problem, steps, 0.5)


@given(exponent=st.integers(-20, 20), seed=st.integers(0, 2**31))
def test_iterates_scale_with_b_and_x(exponent: int, seed: int) -> None:
    task = GradientDescent(n=3, rows=6, steps=5)
    example = task.sample(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    A, b, x = layout.read(example.prompt)
    scaled = layout.write(Problem(A, b * 2.0**exponent, x * 2.0**exponent))
    assert torch.equal(task.iterates(scaled)[:, -1], example.target * 2.0**exponent)


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_a_prompt_is_read_as_it_was_written(query: layout.Query, repeats: int) -> None:
    problem = Problem(torch.randn(2, 4, 3), torch.randn(2, 4), torch.randn(2, 3))
    tokens = layout.write(problem, query=query, repeats=repeats)
    assert tokens.shape == (2, 5 * repeats, 4)
    place = 0 if query == "first" else 4
    assert torch.equal(tokens[:, place, :3], problem.x)
    assert not tokens[:, place, 3].any()
    for found, written in zip(layout.read(tokens, query=query, repeats=repeats), problem, strict=True):
        assert torch.equal(found, written)
    for copy in range(1, repeats):
        assert torch.equal(tokens[:, 5 * copy : 5 * copy + 5], tokens[:, :5])


class TrueSteps(torch.nn.Module):
    """Emits the target itself, and refuses prompts of any other shape than it was made for."""

    def __init__(self, task: GradientDescent) -> None:
        super().__init__()
        self.task = task
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape[1:] == (self.task.repeats * (self.task.rows + 1), self.task.n + 1)
        return self.task.iterates(tokens)[:, -1]


def true_solver(task: GradientDescent, **options: float) -> LearnedIteration:
    return LearnedIteration(task.step(TrueSteps(task)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1.0, 1e3, 1e200])
@pytest.mark.parametrize(("rows", "n"), [(20, 5), (7, 3), (1, 1)])
def test_the_true_steps_solve_problems_of_any_scale(scale: float, rows: int, n: int) -> None:
    task = GradientDescent(n=5, rows=20, steps=4, query="last", repeats=2)
    problem = random_problem(rows, n, condition=5.0, scale=scale, batch=(20,))
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    result = true_solver(task).solve(problem.A, problem.b)
    assert bool((result.status == Status.CONVERGED).all())
    allowed = 64 * rows * n * U[torch.float64] * 5.0**LearnedIteration.condition_power
    assert bool((errors.forward_error(result.x, exact) <= allowed).all())


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_an_application_is_k_steps_of_descent(steps: int) -> None:
    """In a basis of singular vectors each component shrinks by (1 − η σ²/N)^k, to rounding."""
    task = GradientDescent(n=3, rows=8, steps=steps)
    problem = random_problem(8, 3, condition=3.0, scale=3.0, batch=(4,))
    trace = true_solver(task, max_iterations=5, tolerance=0.0).solve(problem.A, problem.b, record=True).trace
    assert trace is not None
    assert trace.shape[0] == 6
    wanted = descend(Problem(problem.A, problem.b, torch.zeros(4, 3).double()), steps=5 * steps, step_size=0.5)
    # σ₁² η/N = 9/16, which is within the range that is left as it is.
    allowed = 16 * 24 * 5 * steps * U[torch.float64] * problem.x.abs().max()
    assert (trace[1:] - wanted[:, steps - 1 :: steps].movedim(1, 0)).abs().max() <= allowed


def test_larger_problems_are_refused() -> None:
    emitted = EmittedDescent(TrueSteps(GradientDescent(n=3, rows=6)), GradientDescent(n=3, rows=6))
    with pytest.raises(ValueError, match="got 7 rows, want at most 6"):
        emitted(torch.zeros(1, 7, 3), torch.zeros(1, 7), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="got 4 unknowns, want at most 3"):
        emitted(torch.zeros(1, 5, 4), torch.zeros(1, 5), torch.zeros(1, 4))


def test_an_unstable_step_is_no_answer() -> None:
    class Explosion(TrueSteps):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return 1e200 * (1 + super().forward(tokens))

    task = GradientDescent(n=3, rows=10)
    problem = random_problem(10, 3, batch=(5,))
    result = LearnedIteration(task.step(Explosion(task))).solve(problem.A, problem.b)
    assert bool((result.status == Status.BREAKDOWN).all())


@pytest.mark.parametrize("scale", [1e-3, 3.0])
def test_the_iteration_starts_where_it_is_told(scale: float) -> None:
    task = GradientDescent(n=3, rows=8, steps=2)
    problem = random_problem(8, 3, condition=3.0, scale=3.0, batch=(4,))
    x0 = scale * torch.randn(4, 3, dtype=torch.float64)
    trace = true_solver(task, max_iterations=1, tolerance=0.0).solve(problem.A, problem.b, x0=x0, record=True).trace
    assert trace is not None
    wanted = descend(Problem(problem.A, problem.b, x0), steps=2, step_size=0.5)[:, -1]
    allowed = 16 * 24 * 2 * U[torch.float64] * (problem.x.abs().max() + x0.abs().max())
    assert torch.equal(torch.as_tensor(trace[0]), x0)
    assert (trace[1] - wanted).abs().max() <= allowed
