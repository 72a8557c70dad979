"""Linear attention against the sums it stands for, and the backbone around it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.models import Backbone, LinearAttention, ModelConfig

DTYPES = [torch.float32, torch.float64]


def by_the_formula(mixer: LinearAttention, tokens: torch.Tensor) -> torch.Tensor:
    """y_t = W_O concat_h (1/T) Σ_s (q_t · k_s) v_s, one product at a time."""
    _, length, width = tokens.shape
    q, k, v = mixer.qkv(tokens).chunk(3, dim=-1)
    size = width // mixer.heads
    mixed = torch.zeros_like(tokens)
    for t in range(length):
        for s in range(t + 1 if mixer.causal else length):
            for head in range(mixer.heads):
                part = slice(head * size, (head + 1) * size)
                weight = (q[:, t, part] * k[:, s, part]).sum(-1, keepdim=True)
                mixed[:, t, part] += weight * v[:, s, part] / length
    y: torch.Tensor = mixer.out(mixed)
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("causal", [False, True])
@given(length=st.integers(1, 7), heads=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2**31))
def test_the_mixer_is_its_formula(dtype: torch.dtype, causal: bool, length: int, heads: int, seed: int) -> None:
    torch.manual_seed(seed)
    mixer = LinearAttention(8, heads=heads, causal=causal).to(dtype)
    tokens = torch.randn(3, length, 8, dtype=dtype)
    expected = by_the_formula(mixer, tokens)
    # Each entry sums length · width products of three factors, through two more matrices.
    bound = 8 * length * 8 * torch.finfo(dtype).eps * (1 + expected.abs().max())
    assert (mixer(tokens) - expected).abs().max() <= bound


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("readers", [slice(None), slice(-1, None), slice(3, None)])
def test_fewer_readers_read_the_same(causal: bool, readers: slice) -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(8, heads=2, causal=causal).double()
    tokens = torch.randn(2, 6, 8, dtype=torch.float64)
    whole = mixer(tokens)[:, readers]
    assert (mixer(tokens, readers) - whole).abs().max() <= 64 * torch.finfo(torch.float64).eps * whole.abs().max()


def test_a_causal_token_does_not_see_the_future() -> None:
    torch.manual_seed(0)
    mixer = LinearAttention(8, heads=2, causal=True).double()
    tokens = torch.randn(2, 6, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 4:] += 1
    assert torch.equal(mixer(tokens)[:, :4], mixer(changed)[:, :4])
    assert not torch.equal(mixer(tokens)[:, 4:], mixer(changed)[:, 4:])


def backbone(seed: int = 0, dtype: torch.dtype = torch.float64, tokens: int = 7, **settings: object) -> Backbone:
    config = ModelConfig(**{"width": 8, "layers": 2, "heads": 2, **settings})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    return Backbone(config, in_features=4, out_features=3, tokens=tokens, dtype=dtype, generator=generator)


def test_with_token_types_the_order_of_the_rows_does_not_matter() -> None:
    model, prompt = backbone(), torch.randn(5, 7, 4, dtype=torch.float64)
    order = torch.cat([torch.tensor([0]), 1 + torch.randperm(6)])
    difference = model(prompt) - model(prompt[:, order])
    assert difference.abs().max() <= 64 * torch.finfo(torch.float64).eps * model(prompt).abs().max()


def test_learned_positions_fix_the_number_of_tokens() -> None:
    model = backbone(positions="learned")
    with pytest.raises(ValueError, match="got 8 tokens, want 7"):
        model(torch.zeros(1, 8, 4, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(7, 4), (1, 7, 5), (1, 1, 7, 4)])
def test_a_prompt_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="want \\(batch, tokens, 4\\)"):
        backbone()(torch.zeros(shape, dtype=torch.float64))


def test_a_seed_is_the_same_start_in_both_dtypes() -> None:
    single, double = backbone(3, torch.float32), backbone(3, torch.float64)
    for one, two in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(one, two.float())
