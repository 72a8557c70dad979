"""The spectral picture is the model, and a proved bound holds where it is tried."""

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import mpmath
import pytest
import torch

import precisionlab
from precisionlab.inspect import spectral
from precisionlab.inspect.spectral import Layer
from precisionlab.models import EquivariantAttention, EquivariantStack, ModelConfig, Shape, build

NEWTON_SCHULZ = Layer(m_a=0.0, m_x=2.0, aaa=0.0, aax=0.0, axx=-1.0, xxx=0.0)
FIRST = Layer(m_a=2.0, m_x=0.0, aaa=-1.0, aax=0.0, axx=0.0, xxx=0.0)
MIXED = Layer(m_a=0.01, m_x=2.1, aaa=0.02, aax=-0.03, axx=-1.1, xxx=0.01)

SHIPPED = [
    ("end-to-end", 0.1761, 2.0976, 7.8e-19),
    ("end-to-end-1e3", 1 / 2e3, 1.0, 2.8e-17),
    ("end-to-end-1e5", 1 / 2e5, 1.0, 6.3e-22),
    ("end-to-end-1e7", 1 / 2e7, 1.0, 2.5e-26),
]
"""Models, the singular values of A, or of A/√N, and the two digits of ε that docs/end-to-end.md states for them."""

DOCUMENT = (Path(__file__).parents[3] / "docs/end-to-end.md").read_text("utf-8")


def model_of(layers: list[Layer], n: int) -> EquivariantStack:
    model = build(
        ModelConfig(mixer=EquivariantAttention(mean=False), width=2, layers=len(layers) + 1, positions="none"),
        Shape(in_features=n + 1, out_features=n, tokens=2 * n),
    )
    assert isinstance(model, EquivariantStack)
    with torch.no_grad():
        for k, layer in enumerate(layers):
            model.mix[k, 0] = torch.tensor([layer.m_a, layer.m_x], dtype=torch.float64)
            model.attention[k, 0] = torch.tensor([layer.aaa, layer.aax, layer.axx, layer.xxx], dtype=torch.float64)
        model.emit_read[1] = 1.0
    return model


def test_the_model_acts_on_each_eigenvector_as_said(generator: torch.Generator) -> None:
    layers = [FIRST, MIXED, replace(MIXED, m_a=0.0), NEWTON_SCHULZ]
    model = model_of(layers, 4)
    assert spectral.layers_of(model) == layers
    A = torch.randn(3, 8, 4, dtype=torch.float64, generator=generator) / 5
    x = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    noise = torch.randn(3, 8, 1, dtype=torch.float64, generator=generator)
    Q = torch.linalg.qr(A)[0]
    b = A @ x.unsqueeze(-1) + noise - Q @ (Q.mT @ noise)
    _, s, Vh = torch.linalg.svd(A, full_matrices=False)
    emitted = torch.einsum("bij,bj->bi", Vh, model(torch.cat([A, b], dim=-1)).detach())
    expected = spectral.answered(layers, s.square()) * torch.einsum("bij,bj->bi", Vh, x)
    torch.testing.assert_close(emitted, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "layers", [[FIRST] + 9 * [NEWTON_SCHULZ], [FIRST, MIXED] + 6 * [NEWTON_SCHULZ], [FIRST, MIXED]]
)
def test_a_bound_holds_and_is_near(layers: list[Layer]) -> None:
    bound = spectral.prove(layers, 0.2, 1.0)
    with mpmath.workdps(60):
        seen = mpmath.mpf(0)
        for k in range(3001):
            eigenvalue = mpmath.mpf(0.2) ** 2 + (1 - mpmath.mpf(0.2) ** 2) * k / 3000
            s = mpmath.mpf(0)
            for layer in layers:
                s = (
                    (layer.m_a + layer.aaa * eigenvalue) * eigenvalue
                    + (layer.m_x + layer.aax * eigenvalue) * s
                    + layer.axx * s**2
                    + layer.xxx * s**3 / eigenvalue
                )
            seen = max(seen, abs(1 - s))
        assert seen <= bound.error <= 1.5 * seen


def test_newton_schulz_squares_its_error() -> None:
    """1 − λ q(λ) of k plain steps from 2a − a(a·a) is (1 − λ)^(2^(k+1)), largest at the smallest λ."""
    bound = spectral.prove([FIRST] + 5 * [NEWTON_SCHULZ], 0.5, 1.0, tightness=1.0001)
    assert bound.error == pytest.approx((1 - 0.25) ** 64, rel=0.05)
    assert bound.error >= (1 - 0.25) ** 64


def test_a_bound_is_rounded_up() -> None:
    """One step at one singular value: (1 − λ)², a rational number."""
    for k in range(1, 200):
        sigma = k / 200
        assert Fraction(spectral.prove([FIRST], sigma, sigma).error) >= (1 - Fraction(sigma) ** 2) ** 2


def test_a_weight_that_is_off_by_a_thousandth_is_seen() -> None:
    layers = [FIRST] + 9 * [NEWTON_SCHULZ]
    spoilt = [*layers[:-1], replace(NEWTON_SCHULZ, m_x=2.0 + 2**-10)]
    assert spectral.prove(layers, 0.2, 1.0).error < 1e-8
    assert spectral.prove(spoilt, 0.2, 1.0).error >= 2**-10


def test_outside_its_interval_a_model_is_not_excused() -> None:
    layers = [FIRST] + 9 * [NEWTON_SCHULZ]
    assert spectral.prove(layers, 0.2, 1.5).error > 1e3


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1.0, 0.5), (0.5, math.inf)])
def test_an_empty_interval_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="smallest"):
        spectral.prove([FIRST], low, high)


def test_another_model_is_refused() -> None:
    model = model_of([FIRST], 3)
    with torch.no_grad():
        model.emit_mix[0] = 1.0
    with pytest.raises(ValueError, match="two channels"):
        spectral.layers_of(model)


@pytest.mark.parametrize(("name", "low", "high", "stated"), SHIPPED)
def test_what_is_stated_of_a_shipped_model_is_proved(name: str, low: float, high: float, stated: float) -> None:
    model = precisionlab.load(f"equivariant-attention/{name}").model
    assert isinstance(model, EquivariantStack)
    error = spectral.prove(spectral.layers_of(model), low, high).error
    assert error <= 1e-16
    assert f"{error:.1e}" == f"{stated:.1e}"
    assert f"`equivariant-attention/{name}`" in DOCUMENT
    assert f"| {stated:.1e} |" in DOCUMENT


def test_a_shipped_model_is_proved_no_further_than_it_goes() -> None:
    model = precisionlab.load("equivariant-attention/end-to-end-1e5").model
    assert isinstance(model, EquivariantStack)
    assert spectral.prove(spectral.layers_of(model), 1 / 2e6, 1.0).error > 0.5
