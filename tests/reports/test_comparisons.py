"""What models are compared with, on models of which the answer is known: those with constructed weights."""

from typing import Any

import pytest
import torch

from precisionlab.models import Backbone, constructions
from precisionlab.tasks import (
    Chebyshev,
    ExplicitGradient,
    GradientDescent,
    HeavyBall,
    InContextLeastSquares,
    NewtonSchulz,
    SolverTask,
    chebyshev,
)
from precisionlab.tasks.heavy_ball import coefficients

from .load import load

neighbours, out_of_distribution = load("neighbours"), load("out-of-distribution")

U = 2.0**-53
N, ROWS = 5, 20
ALPHA, BETA = coefficients(10.0)
KNOWN: dict[str, tuple[SolverTask, Backbone]] = {
    "explicit-gradient": (ExplicitGradient(), constructions.gradient_step()),
    "gradient-descent": (GradientDescent(steps=4), constructions.gradient_descent(steps=4)),
    "heavy-ball": (HeavyBall(), constructions.heavy_ball_step(n=N, alpha=ALPHA, beta=BETA)),
    "newton-schulz": (NewtonSchulz(), constructions.newton_schulz_step(n=N)),
}
SHIFTS = out_of_distribution.shifts(N)


def test_chebyshevs_step_is_asked_with_a_weight_of_its_own() -> None:
    problem = out_of_distribution.drawn(SHIFTS[0], ROWS, N, 32, torch.float64)
    given, exact = out_of_distribution.ASKED["chebyshev"](Chebyshev(), problem, SHIFTS[0])
    assert out_of_distribution.relative_error(chebyshev.step(*given), exact).median() <= 8 * (ROWS + N) * U
    before, weight = given[3], given[4]
    assert not torch.equal(weight, before.flatten()[: len(weight)])


@pytest.mark.parametrize("kind", list(KNOWN))
@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: f"{shift.what} {shift.value:g}")
def test_no_shift_costs_exact_weights_more_than_rounding(kind: str, shift: Any) -> None:
    task, model = KNOWN[kind]
    step = task.step(model)
    if (shift.rows or 0) > out_of_distribution._most_rows(step):
        assert kind == "gradient-descent"
        return
    problem = out_of_distribution.drawn(shift, ROWS, N, 32, torch.float64)
    given, exact = out_of_distribution.ASKED[kind](task, problem, shift)
    with torch.no_grad():
        error = out_of_distribution.relative_error(step(*given), exact).median()
    # Sums over rows and unknowns, whose terms are larger than what they add up to by at most the cancellation of a
    # residual; k steps at a scale of 100 amplify what each rounds along with what they emit.
    assert error <= 8 * (problem.A.shape[-2] + N) * U
    assert out_of_distribution.relative_error(1.5 * exact.hi, exact).median() > 0.4


@pytest.mark.parametrize(
    ("kind", "family"),
    list(zip(KNOWN, ("gradient descent", "gradient descent", "heavy ball", "Newton's method"), strict=True)),
)
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_exact_weights_are_closest_to_their_own_algorithm(kind: str, family: str, noise: float) -> None:
    task, model = KNOWN[kind]
    prompts = neighbours.prompts(ROWS, N, noise, 32)
    with torch.no_grad():
        trace = neighbours._iterates(neighbours._solver(task, model), prompts)
    predictions = neighbours._predicted(prompts, trace[2])
    known = neighbours.algorithms(prompts, noise)
    differences = [float((predictions - one.predictions).square().mean()) for one in known]
    order = sorted(range(len(known)), key=differences.__getitem__)
    steps = 2 * getattr(task, "steps", 1)
    assert known[order[0]].name == f"{family}, {steps} steps"
    assert differences[order[0]] < 2.0**-40 * differences[order[1]]


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_an_in_context_model_is_asked_each_query(noise: float) -> None:
    model = constructions.prediction_step(n=N, rows=ROWS, step_size=neighbours.STEP_SIZE)
    task = InContextLeastSquares(n=N, points=ROWS + 1, emits="one")
    prompts = neighbours.prompts(ROWS, N, noise, 16)
    with torch.no_grad():
        predictions = neighbours._in_context(task, model, prompts, torch.float64)
    (one,) = (p for p in neighbours.algorithms(prompts, noise) if p.name == "gradient descent, 1 steps")
    size = one.predictions.abs().max()
    assert (predictions - one.predictions).abs().max() <= 8 * (ROWS + N) * U * (1 + size)


def test_an_in_context_model_of_all_points_reads_the_layout_of_its_task() -> None:
    task = InContextLeastSquares(n=2, points=4, emits="all")
    prompts = neighbours.prompts(3, 2, 0.0, 5)
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            seen.append(tokens)
            return tokens[..., :1]

    neighbours._in_context(task, Watching(), prompts, torch.float64)  # type: ignore[arg-type]
    A, b = task.read(seen[0])
    assert seen[0].shape == (5 * neighbours.QUERIES, 2 * task.points - 1, task.n + 1)
    assert torch.equal(A[:, :-1], prompts.A.repeat_interleave(neighbours.QUERIES, dim=0))
    assert torch.equal(A[:, -1], prompts.queries.flatten(0, 1))
    assert torch.equal(b, prompts.b.repeat_interleave(neighbours.QUERIES, dim=0))
