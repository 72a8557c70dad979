"""What every task offers, one case a task: shapes, repeatable samples, configurations that survive, and training."""

from pathlib import Path
from typing import Any

import pytest
import torch

import precisionlab
from precisionlab import config as configs
from precisionlab.config import kind_of
from precisionlab.experiments import registry
from precisionlab.experiments.experiment import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import (
    ExplicitGradient,
    GradientDescent,
    HeavyBall,
    InContextLeastSquares,
    LeastSquares,
    NewtonSchulz,
    Ode,
    Primitive,
    SolverTask,
    Task,
)
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.training.adam import Adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.objective import shape_of
from solvers.problems import gaussian_problem

TASKS: dict[str, Any] = {
    "explicit-gradient": ExplicitGradient(n=2, rows=4),
    "explicit-gradient, x₀ last, twice": ExplicitGradient(n=2, rows=4, query="last", repeats=2),
    "gradient-descent": GradientDescent(n=2, rows=4, steps=2),
    "gradient-descent, x₀ last, twice": GradientDescent(n=2, rows=4, steps=2, query="last", repeats=2),
    "heavy-ball": HeavyBall(n=2, rows=4),
    "newton-schulz": NewtonSchulz(n=2, rows=4),
    "least-squares": LeastSquares(n=2, rows=4),
    "least-squares, twice": LeastSquares(n=2, rows=6, condition=5.0, noise=0.1, repeats=2),
    "in-context": InContextLeastSquares(n=2, points=5),
    "in-context, last": InContextLeastSquares(n=2, points=12, emits="one"),
    "ode": Ode(sensors=3, points=12),
    "identity": Primitive(operation="identity", dims=4, points=3),
    "square": Primitive(operation="square", dims=4, points=3),
    "multiply": Primitive(operation="multiply", dims=4, points=3),
    "linear": Primitive(operation="linear", dims=4, points=3),
    "read": Primitive(operation="read", dims=4, points=3),
}
MAKES_NO_SOLVER = {"in-context", "in-context, last", "ode", "identity", "square", "multiply", "linear", "read"}
SHARE_ASKED = {"in-context": 9 / 5}
"""Tokens over those whose answer is measured; the others' targets are zero."""
every_task = pytest.mark.parametrize("name", list(TASKS))


def experiment(task: Task, dtype: str = "float64") -> Experiment:
    """A few steps of both phases, with linear attention."""
    return Experiment(
        name="test/task",
        task=task,
        model=ModelConfig(width=4, positions="learned", reads="last"),
        phases=(Adam(steps=2, batch=4), GaussNewton(steps=2)),
        attempts=1,
        dtype=dtype,  # type: ignore[arg-type]
    )


@every_task
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_have_the_stated_shapes_and_are_repeatable(name: str, dtype: torch.dtype) -> None:
    task = TASKS[name]
    first, again = (task.sample(3, generator=torch.Generator().manual_seed(4), dtype=dtype) for _ in range(2))
    assert torch.equal(first.prompt, again.prompt)
    assert torch.equal(first.target, again.target)
    shape = shape_of(task)
    assert first.prompt.shape == (3, shape.tokens, shape.in_features)
    assert first.target.shape == (3, *((shape.tokens,) if shape.every_token else ()), shape.out_features)
    assert first.prompt.dtype == first.target.dtype == dtype
    other = task.sample(3, generator=torch.Generator().manual_seed(5), dtype=dtype)
    assert not torch.equal(first.prompt, other.prompt)


@every_task
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_target_has_an_error_of_rounding_and_zero_has_that_of_the_target(name: str, dtype: torch.dtype) -> None:
    task = TASKS[name]
    example = task.sample(50, generator=torch.Generator().manual_seed(4), dtype=dtype)
    size = example.target.double().square().mean() * SHARE_ASKED.get(name, 1.0)
    mse = mean_squared_error(task, example.target, example.prompt)
    assert mse.dtype == torch.float64
    assert mse <= (64 * torch.finfo(dtype).eps) ** 2 * size
    of_zero = mean_squared_error(task, torch.zeros_like(example.target), example.prompt)
    assert abs(of_zero - size) <= 64 * torch.finfo(dtype).eps * size


@every_task
def test_a_configuration_survives_its_file(name: str) -> None:
    config = experiment(TASKS[name])
    assert configs.loads(Experiment, configs.dumps(config), source="test") == config


@every_task
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_trains_on_it_for_a_handful_of_steps(
    name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(TASKS[name], dtype)
    monkeypatch.setitem(registry(), config.name, config)
    run = precisionlab.train(config.name, progress=False)
    assert run.metrics["mse"].notna().all()
    assert run.card.test_mse is not None
    assert isinstance(config.task, SolverTask) == (name not in MAKES_NO_SOLVER)
    if name in MAKES_NO_SOLVER:
        with pytest.raises(ValueError, match=f"test/task: the task {kind_of(config.task)!r} makes no solver"):
            precisionlab.load_solver(run)
        report = precisionlab.report([run], out=tmp_path)
        assert report.conclusion.startswith("Test/task ends at an MSE of ")
        assert (tmp_path / "report.html").exists()
        return
    problem = gaussian_problem(4, 2, batch=(3,), dtype=getattr(torch, dtype))
    options = {} if isinstance(config.task, LeastSquares) else {"max_iterations": 2}
    assert precisionlab.load_solver(run, **options).solve(problem.A, problem.b).x.shape == (3, 2)


@every_task
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exact_answer_is_the_target_in_float64_or_above(name: str, dtype: torch.dtype) -> None:
    task = TASKS[name]
    example = task.sample(20, generator=torch.Generator().manual_seed(4), dtype=dtype)
    exact, pair = task.exact(example.prompt), task.exact_pair(example.prompt)
    assert exact.dtype == torch.float64
    assert exact.shape == example.target.shape
    assert torch.equal(exact, pair.hi)
    # A pair is not a rounded target: what is left over is there, and below half a unit in the last place.
    assert bool((pair.lo.abs() <= torch.finfo(torch.float64).eps / 2 * pair.hi.abs()).all())
    exactly = {"identity", "read"} | ({"square", "multiply"} if dtype == torch.float32 else set())
    assert bool(pair.lo.any()) == (name not in exactly)


@pytest.mark.parametrize("task", [ExplicitGradient(n=2, rows=4), HeavyBall(n=2, rows=4)])
def test_a_causal_model_must_read_the_last_token(task: Task) -> None:
    with pytest.raises(ValueError, match="set reads = 'last'"):
        Experiment(
            name="test/task", task=task, model=ModelConfig(mixer=LinearAttention(causal=True)), phases=(Adam(steps=1),)
        )
