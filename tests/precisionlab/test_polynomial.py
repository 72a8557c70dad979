"""The polynomial of a model is the model; the shipped ones are Newton–Schulz's and nothing else."""

from dataclasses import replace

import pytest
import torch

import precisionlab
from precisionlab.models import Backbone, LinearAttention, ModelConfig, Shape, SoftmaxAttention
from precisionlab.models.polynomial import describe, extract

U = 2.0**-53
PLAIN = LinearAttention(normalise="none")
ONE_LAYER = {"mixer": PLAIN, "layers": 1, "positions": "none"}


def random_model(*, width: int = 8, heads: int = 1, n: int = 3) -> Backbone:
    config = ModelConfig(**{**ONE_LAYER, "mixer": replace(PLAIN, heads=heads), "width": width})
    model = Backbone(config, Shape(in_features=2 * n, out_features=n, tokens=4, every_token=True)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, dtype=torch.float64) / parameter.shape[-1] ** 0.5)
    return model.requires_grad_(False)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_polynomial_emits_what_the_model_emits(heads: int) -> None:
    model = random_model(heads=heads)
    tokens = torch.randn(5, 7, 6, dtype=torch.float64)
    expected = model(tokens)
    polynomial = extract(model)
    assert (polynomial(tokens) - expected).abs().max() <= 64 * 7 * 8 * U * expected.abs().max()
    # The same from the symmetric coefficients of its cubic part, which know no heads, keys or values.
    extended = torch.nn.functional.pad(tokens, (0, 1), value=1.0)
    cubic = torch.einsum("efgh,bif,big,bjh->bje", polynomial.cubic(), extended, extended, extended)
    emitted = polynomial.constant + tokens @ polynomial.linear.mT + cubic
    assert (emitted - expected).abs().max() <= 64 * 7 * 8 * U * expected.abs().max()


def test_coefficients_are_rounded_once() -> None:
    """A coefficient that cancels to far below u is still right: two equal and opposite paths, one off by 2⁻⁸⁰."""
    model = random_model(width=2, n=1)
    for parameter in model.parameters():
        parameter.zero_()
    model.read_in.weight[:, 0] = torch.tensor([1 + 2.0**-40, 1.0], dtype=torch.float64)
    model.read_out.weight[0] = torch.tensor([1 - 2.0**-40, -1.0], dtype=torch.float64)
    assert extract(model).linear[0, 0] == -(2.0**-80)


@pytest.mark.parametrize(
    "changed",
    [
        {"layers": 2},
        {"positions": "token-type"},
        {"mlp": 1},
        {"layer_norm": True},
        {"residual": False},
        {"mixer": LinearAttention()},
        {"mixer": replace(PLAIN, causal=True)},
        {"mixer": SoftmaxAttention()},
        {},
    ],
    ids=str,
)
def test_other_models_are_refused(changed: dict[str, object]) -> None:
    shape = Shape(in_features=4, out_features=2, tokens=4, every_token=bool(changed))
    model = Backbone(ModelConfig(**{**ONE_LAYER, **changed}), shape)
    with pytest.raises(ValueError, match="model: want one layer of linear attention that answers at every token"):
        extract(model)


@pytest.mark.parametrize(("name", "n", "others"), [("newton-schulz", 5, 6710), ("newton-schulz-16", 16, 575_520)])
def test_the_shipped_algorithm_is_newton_schulz(name: str, n: int, others: int, capsys) -> None:
    model = precisionlab.load(f"linear-attention/{name}").model
    with capsys.disabled():
        print(f"\n{name}: {describe(model)}")
    formula, rest = describe(model).splitlines()
    assert formula.startswith("x_j ← (2 ± ")
    assert formula.endswith(" Σ_i x_i (a_i · x_j)")
    assert rest == f"of {others:,} other coefficients: all are exactly zero"
    polynomial = extract(model)
    assert (polynomial.linear[:, n:].diagonal() - 2).abs().max() <= 16 * U
    every = torch.arange(n)
    cubic = 2 * polynomial.cubic()[every[:, None], n + every[:, None], every[None, :], n + every[None, :]]
    assert (cubic + 1).abs().max() <= 16 * U


def test_what_else_a_model_does_is_said() -> None:
    model = precisionlab.load("linear-attention/newton-schulz").model
    model.read_out.bias[2] = 3e-15
    assert describe(model).endswith("of 6,710 other coefficients: 1 are not zero, the largest is 3.0e-15")
