"""Equivariant attention is its formula, turns with its coordinates, and has one set of weights for every size."""

from collections.abc import Iterator

import pytest
import torch

import precisionlab
from precisionlab.models import EquivariantAttention, EquivariantStack, ModelConfig, Shape, build
from precisionlab.tasks import LeastSquares
from precisionlab.tasks.accuracy import exact
from solvers import errors

U = torch.finfo(torch.float64).eps / 2


@pytest.fixture(autouse=True)
def _no_graph() -> Iterator[None]:
    with torch.no_grad():
        yield


def stack(
    n: int = 3, *, layers: int = 3, channels: int = 3, positions: str = "none", **mixer: object
) -> EquivariantStack:
    numbers = int(mixer.get("numbers", 1))
    model = build(
        ModelConfig(mixer=EquivariantAttention(**mixer), width=channels, layers=layers, positions=positions),
        Shape(in_features=(1 if numbers else 2) * n + numbers, out_features=n, tokens=6, every_token=not numbers),
        generator=torch.Generator().manual_seed(1),
    )
    assert isinstance(model, EquivariantStack)
    return model


def by_sums(model: EquivariantStack, prompt: torch.Tensor) -> torch.Tensor:
    """The formula at the top of the module, token by token."""
    n = prompt.shape[-1] - 1
    a, b = prompt[..., :n], prompt[..., n]
    rows = a.shape[1]
    tokens = [a, *(torch.zeros_like(a) for _ in range(model.own))]

    def layer(mix: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        out = sum((m * token for m, token in zip(mix, tokens, strict=True)), torch.zeros_like(a))
        for weight, (key, value, query) in zip(attention, model.products, strict=True):
            for i in range(rows):
                score = (tokens[key][:, i : i + 1] * tokens[query]).sum(dim=-1, keepdim=True)
                out = out + weight * tokens[value][:, i : i + 1] * score / rows
        return out

    for mix, attention in zip(model.mix, model.attention, strict=True):
        tokens = [a, *(layer(m, t) for m, t in zip(mix, attention, strict=True))]
    answer = layer(model.emit_mix, model.emit_attention)[:, 0]
    read = sum(r * (token * b.unsqueeze(-1)).sum(dim=1) for r, token in zip(model.emit_read, tokens, strict=True))
    return answer + read / rows


@pytest.mark.parametrize("ordered", [False, True])
def test_it_is_its_formula(ordered: bool, generator: torch.Generator) -> None:
    model = stack(ordered=ordered)
    prompt = torch.randn(5, 6, 4, dtype=torch.float64, generator=generator)
    expected = by_sums(model, prompt)
    torch.testing.assert_close(model(prompt), expected, rtol=0, atol=1e5 * U * float(expected.abs().max()))


def test_a_rotation_of_coordinates_rotates_the_answer(generator: torch.Generator) -> None:
    model = stack()
    prompt = torch.randn(4, 6, 4, dtype=torch.float64, generator=generator)
    Q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))[0]
    turned = torch.cat([prompt[..., :3] @ Q, prompt[..., 3:]], dim=-1)
    expected = model(prompt) @ Q
    torch.testing.assert_close(model(turned), expected, rtol=0, atol=1e5 * U * float(expected.abs().max()))


def test_an_unknown_and_rows_of_zeros_change_nothing_but_the_mean(generator: torch.Generator) -> None:
    model = stack(mean=False)
    prompt = torch.randn(4, 6, 4, dtype=torch.float64, generator=generator)
    wide = torch.zeros(4, 9, 6, dtype=torch.float64)
    wide[:, :6, :3], wide[:, :6, 5] = prompt[..., :3], prompt[..., 3]
    expected = model(prompt)
    padded = torch.nn.functional.pad(expected, (0, 2))
    torch.testing.assert_close(model(wide), padded, rtol=0, atol=1e5 * U * float(expected.abs().max()))


def test_token_types_keep_the_first_token_apart(generator: torch.Generator) -> None:
    model = stack(channels=2, layers=1, positions="token-type")
    prompt = torch.randn(1, 6, 4, dtype=torch.float64, generator=generator)
    tokens, _ = model.read(prompt)
    assert not tokens[0, :, 0].any()
    assert not tokens[1, :, 1:].any()
    assert torch.equal(tokens[1, :, 0], prompt[:, 0, :3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mlp": 2}, "no perceptron"), ({"positions": "learned"}, "learned positions"), ({"looped": True}, "not looped")],
)
def test_what_it_has_not_is_refused(settings: dict[str, object], message: str) -> None:
    config = ModelConfig(**{"mixer": EquivariantAttention(), "width": 2, "positions": "none", **settings})
    with pytest.raises(ValueError, match=message):
        build(config, Shape(in_features=4, out_features=3, tokens=6), loops=2 if config.looped else 1)


def test_a_prompt_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="vectors"):
        build(ModelConfig(mixer=EquivariantAttention()), Shape(in_features=5, out_features=3, tokens=6))
    with pytest.raises(ValueError, match="channels"):
        stack(channels=1, positions="token-type")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_by_the_residual_the_answer_is_the_same_and_nearer(dtype: torch.dtype) -> None:
    task = LeastSquares(condition=5.0, spectrum="extremes")
    prompt = task.sample(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64).prompt.to(dtype)
    model = precisionlab.load("equivariant-attention/end-to-end").model.to(dtype)
    assert isinstance(model, EquivariantStack)
    answers = exact(task, prompt)
    plain, nearer = (
        float(errors.mse(emitted.double(), answers).mean()) for emitted in (model(prompt), model.by_residual(prompt))
    )
    # One rounding of x alone is u²/12 of its mean square, at best.
    assert (torch.finfo(dtype).eps / 2) ** 2 / 100 <= nearer <= plain / 2


def test_by_the_residual_wants_layers_of_that_form(generator: torch.Generator) -> None:
    model = stack(channels=2)
    prompt = torch.randn(2, 5, 4, dtype=torch.float64, generator=generator)
    with pytest.raises(ValueError, match="by_residual"):
        model.by_residual(prompt)
    shipped = precisionlab.load("equivariant-attention/end-to-end").model
    shipped.emit_mix[1] = 1e-16
    with pytest.raises(ValueError, match="by_residual"):
        shipped.by_residual(prompt)
