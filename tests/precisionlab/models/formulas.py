"""What mixers stand for, one product at a time, and how large the products are."""

from copy import deepcopy

import torch
from torch import nn

from precisionlab.models.gated_convolution import GatedConvolutionLayer
from precisionlab.models.linear_attention import LinearAttentionLayer
from precisionlab.models.mesa import MesaLayer
from precisionlab.models.softmax_attention import SoftmaxAttentionLayer


def by_the_formula(mixer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Mix (B, T, w) by loops over tokens and features."""
    if isinstance(mixer, GatedConvolutionLayer):
        return _convolution(mixer, tokens)
    if isinstance(mixer, MesaLayer):
        y: torch.Tensor = mixer.out(_mesa(mixer, tokens)[0])
        return y
    assert isinstance(mixer, LinearAttentionLayer | SoftmaxAttentionLayer)
    return _attention(mixer, tokens)


def sizes(mixer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Bounds on the sums of absolute products, of which a rounding error is a multiple: (B, 1, w).

    Convolution by FFT rounds relative to all of a feature, and softmax to its largest value and largest score; so the
    largest over the tokens is taken everywhere.
    """
    u = tokens.abs().amax(dim=1, keepdim=True)
    if isinstance(mixer, GatedConvolutionLayer):
        value, out = (matrix if isinstance(matrix, nn.Linear) else None for matrix in (mixer.value, mixer.out))
        taps = mixer.taps().abs().sum(dim=-1)
        mixed = _size(mixer.gate, u) * (_size(value, u) * taps + mixer.bias.abs())
        return _size(out, mixed)
    if isinstance(mixer, MesaLayer):
        return _size(deepcopy(mixer.out).double(), _mesa(mixer, tokens)[1].amax(dim=1, keepdim=True))
    assert isinstance(mixer, LinearAttentionLayer | SoftmaxAttentionLayer)
    q, k, v = (part.unflatten(-1, (mixer.settings.heads, -1)) for part in _size(mixer.qkv, u).chunk(3, dim=-1))
    scores = (q * k).sum(dim=-1, keepdim=True)
    if isinstance(mixer, LinearAttentionLayer):
        mixed = scores * v * (tokens.shape[1] if mixer.settings.normalise == "none" else 1)
    else:
        mixed = (1 + 2 * scores) * v  # an error of δ in a score is one of 2δ in a weight, relative
    return _size(mixer.out, mixed.flatten(-2))


def _size(linear: nn.Linear | None, u: torch.Tensor) -> torch.Tensor:
    if linear is None:
        return u
    size = u @ linear.weight.abs().mT
    return size if linear.bias is None else size + linear.bias.abs()


def _convolution(mixer: GatedConvolutionLayer, tokens: torch.Tensor) -> torch.Tensor:
    _, length, _ = tokens.shape
    h, value, gate = mixer.taps(), mixer.value(tokens), mixer.gate(tokens)
    first = mixer.first
    products = torch.zeros_like(tokens)
    for t in range(length):
        filtered = mixer.bias.clone()
        for place in range(h.shape[1]):
            source = t - (first + place)
            if 0 <= source < length:
                filtered = filtered + h[:, place] * value[:, source]
        products[:, t] = gate[:, t] * filtered
    y: torch.Tensor = mixer.out(products)
    return y


def _attention(mixer: LinearAttentionLayer | SoftmaxAttentionLayer, tokens: torch.Tensor) -> torch.Tensor:
    _, length, width = tokens.shape
    q, k, v = mixer.qkv(tokens).chunk(3, dim=-1)
    size = width // mixer.settings.heads
    mixed = torch.zeros_like(tokens)
    for t in range(length):
        seen = [s for s in range(length) if not mixer.settings.causal or s <= t or s < mixer.settings.prefix]
        for head in range(mixer.settings.heads):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([(q[:, t, part] * k[:, s, part]).sum(-1) for s in seen], dim=-1)
            if isinstance(mixer, SoftmaxAttentionLayer):
                powers = (scores / size**0.5 - scores.amax(-1, keepdim=True) / size**0.5).exp()
                weights = powers / powers.sum(-1, keepdim=True)
            else:
                weights = scores / length if mixer.settings.normalise == "length" else scores
            for place, s in enumerate(seen):
                mixed[:, t, part] += weights[:, place, None] * v[:, s, part]
    y: torch.Tensor = mixer.out(mixed)
    return y


def _mesa(mixer: MesaLayer, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the heads emit, (B, T, w), and how much of a relative change of what they are given it can feel."""
    mixer, tokens = deepcopy(mixer).double(), tokens.double()
    settings, (_, length, width) = mixer.settings, tokens.shape
    size = width // settings.heads
    q, k, v = mixer.qkv(tokens).chunk(3, dim=-1)
    cancelled = _size(mixer.qkv, tokens.abs()).norm() / min(q.norm(), k.norm(), v.norm())
    mixed, felt = torch.zeros_like(tokens), torch.zeros_like(tokens)
    for head in range(settings.heads):
        part = slice(head * size, (head + 1) * size)
        ridge = torch.diag(settings.floor + (1 + mixer.ridge[head].exp()).log())
        H, G = torch.zeros(2, len(tokens), size, size, dtype=torch.float64)
        for t in range(length):
            decay, strength = 1.0, 1.0
            if mixer.gates is not None:
                gates = mixer.gates(tokens[:, t])
                decay = 1 / (1 + (-4 - gates[:, head]).exp())[:, None, None]
                strength = 1 / (1 + (-gates[:, settings.heads + head]).exp())[:, None, None]
            H = decay * H + strength * k[:, t, part, None] * k[:, t, None, part]
            G = decay * G + strength * k[:, t, part, None] * v[:, t, None, part]
            inverse = torch.linalg.inv(H + ridge)
            y = inverse @ q[:, t, part, None]
            mixed[:, t, part] = (G.mT @ y).squeeze(-1)
            # of v and G; of q, H and λ, through (H + Λ)⁻¹
            g, h, gh, y_size = (part.norm(dim=(-2, -1)) for part in (G, H, G.mT @ inverse, y))
            felt[:, t, part] = (g * y_size + gh * (1 + (h + ridge.norm()) * y_size))[:, None]
    return mixed, felt * (1 + cancelled)
