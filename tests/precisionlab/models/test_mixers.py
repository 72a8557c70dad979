"""Every mixer against its formula, and what every mixer promises the backbone."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev, vmap

from precisionlab.config import kind_of
from precisionlab.models import MIXERS, Backbone, GatedConvolution, LinearAttention, Mixer, ModelConfig, Shape
from precisionlab.models.filters import ImplicitTaps, convolve_by_fft, convolve_directly

from .cases import CAUSAL, FEW, FORMS, TOKENS, WIDTH
from .formulas import by_the_formula, sizes

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
ROUNDINGS = 4 * (TOKENS + 3 * WIDTH)
"""Three sums over features and one over tokens, or a transform of as many butterflies, with room for its constant."""


def made(form: Mixer, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """A mixer all of whose weights and biases are random."""
    generator = torch.Generator().manual_seed(seed)
    mixer = form.build(width=WIDTH, tokens=TOKENS).to(dtype)
    with torch.no_grad():
        for parameter in mixer.parameters():
            draw = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            parameter.copy_(draw / parameter.shape[-1] ** 0.5)
    return mixer.requires_grad_(False)


def tokens_of(dtype: torch.dtype, length: int = TOKENS, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, WIDTH, dtype=torch.float64, generator=generator).to(dtype)


def allowed(mixer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return ROUNDINGS * U[tokens.dtype] * sizes(mixer, tokens)


def test_the_cases_are_of_every_mixer() -> None:
    layers = {kind for kind in MIXERS.kinds() if not hasattr(MIXERS.get(kind), "backbone")}  # others are whole models
    assert {kind_of(form) for form in FORMS.values()} == layers == {kind_of(form) for form in FEW.values()}


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("length", [1, TOKENS])
def test_a_mixer_is_its_formula(name: str, dtype: torch.dtype, length: int) -> None:
    mixer, tokens = made(FORMS[name], dtype), tokens_of(dtype, length)
    expected = by_the_formula(deepcopy(mixer).double(), tokens.double())
    assert ((mixer(tokens).double() - expected).abs() <= allowed(mixer, tokens)).all()


@pytest.mark.parametrize("name", list(FORMS))
def test_a_wrong_product_is_seen(name: str) -> None:
    mixer, tokens = made(FORMS[name], torch.float64), tokens_of(torch.float64)
    changed = tokens.clone()
    changed[:, -1] *= 1 + 2.0**-30
    difference = (mixer(changed) - mixer(tokens)).abs()
    assert (difference > allowed(mixer, tokens)).any()


@pytest.mark.parametrize("dtype", list(U))
@given(
    length=st.integers(1, 40),
    lags=st.integers(1, 60),
    past=st.floats(0, 1),
    scale=st.integers(-10, 10),
    seed=st.integers(0, 2**31),
)
def test_the_fft_gives_the_sums(dtype: torch.dtype, length: int, lags: int, past: float, scale: int, seed: int) -> None:
    generator, first = torch.Generator().manual_seed(seed), -int(past * (lags - 1))
    taps = torch.randn(3, lags, generator=generator).to(dtype)
    u = 10.0**scale * torch.randn(2, length, 3, generator=generator).to(dtype)
    direct, fast = (convolve(taps, u, first) for convolve in (convolve_directly, convolve_by_fft))
    # Relative to the norms of both factors, with a constant of a few per butterfly; the sums round less than that.
    butterflies = (length + lags).bit_length()
    bound = 8 * butterflies * U[dtype] * taps.norm(dim=1) * u.norm(dim=1, keepdim=True)
    sums = min(length, lags) * U[dtype] * taps.norm(dim=1) * u.norm(dim=1, keepdim=True)
    assert fast.shape == direct.shape == u.shape
    assert ((fast - direct).abs() <= bound + sums).all()
    readers = slice(length // 2, None)
    assert torch.equal(convolve_by_fft(taps, u, first, readers), fast[:, readers])


def test_implicit_taps_are_their_formula() -> None:
    width, lags, first, bands = 3, 9, -4, 8
    taps = ImplicitTaps(width, lags, first, bands=bands).double()
    K = lags + first
    for place, emitted in enumerate(taps().mT):
        k = torch.tensor((first + place) / K, dtype=torch.float64)
        turns = 2 * torch.pi * k * torch.arange(1, bands + 1, dtype=torch.float64)
        phi = torch.cat([k[None], turns.cos(), turns.sin()])
        hidden = (taps.inner.weight @ phi + taps.inner.bias).sin()
        window = torch.exp(-torch.linspace(0, 4, width, dtype=torch.float64) * k.abs())
        size = window * (taps.outer.weight.abs().sum(dim=1))
        # An angle of 2π·bands rounds by that many units, and passes through W₁ on its way to the sine.
        amplification = 2 * torch.pi * bands * taps.inner.weight.abs().sum(dim=1).max() + 4 * bands
        bound = amplification * U[torch.float64] * size
        assert ((emitted - window * (taps.outer.weight @ hidden)).abs() <= bound).all()


@pytest.mark.parametrize("name", list(CAUSAL))
def test_a_causal_token_does_not_see_the_future(name: str) -> None:
    mixer, tokens, seen = made(CAUSAL[name], torch.float64), tokens_of(torch.float64), 4
    changed = tokens.clone()
    changed[:, seen:] += 1
    before, after = mixer(tokens), mixer(changed)
    # An FFT spreads the rounding of all tokens; nothing else may differ by a bit.
    rounding = (
        allowed(mixer, torch.cat([tokens, changed], dim=1))
        if getattr(CAUSAL[name], "filter", "short") != "short"
        else 0.0
    )
    assert ((before - after)[:, :seen].abs() <= rounding).all()
    assert ((before - after)[:, seen:].abs().amax(dim=-1) > 2.0**-30).all()


@pytest.mark.parametrize("name", [name for name, form in CAUSAL.items() if getattr(form, "prefix", 0)])
def test_all_see_the_prefix(name: str) -> None:
    mixer, tokens, prefix = made(CAUSAL[name], torch.float64), tokens_of(torch.float64), CAUSAL[name].prefix
    changed = tokens.clone()
    changed[:, prefix - 1] += 1
    moved = (mixer(tokens) - mixer(changed)).abs().amax(dim=(0, 2))
    assert (moved > 2.0**-30).all()
    changed = tokens.clone()
    changed[:, prefix] += 1
    assert torch.equal(mixer(tokens)[:, :prefix], mixer(changed)[:, :prefix])


@pytest.mark.parametrize("name", list(FORMS))
@pytest.mark.parametrize("readers", [slice(0, 1), slice(-1, None), slice(3, None)])
def test_fewer_readers_read_the_same(name: str, readers: slice) -> None:
    mixer, tokens = made(FORMS[name], torch.float64), tokens_of(torch.float64)
    assert ((mixer(tokens, readers) - mixer(tokens)[:, readers]).abs() <= allowed(mixer, tokens)).all()


@pytest.mark.parametrize("name", list(FEW))
def test_jacobians_can_be_had_for_a_batch(name: str) -> None:
    mixer, tokens = made(FEW[name], torch.float64), tokens_of(torch.float64)
    parameters = dict(mixer.named_parameters())

    def emitted(parameters: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = functional_call(mixer, parameters, (one.unsqueeze(0), slice(-1, None)))
        return y.sum(dim=-1).flatten()

    batched = vmap(jacrev(emitted), (None, 0))(parameters, tokens)
    for place, one in enumerate(tokens):
        for key, parameter in parameters.items():
            direction = torch.randn_like(parameter)
            step = 2.0**-20
            ends = [emitted({**parameters, key: parameter + sign * step * direction}, one) for sign in (1, -1)]
            slope = (ends[0] - ends[1]) / (2 * step)
            along = (batched[key][place] * direction).sum()
            # A central difference is off by step² times the third derivative, and by rounding over step.
            size = (1 + direction.norm()) ** 3 * sizes(mixer, tokens).sum()
            assert (slope - along).abs() <= (step**2 + ROUNDINGS * U[torch.float64] / step) * size


@pytest.mark.parametrize("name", ["gated-convolution", "linear-atention"])
def test_an_unknown_mixer_is_one_line_with_the_likely_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown mixer .*: did you mean '") as caught:
        MIXERS.get(name)
    assert "\n" not in str(caught.value)
    assert all(known in str(caught.value) for known in MIXERS.kinds())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GatedConvolution(prefix=2), "GatedConvolution: prefix: unknown setting; known: causal"),  # type: ignore[call-arg]
        (lambda: LinearAttention(prefix=2), "not causal"),
        (lambda: backbone(ModelConfig(mixer=LinearAttention(causal=True))), "set reads = 'last'"),
        (
            lambda: backbone(ModelConfig(mixer=LinearAttention(heads=2), width=9)),
            "heads must divide width, got heads=2",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def backbone(config: ModelConfig) -> Backbone:
    return Backbone(config, Shape(in_features=2, out_features=1, tokens=TOKENS))
