"""Looped models, phases on an easier task, and problems with few active rows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.experiments.experiment import Experiment
from precisionlab.experiments.gradient_descent import gated_convolution, linear_attention
from precisionlab.models import Backbone, GatedConvolution, LinearAttention, ModelConfig, Shape
from precisionlab.tasks import ExplicitGradient, GradientDescent, NewtonSchulz
from precisionlab.tasks.drawing import gaussian
from precisionlab.training import Adam, GaussNewton, Objective, fit
from precisionlab.training.objective import Stream
from precisionlab.training.trainer import Progress

N, ROWS = 2, 5
MODELS = [
    ModelConfig(mixer=LinearAttention(heads=2), width=8),
    ModelConfig(mixer=GatedConvolution(causal=True), width=8, positions="none", reads="last"),
]


def task(config: ModelConfig, steps: int) -> GradientDescent:
    return GradientDescent(n=N, rows=ROWS, steps=steps, query="first" if config.reads == "first" else "last")


def backbone(config: ModelConfig, generator: torch.Generator | None = None, loops: int = 1) -> Backbone:
    shape = Shape(in_features=N + 1, out_features=N, tokens=ROWS + 1)
    return Backbone(config, shape, loops=loops, generator=generator)


@pytest.mark.parametrize("config", MODELS)
@given(loops=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_loops_are_the_model_applied_to_its_own_answer(config: ModelConfig, loops: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    looped = backbone(config, generator, loops)
    once = backbone(config)
    once.load_state_dict(looped.state_dict())
    prompt = task(config, loops).sample(3, generator=generator, dtype=torch.float64).prompt
    place, current = (0 if config.reads == "first" else -1), prompt
    for _ in range(loops):
        answer = once(current)
        current = current.clone()
        current[:, place, :N] = answer
    # The same operations in the same order; an answer may have run out of range by then.
    assert torch.equal(looped(prompt).nan_to_num(), answer.nan_to_num())


@pytest.mark.parametrize("config", MODELS)
def test_fewer_steps_of_the_task_are_fewer_loops_of_a_looped_model(config: ModelConfig) -> None:
    looped = replace(config, looped=True)
    whole = Objective(looped, task(config, 4), dtype=torch.float64, device="cpu", seed=0)
    one = whole.eased({"steps": 1})
    theta = whole.initial(0)
    assert torch.equal(theta, one.initial(0))
    single = Objective(config, task(config, 1), dtype=torch.float64, device="cpu", seed=0)
    assert one.validation_mse(theta) == single.validation_mse(theta)
    assert one.validation_mse(theta) != whole.validation_mse(theta)


@given(rows=st.integers(1, 12), data=st.data(), seed=st.integers(0, 2**31))
def test_as_many_rows_are_active_as_were_asked_for(rows: int, data: st.DataObject, seed: int) -> None:
    active = data.draw(st.integers(1, rows))
    generator = torch.Generator().manual_seed(seed)
    problem = gaussian(4, rows, 3, generator=generator, dtype=torch.float64, active_rows=active)
    assert ((problem.A != 0).any(dim=-1).sum(dim=-1) == active).all()
    assert torch.equal(problem.b != 0, (problem.A != 0).any(dim=-1))


def test_the_mean_of_the_gram_matrix_stays_the_identity() -> None:
    generator = torch.Generator().manual_seed(0)
    A = gaussian(20_000, 8, 2, generator=generator, dtype=torch.float64, active_rows=2).A
    grams = A.mT @ A / 8
    # Four standard errors of a mean.
    assert ((grams.mean(dim=0) - torch.eye(2)).abs() <= 4 * grams.std(dim=0) / len(A) ** 0.5).all()


def test_a_phase_trains_on_its_own_task_and_its_rows_have_the_error_on_the_whole() -> None:
    task = ExplicitGradient(n=N, rows=ROWS)
    objective = Objective(ModelConfig(width=8), task, dtype=torch.float64, device="cpu", seed=0)
    eased = objective.eased({"active_rows": 2})
    assert ((eased.batch(Stream.TRAINING, 0, 0, 0, size=8).prompt[:, 1:] != 0).any(dim=-1).sum(dim=-1) == 2).all()
    assert (objective.batch(Stream.TRAINING, 0, 0, 0, size=8).prompt[:, 1:] != 0).all()
    progress = Progress()
    phase = Adam(steps=50, easier={"active_rows": 2})
    fit(objective, (phase,), attempts=1, progress=progress)
    (row,) = progress.rows
    theta = (progress.phase_state or {})["theta"]
    assert isinstance(theta, torch.Tensor)
    assert row["mse"] == objective.validation_mse(theta)
    assert row["eased_mse"] == eased.validation_mse(theta)
    assert row["mse"] != row["eased_mse"]
    # A phase that eases nothing takes other steps, and has one error.
    plain = Progress()
    fit(objective, (Adam(steps=50),), attempts=1, progress=plain)
    assert "eased_mse" not in plain.rows[0]
    assert plain.rows[0]["mse"] != row["mse"]


@given(scale=st.floats(0.1, 10.0), seed=st.integers(0, 2**31))
def test_only_the_iterate_is_scaled(scale: float, seed: int) -> None:
    plain, scaled = (
        gaussian(
            4, 6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, active_rows=2, iterate_scale=s
        )
        for s in (1.0, scale)
    )
    assert torch.equal(plain.A, scaled.A)
    assert torch.equal(plain.b, scaled.b)
    assert torch.equal(scaled.x, scale * plain.x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"task": NewtonSchulz(), "phases": (Adam(),)},
            "the task NewtonSchulz has no steps to be the number",
        ),
        ({"phases": (Adam(easier={"active_rows": 21}),)}, "active_rows must be at most rows, got 21 of 20"),
        ({"phases": (GaussNewton(easier={"stepps": 1}),)}, "the task GradientDescent has no setting 'stepps'"),
        ({"phases": (Adam(easier={"rows": 7}),)}, "changes the sizes of prompt or target"),
        ({"phases": (Adam(easier={"steps": 1.5}),)}, "steps: Input should be a valid integer"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(linear_attention(2), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("experiment", [linear_attention(2), gated_convolution(2)])
def test_the_first_phases_learn_one_step(experiment: Experiment) -> None:
    *first, last = experiment.phases
    assert {phase.easier["steps"] for phase in first if isinstance(phase, Adam | GaussNewton)} == {1}
    assert not getattr(last, "easier", None)
