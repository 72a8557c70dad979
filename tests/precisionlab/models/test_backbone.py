"""The backbone around every mixer: its layers and switches one after another, positions, and where it starts."""

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from precisionlab.models import Backbone, LinearAttention, Mixer, ModelConfig, Shape, SoftmaxAttention

from .cases import FEW, WIDTH

EPS = torch.finfo(torch.float64).eps
SWITCHES: dict[str, dict[str, object]] = {
    "plain": {},
    "perceptrons": {"mlp": 2},
    "LayerNorm": {"layer_norm": True},
    "no residual": {"residual": False},
    "all three": {"mlp": 3, "layer_norm": True, "residual": False},
    "perceptrons and LayerNorm": {"mlp": 3, "layer_norm": True},
}


def backbone(
    dtype: torch.dtype = torch.float64, seed: int = 0, every_token: bool = False, **settings: object
) -> Backbone:
    config = ModelConfig(**{"mixer": LinearAttention(heads=2), "width": WIDTH, "layers": 2, **settings})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    shape = Shape(in_features=4, out_features=3, tokens=7, every_token=every_token)
    return Backbone(config, shape, dtype=dtype, generator=generator)


def of_form(form: Mixer, **settings: object) -> Backbone:
    reads = "last" if getattr(form, "causal", False) else "first"
    return backbone(**{"mixer": form, "reads": reads, **settings})  # type: ignore[arg-type]


def prompts(tokens: int = 7) -> torch.Tensor:
    return torch.randn(5, tokens, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(model: Backbone, prompt: torch.Tensor) -> torch.Tensor:
    """Every token through every layer, and the answer taken at the end."""
    config, tokens = model.config, prompt.shape[1]
    norms = iter(model.norms)

    def normed(u: torch.Tensor) -> torch.Tensor:
        if not config.layer_norm:
            return u
        norm = next(norms)
        assert isinstance(norm, nn.LayerNorm)
        return layer_norm(u, (config.width,), norm.weight, norm.bias, norm.eps)

    types = [0] + [1] * (tokens - 1)
    if config.reads == "last" and not model.shape.every_token:
        types[-1] = 2
    places = {"token-type": types, "learned": list(range(tokens)), "none": []}[config.positions]
    x = prompt @ model.read_in.weight.mT + model.read_in.bias
    x = x + model.positions[places] if places else x
    for layer, mixer in enumerate(model.mixers):
        mixed = mixer(normed(x))
        x = x + mixed if config.residual else mixed
        if config.mlp:
            inner, _, outer = model.perceptrons[layer]  # type: ignore[misc]
            hidden = outer(gelu(inner(normed(x))))
            x = x + hidden if config.residual else hidden
    emitted: torch.Tensor = model.read_out(normed(x))
    return emitted if model.shape.every_token else {"first": emitted[:, 0], "last": emitted[:, -1]}[config.reads]


def same(model: Backbone, one: torch.Tensor, other: torch.Tensor) -> bool:
    # Two orders of the same sums: a few roundings a layer, of terms that the answer and the weights bound.
    size = 1 + other.abs().max()
    return bool((one - other).abs().max() <= 64 * model.config.width * EPS * size)


@pytest.mark.parametrize("switches", list(SWITCHES))
@pytest.mark.parametrize("name", list(FEW))
def test_layers_follow_one_another_as_the_switches_say(name: str, switches: str) -> None:
    model = of_form(FEW[name], **SWITCHES[switches])
    assert same(model, model(prompts()), by_hand(model, prompts()))


@pytest.mark.parametrize("switches", [name for name in SWITCHES if name != "plain"])
def test_a_switch_changes_what_is_emitted(switches: str) -> None:
    plain, switched = backbone(), backbone(**SWITCHES[switches])
    assert not same(plain, plain(prompts()), switched(prompts()))


@pytest.mark.parametrize("reads", ["first", "last", "all"])
@pytest.mark.parametrize("positions", ["token-type", "learned", "none"])
def test_any_token_may_be_read(reads: str, positions: str) -> None:
    every = {"every_token": True} if reads == "all" else {"reads": reads}
    model = backbone(positions=positions, **every)  # type: ignore[arg-type]
    assert model(prompts()).shape == ((5, 7, 3) if reads == "all" else (5, 3))
    assert same(model, model(prompts()), by_hand(model, prompts()))


@pytest.mark.parametrize(("reads", "kept"), [("first", [0]), ("last", [0, 6])])
@pytest.mark.parametrize("mixer", [LinearAttention(heads=2), SoftmaxAttention(heads=2)])
def test_with_token_types_the_order_of_the_rows_does_not_matter(mixer: Mixer, reads: str, kept: list[int]) -> None:
    model, prompt = backbone(mixer=mixer, reads=reads), prompts()
    rows = [place for place in range(7) if place not in kept]
    order = torch.arange(7)
    order[rows] = torch.tensor(rows)[torch.randperm(len(rows))]
    assert same(model, model(prompt), model(prompt[:, order]))
    order = torch.arange(7)
    order[[kept[-1], 3]] = torch.tensor([3, kept[-1]])
    assert not same(model, model(prompt), model(prompt[:, order]))


@pytest.mark.parametrize("tokens", [3, 12])
@pytest.mark.parametrize("name", list(FEW))
def test_with_token_types_any_number_of_tokens_will_do(name: str, tokens: int) -> None:
    model = of_form(FEW[name])
    assert same(model, model(prompts(tokens)), by_hand(model, prompts(tokens)))


def test_learned_positions_fix_the_number_of_tokens() -> None:
    with pytest.raises(ValueError, match="got 8 tokens, want 7"):
        backbone(positions="learned")(torch.zeros(1, 8, 4, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(7, 4), (1, 7, 5), (1, 1, 7, 4)])
def test_a_prompt_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"want \(batch, tokens, 4\)"):
        backbone()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("name", list(FEW))
def test_a_seed_is_the_same_start_in_both_dtypes(name: str) -> None:
    single, double = of_form(FEW[name], dtype=torch.float32), of_form(FEW[name], dtype=torch.float64)
    other = of_form(FEW[name], seed=1)
    pairs = list(zip(single.named_parameters(), double.parameters(), other.parameters(), strict=True))
    assert pairs
    for (key, one), two, three in pairs:
        assert one.dtype == torch.float32
        assert torch.equal(one, two.float()), key
        if not key.endswith("bias"):
            assert not torch.equal(two, three), key
