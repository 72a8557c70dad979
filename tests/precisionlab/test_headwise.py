"""Layer by layer from random heads: plain linear attention reaches the floor from problems alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.func import jacrev

import precisionlab
from precisionlab import Experiment
from precisionlab.models import LinearAttention, ModelConfig
from precisionlab.tasks import LeastSquares
from precisionlab.training.headwise import Heads, Headwise, SingularSystem
from precisionlab.training.scaled_system import ScaledSystem

U = torch.finfo(torch.float64).eps / 2

SMALL = Experiment(
    name="test/headwise",
    task=LeastSquares(n=2, rows=8, condition=4.0, spectrum="free", axes=True),
    model=ModelConfig(mixer=LinearAttention(heads=2, normalise="none"), width=8, layers=8, positions="none"),
    phases=(Headwise(batch=20_000, easier={"spread": 0.02}),),
    attempts=1,
)


def test_the_jacobian_is_that_of_what_is_emitted(generator: torch.Generator) -> None:
    heads = Heads(2, 3, 5)
    theta = torch.randn(sum(map(math.prod, heads.shapes)), dtype=torch.float64, generator=generator)
    products = torch.randn(4, 4, 4, 4, dtype=torch.float64, generator=generator)
    read = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    wanted = jacrev(heads.emitted)(theta, products, read).flatten(0, 1)
    got = heads.jacobian(theta, products, read)
    assert (got - wanted).abs().max() <= 100 * U * wanted.abs().max()


def test_both_systems_give_the_same_step(generator: torch.Generator) -> None:
    jacobian = torch.randn(40, 12, dtype=torch.float64, generator=generator)
    residual = torch.randn(40, dtype=torch.float64, generator=generator)
    by_values, squared = SingularSystem(jacobian, residual), ScaledSystem(jacobian.clone(), residual)
    for system in (by_values, squared):
        assert system.factorise(1e-2)
    wanted = squared.step()
    assert wanted is not None
    assert (by_values.step() - wanted).norm() <= 1000 * U * wanted.norm()


def test_random_heads_learn_to_solve_what_they_read() -> None:
    """Trained on emitted x alone, eight layers solve fresh problems, in the mean and at worst."""
    run = precisionlab.train(SMALL, progress=False)
    example = SMALL.task.sample(10_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        error = torch.linalg.vector_norm(run.model(example.prompt) - example.target, dim=1)
    error /= torch.linalg.vector_norm(example.target, dim=1)
    assert error.median() <= 1000 * U
    assert error.max() <= 1e4 * U


def test_a_run_is_resumed_layer_by_layer(tmp_path: Path) -> None:
    small = replace(SMALL, model=replace(SMALL.model, layers=6), phases=(Headwise(batch=500, steps=5, copied=1),))
    whole = precisionlab.train(small, run_dir=tmp_path / "whole", progress=False)
    precisionlab.train(small, run_dir=tmp_path / "cut", time_limit=1e-9, progress=False)
    cut = precisionlab.train(small, run_dir=tmp_path / "cut", resume=True, progress=False)
    assert len(whole.metrics) == len(cut.metrics) == 5
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(cut.model.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(mixer=LinearAttention(heads=2), width=8, layers=3),
        ModelConfig(mixer=LinearAttention(heads=8), width=8, layers=3, positions="none"),
        ModelConfig(mixer=LinearAttention(), width=6, layers=3, positions="none"),
        ModelConfig(mixer=LinearAttention(), width=8, layers=3, positions="none", mlp=1),
    ],
    ids=["positions", "narrow heads", "narrow tokens", "perceptron"],
)
def test_other_models_are_refused(model: ModelConfig) -> None:
    with pytest.raises(ValueError, match="headwise: wants"):
        precisionlab.train(replace(SMALL, model=model), progress=False)
