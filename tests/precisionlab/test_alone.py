"""What the shipped models add, apart from what is wrapped around them: alone, against exact steps in both dtypes."""

import inspect
from collections.abc import Callable

import pytest
import torch

import precisionlab
from solvers import errors, reference
from solvers.learned.base import in_dtype
from solvers.problems import LstsqProblem, gaussian_problem, random_problem
from solvers.solver import Solver

U = 2.0**-53
STEPS = 200
NAMES = (
    "gated-conv/explicit-gradient",
    "gated-conv/gradient-descent-8",
    "linear-attention/explicit-gradient",
    "linear-attention/gradient-descent-8",
    "linear-attention/heavy-ball",
    "linear-attention/newton-schulz",
    "linear-attention/newton-schulz-16",
)
GRADIENTS = [name for name in NAMES if name.endswith("explicit-gradient")]
CONDITION = 3.0
ALLOWED = 32 * U * CONDITION**2
"""Medians are at most 0.33 of it; steps in float32 are a million times beyond."""


def solver(name: str, step: Callable[..., torch.Tensor] | None = None, **options: object) -> Solver:
    """A shipped solver; with a step in the model's place, the same wrapper around that."""
    learned = precisionlab.load_solver(name)
    known = inspect.signature(type(learned)).parameters
    wanted = {"max_iterations": STEPS, "tolerance": 0.0, **options}
    chosen = {key: value for key, value in wanted.items() if key in known}
    return precisionlab.load_solver(name, **chosen) if step is None else type(learned)(step, **chosen)


def problem(name: str, residual: float = 0.0, scale: float = 1.0) -> LstsqProblem:
    task = precisionlab.load(name).experiment.task
    return random_problem(
        task.rows,
        task.n,
        condition=CONDITION,
        residual=residual,
        scale=scale,
        batch=(20,),
        generator=torch.Generator().manual_seed(3),
    )


def median_error(subject: Solver, given: LstsqProblem) -> float:
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(given.A, given.b))
    return float(torch.as_tensor(errors.forward_error(subject.solve(given.A, given.b).x, exact)).median())


@pytest.mark.parametrize(("residual", "scale"), [(0.0, 1.0), (1.0, 1e150)])
@pytest.mark.parametrize("name", NAMES)
def test_the_model_alone_ends_near_float64s_floor(name: str, residual: float, scale: float) -> None:
    assert median_error(solver(name, refinement=None), problem(name, residual, scale)) <= ALLOWED


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_tells_the_dtypes_of_exact_steps_apart(name: str) -> None:
    control = precisionlab.load(name).experiment.task.control
    assert median_error(solver(name, control, refinement=None), problem(name)) <= ALLOWED / 16
    short = solver(name, in_dtype(control, torch.float32), refinement=None)
    assert median_error(short, problem(name)) >= 1e4 * ALLOWED


@pytest.mark.parametrize("name", GRADIENTS)
def test_one_application_is_within_rounding_of_the_formula(name: str) -> None:
    run = precisionlab.load(name)
    task = run.experiment.task
    given = gaussian_problem(task.rows, task.n, batch=(50,), generator=torch.Generator().manual_seed(4))
    emitted, exact = (step(given.A, given.b, given.x0) for step in (task.step(run.model), task.control))
    assert float((emitted - exact).norm(dim=-1).median()) <= 64 * U * float(exact.norm(dim=-1).median())


@pytest.mark.parametrize("name", GRADIENTS)
def test_refined_it_says_nothing_of_the_model(name: str) -> None:
    """Why both are shown: with refinement a gradient in float32 ends where the model does, at the last bit of x."""
    control = precisionlab.load(name).experiment.task.control
    refined = [solver(name), solver(name, control), solver(name, in_dtype(control, torch.float32))]
    assert max(median_error(subject, problem(name)) for subject in refined) <= U
