"""The paper's recipe, part by part: filter, signal, schedules, step threshold, resuming."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.overrides import override
from precisionlab.tasks import ExplicitGradient
from precisionlab.training import Adam, Objective, paper_adam
from precisionlab.training.adam import COSINE_END, AdamRun
from precisionlab.training.gradient_filter import GradientFilter
from precisionlab.training.gradient_signal import SMOOTHING, WINDOW, GradientSignal, cosine_similarity, lost
from precisionlab.training.phase import Outcome, Place

DTYPES = [torch.float32, torch.float64]
START = Place(attempt=0, phase=0)


def objective(dtype: torch.dtype = torch.float64) -> Objective:
    return Objective(
        ModelConfig(mixer=LinearAttention(heads=2), width=8),
        ExplicitGradient(n=2, rows=6),
        dtype=dtype,
        device="cpu",
        seed=0,
    )


def started(phase: Adam, dtype: torch.dtype = torch.float64) -> AdamRun:
    problem = objective(dtype)
    return phase.start(problem, problem.initial(0), START)


SMALL: dict[str, Any] = {"steps": 100, "batch": 16, "learning_rate": 1e-3, "period": 40}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_the_filter_adds_the_moving_average(gain: float, dtype: torch.dtype) -> None:
    generator, decay, steps = torch.Generator().manual_seed(0), 0.98, 20
    gradients = torch.randn(steps, 7, dtype=dtype, generator=generator)
    filtering = GradientFilter(gain=gain, decay=decay, like=gradients[0])
    u = torch.finfo(dtype).eps / 2
    for number, gradient in enumerate(gradients):
        got, average = filtering.filtered(gradient)
        filtering.keep(average)
        # The first gradient weighs decay^t, a later one (1 − decay) decay^(t − s).
        weights = [decay**number] + [(1 - decay) * decay ** (number - s) for s in range(1, number + 1)]
        slow = (torch.tensor(weights, dtype=torch.float64)[:, None] * gradients[: number + 1].double()).sum(0)
        allowed = 4 * (number + 1) * u * (1 + gain) * gradients.abs().max()
        assert (got.double() - gradient.double() - gain * slow).abs().max() <= allowed


def test_a_filter_without_gain_is_none() -> None:
    gradient = torch.randn(5)
    assert GradientFilter(gain=0.0, decay=0.98, like=gradient).filtered(gradient)[0] is gradient


@pytest.mark.parametrize("dtype", DTYPES)
@given(angle=st.floats(0, math.pi), length=st.integers(-30, 30))
def test_the_cosine_is_that_of_the_angle_at_any_length(dtype: torch.dtype, angle: float, length: int) -> None:
    one = torch.tensor([1.0, 0.0, 0.0], dtype=dtype) * 10.0**length
    other = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=dtype)
    cosine = cosine_similarity(one, other)
    assert cosine is not None
    assert abs(cosine - math.cos(angle)) <= 8 * torch.finfo(dtype).eps


def test_the_signal_is_the_smoothed_mean_over_windows() -> None:
    signal = GradientSignal(torch.zeros(2, dtype=torch.float64))
    along, across = torch.eye(2, dtype=torch.float64)
    assert signal.take(along) is None
    for _ in range(WINDOW - 1):
        assert signal.take(along) == 1.0
    assert signal.value is None
    signal.take(along)
    assert signal.value == 1.0
    for number in range(WINDOW):
        signal.take(along if number % 2 else across)
    assert signal.value == SMOOTHING
    assert signal.take(torch.zeros(2, dtype=torch.float64)) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_rounding_loses_is_counted(dtype: torch.dtype) -> None:
    u = torch.finfo(dtype).eps / 2
    before = torch.ones(4, dtype=dtype)
    change = torch.tensor([0.0, 0.9 * u, 3 * u, 1e-3], dtype=dtype)
    assert lost(before, before + change, change) == pytest.approx(1 / 3)
    assert lost(before, before, torch.zeros(4, dtype=dtype)) == 0.0


@pytest.mark.parametrize(
    ("threshold", "expected"), [(-1.0, 0.9**2), (1.0, 0.9**-2)], ids=["strong falls", "weak is held up"]
)
def test_the_signal_sets_the_rate(threshold: float, expected: float) -> None:
    run = started(Adam(**{**SMALL, "warmup": 1, "schedule": "gradient-signal", "threshold": threshold, "period": 65}))
    rates = []
    while run.outcome is None:
        rates.append(run.advance()["learning_rate"])
    assert rates[0] == 1e-3  # no change before the period is over
    run._adapt_rate()
    assert run._rate() == pytest.approx(1e-3 * expected)


def test_the_rate_has_a_floor() -> None:
    run = started(Adam(**{**SMALL, "schedule": "gradient-signal", "threshold": -1.0, "smallest_rate": 9.5e-4}))
    assert [run.advance()["learning_rate"] for _ in range(2)] == [9.5e-4, 9.5e-4]


def test_the_cosine_ends_at_its_thirtieth() -> None:
    run = started(Adam(**{**SMALL, "warmup": 1, "schedule": "cosine"}))
    middle, end = (run.advance()["learning_rate"] for _ in range(2))
    assert middle == pytest.approx(1e-3 * (1 + COSINE_END) / 2)
    assert end == pytest.approx(1e-3 * COSINE_END)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_recipe_is_its_formula(dtype: torch.dtype) -> None:
    """Against the recipe written out, step by step, with nothing shared but the gradients."""
    phase = paper_adam(steps=30, batch=16, learning_rate=1e-3, clip=0.5, skip=1e9, period=10, threshold=-1.0)
    problem = objective(dtype)
    theta = problem.initial(0)
    mean, square, slow = (torch.zeros_like(theta) for _ in range(3))
    rate = 1e-3
    for t in range(30):
        leaf = theta.clone().requires_grad_()
        example = problem.batch(1, 0, 0, t, size=16)  # type: ignore[arg-type]
        (g,) = torch.autograd.grad(problem.loss(leaf, example), leaf)
        slow = g if t == 0 else 0.98 * slow + 0.02 * g
        g = g + 2 * slow
        g = g * min(1.0, 0.5 / float(g.norm()))
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g * g
        theta = theta - rate * (mean / (1 - 0.9 ** (t + 1))) / ((square / (1 - 0.999 ** (t + 1))).sqrt() + 1e-16)
        rate *= 0.9 if (t + 1) % 10 == 0 else 1.0
    run = phase.start(problem, problem.initial(0), START)
    run.advance()
    # Thirty steps of at most 1e-3 a weight; a relative error u of each, and of what it feeds, grows with their number.
    # clip_grad_norm_ divides by the norm plus 1e-6.
    allowed = 30 * 1e-3 * (30 * 64 * torch.finfo(dtype).eps + 2e-6)
    assert (run.theta - theta).abs().max() <= allowed


def test_a_step_above_the_threshold_leaves_everything_as_it_is() -> None:
    run = started(paper_adam(steps=100, batch=16, skip=1e-9))
    theta = run.theta.clone()
    row = run.advance()
    assert row["rejected"] == 50
    assert row["lost"] is None
    assert run.outcome is Outcome.STALLED
    assert torch.equal(run.theta, theta)
    assert not run.state()["slow"].any()  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("changes", [{}, {"filter_gain": 0.0}, {"schedule": "cosine"}, {"schedule": "constant"}])
def test_it_resumes_bit_for_bit_from_every_row(changes: dict[str, Any], dtype: torch.dtype) -> None:
    phase = paper_adam(**{**SMALL, "steps": 200, **changes})
    problem = objective(dtype)
    whole = phase.start(problem, problem.initial(0), START)
    rows = []
    while whole.outcome is None:
        rows.append(whole.advance())
    part, resumed = phase.start(problem, problem.initial(0), START), []
    for _ in rows:
        resumed.append(part.advance())
        state = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in part.state().items()}
        part = phase.start(problem, problem.initial(1), START)
        part.restore(state)
    assert resumed == rows
    assert torch.equal(part.theta, whole.theta)


def test_every_part_can_be_switched_by_an_override() -> None:
    phase = override(paper_adam(), {"filter_gain": 0.0, "schedule": "constant", "threshold": 0.5, "skip": 10.0})
    assert phase == replace(paper_adam(), filter_gain=0.0, schedule="constant", threshold=0.5, skip=10.0)
