"""Looped models, phases that unroll fewer loops, and problems with few active rows."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.experiments.experiment import Experiment
from precisionlab.experiments.gradient_descent import gated_convolution, linear_attention
from precisionlab.models import Backbone, ModelConfig
from precisionlab.tasks import ExplicitGradient, GradientDescent, NewtonSchulz
from precisionlab.tasks.drawing import gaussian
from precisionlab.training import Adam, GaussNewton, Objective
from precisionlab.training.objective import Stream

N, ROWS = 2, 5
MODELS = [
    ModelConfig(mixer="linear-attention", width=8),
    ModelConfig(mixer="gated-conv", width=8, causal=True, positions="none", reads="last"),
]


def task(config: ModelConfig, steps: int) -> GradientDescent:
    return GradientDescent(n=N, rows=ROWS, steps=steps, query="first" if config.reads == "first" else "last")


def backbone(config: ModelConfig, generator: torch.Generator | None = None) -> Backbone:
    return Backbone(config, in_features=N + 1, out_features=N, tokens=ROWS + 1, generator=generator)


@pytest.mark.parametrize("config", MODELS)
@given(loops=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_loops_are_the_model_applied_to_its_own_answer(config: ModelConfig, loops: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    looped = backbone(replace(config, loops=loops), generator)
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
def test_an_unrolled_objective_has_the_same_parameters_and_an_easier_task(config: ModelConfig) -> None:
    whole = Objective(replace(config, loops=4), task(config, 4), dtype=torch.float64, device="cpu", seed=0)
    one = whole.unrolled(1)
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


def test_a_phase_may_train_on_fewer_rows_than_it_is_judged_on() -> None:
    objective = Objective(
        ModelConfig(width=8), ExplicitGradient(n=N, rows=ROWS), dtype=torch.float64, device="cpu", seed=0
    )
    eased = objective.batch(Stream.TRAINING, 0, 0, 0, size=8, task=ExplicitGradient(n=N, rows=ROWS, active_rows=2))
    assert ((eased.prompt[:, 1:] != 0).any(dim=-1).sum(dim=-1) == 2).all()
    assert (objective.batch(Stream.VALIDATION, size=8).prompt[:, 1:] != 0).all()


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


@pytest.mark.parametrize("task", [ExplicitGradient(), GradientDescent(steps=2)])
def test_adam_draws_what_its_settings_say(task: ExplicitGradient | GradientDescent) -> None:
    eased = Adam(active_rows=6, iterate_scale=2.0).eased(task)
    assert eased == replace(task, active_rows=6, iterate_scale=2.0)
    assert Adam().eased(task) == task
    drawn = eased.sample(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = replace(task, active_rows=6).sample(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(drawn.prompt[:, 0], 2 * plain.prompt[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": GradientDescent(steps=3)}, "a model of 2 loops needs a task of as many steps"),
        ({"phases": (Adam(active_rows=21),)}, "active_rows must be at most rows, got 21 of 20"),
        (
            {"task": ExplicitGradient(), "model": ModelConfig(), "phases": (GaussNewton(unroll=1),)},
            "unroll: the task 'explicit-gradient' has no steps",
        ),
        (
            {
                "task": NewtonSchulz(),
                "model": ModelConfig(positions="none", reads="all"),
                "phases": (Adam(active_rows=2),),
            },
            "active_rows: the task 'newton-schulz' has no such choice",
        ),
        (
            {
                "task": NewtonSchulz(),
                "model": ModelConfig(positions="none", reads="all"),
                "phases": (Adam(iterate_scale=2.0),),
            },
            "iterate_scale: the task 'newton-schulz' has no such choice",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(linear_attention(2), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("experiment", [linear_attention(2), gated_convolution(2)])
def test_the_first_phases_learn_one_step(experiment: Experiment) -> None:
    *first, last = experiment.phases
    assert {phase.unroll for phase in first if isinstance(phase, Adam | GaussNewton)} == {1}
    assert getattr(last, "unroll", None) is None
