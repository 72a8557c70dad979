"""Layer by layer: fits find what is known to be best, and models reach the floor from problems alone."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import precisionlab
from precisionlab.experiments import get
from precisionlab.inspect import spectral
from precisionlab.training.layerwise import fit_largest, fit_mean

U = torch.finfo(torch.float64).eps / 2


def powers(eigenvalues: torch.Tensor, degree: int) -> torch.Tensor:
    return torch.stack([eigenvalues**k for k in range(1, degree + 1)], dim=-1).unsqueeze(-2)


@pytest.mark.parametrize(("degree", "smallest"), [(2, 0.1), (4, 0.05), (3, 1e-6)])
def test_the_largest_error_is_chebyshevs(degree: int, smallest: float) -> None:
    """Of residuals 1 − λ q(λ) of a degree the least largest is 1/T_d((1 + l)/(1 − l)): known in closed form."""
    angle = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    eigenvalues = smallest + (1 - smallest) * (1 - torch.cos(angle)) / 2
    fit = fit_largest(powers(eigenvalues, degree), torch.ones(len(eigenvalues), 1, dtype=torch.float64))
    growth = math.acosh((1 + smallest) / (1 - smallest))
    best = 1 / math.cosh(degree * growth)
    gain = 2 * math.sinh(degree * growth / 2) ** 2 * best
    assert best * (1 - 1e-9) <= fit.error <= best * 1.01
    assert gain * 0.95 <= fit.gain <= gain * (1 + 1e-6)


def test_the_mean_is_the_least_squares_solution(generator: torch.Generator) -> None:
    terms = torch.randn(50, 3, 4, dtype=torch.float64, generator=generator)
    wanted = torch.tensor([2.0, -1.0, 0.0, 0.5], dtype=torch.float64)
    fit = fit_mean(terms, terms @ wanted)
    torch.testing.assert_close(fit.coefficients, wanted, rtol=0, atol=20 * U)
    assert fit.error <= 20 * U


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_and_newton_schulz_are_one_linear_problem(seed: int) -> None:
    gradient = precisionlab.train("equivariant-attention/explicit-gradient", seed=seed, progress=False)
    step = precisionlab.train("equivariant-attention/newton-schulz", seed=seed, progress=False)
    for run in (gradient, step):
        assert run.card.test_mse is not None
        assert run.card.test_mse <= 1e-28
    weights = {name: value.tolist() for name, value in step.model.state_dict().items()}
    assert weights["emit_mix"] == [0.0, 2.0]
    assert sorted(weights["emit_attention"])[:2] == [-1.0, 0.0]
    assert [value for value in weights["emit_attention"] if value] == [-1.0]


def test_one_unknown_teaches_every_size() -> None:
    """A smaller κ than what ships, for time: trained on n = 1, it solves n = 40 as QR does, and a bound is proved."""
    experiment = get("equivariant-attention/end-to-end-1e3")
    small = replace(
        experiment,
        name="test/end-to-end",
        task=replace(experiment.task, condition=10.0),
        model=replace(experiment.model, layers=9),
        phases=(replace(experiment.phases[0], batch=512, searches=1),),
    )
    run = precisionlab.train(small, progress=False)
    layers = spectral.layers_of(run.model)
    assert all(layer.pure for layer in layers[2:])
    assert spectral.prove(layers, 1 / 10, 1.0).error <= 16 * U
    A = torch.randn(20, 120, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = torch.randn(20, 40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    A = A / torch.linalg.matrix_norm(A, ord=2)[:, None, None]
    emitted = run.model(torch.cat([A, A @ x], dim=-1)).detach().unsqueeze(-1)
    rival = torch.linalg.lstsq(A, A @ x).solution
    error, qr = (torch.linalg.vector_norm(y - x, dim=(1, 2)).median() for y in (emitted, rival))
    assert error <= 3 * qr


def test_a_run_is_resumed_layer_by_layer(tmp_path: Path) -> None:
    experiment = get("equivariant-attention/end-to-end-1e3")
    phase = replace(experiment.phases[0], batch=128, searches=0)
    small = replace(experiment, name="test/resumed", model=replace(experiment.model, layers=3), phases=(phase,))
    whole = precisionlab.train(small, progress=False)
    precisionlab.train(small, run_dir=tmp_path / "run", time_limit=1e-9, progress=False)
    again = precisionlab.train(small, run_dir=tmp_path / "run", resume=True, progress=False)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_model_is_refused() -> None:
    experiment = get("equivariant-attention/explicit-gradient")
    linear = replace(get("linear-attention/explicit-gradient"), phases=experiment.phases, name="test/refused")
    with pytest.raises(ValueError, match="layerwise: wants equivariant attention"):
        precisionlab.train(linear, progress=False)
