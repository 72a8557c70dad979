"""Gated convolution (BaseConv), forward and backward: y = gate ⊙ (filter ∗ u + bias), feature by feature.

    (filter ∗ u)_t = Σ_k filter_k ⊙ u_(t−first−k),     k = 0 … taps − 1, u zero outside the sequence

With first = 0 the filter reaches only into the past, with first = 1 − T and 2 T − 1 taps over the whole sequence. For
the lengths that fit in cache the direct sum beats an FFT, and rounds less.
"""

import torch

from solvers.fused import chosen, fresh, launch, module, plain

MAX_TOKENS = 256
"""Tokens beyond which an FFT costs less than the direct sum."""


@torch.library.custom_op("precisionlab::gated_convolution", mutates_args=(), device_types=("cpu", "cuda"))
def gated_convolution(
    u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int
) -> torch.Tensor:
    """Gated convolution.

    Args:
        u: inputs, (B, L, w), float64.
        gate: what multiplies the convolution, (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).
        first: the lag of the first tap, 0 or negative.

    Returns:
        (B, L, w).
    """
    y = fresh(u, *u.shape)
    launch("convolution", plain(u), plain(gate), plain(weights), plain(bias), first, y)
    return y


@torch.library.custom_op("precisionlab::gated_convolution_backward", mutates_args=(), device_types=("cpu", "cuda"))
def gated_convolution_backward(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of the gated convolution.

    Args:
        dy: gradient of the output, (B, L, w).
        u: inputs, (B, L, w).
        gate: (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).
        first: the lag of the first tap.

    Returns:
        Those of u, gate, weights and bias.
    """
    du, dgate = fresh(u, *u.shape), fresh(u, *u.shape)
    sums = u.new_empty(weights.shape[0] + 1, weights.shape[1])
    partials = fresh(u, -(-u.shape[0] // module().CONVOLUTION_CHUNK), *sums.shape)
    inputs = plain(u), plain(gate), plain(weights), plain(bias), first, plain(dy)
    launch("convolution_backward", *inputs, du, dgate, partials, sums)
    return du, dgate, sums[:-1].clone(), sums[-1].clone()


@gated_convolution.register_fake
def _(u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int) -> torch.Tensor:
    del gate, weights, bias, first
    return u.new_empty(u.shape)


@gated_convolution_backward.register_fake
def _(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    del dy, gate, first
    return u.new_empty(u.shape), u.new_empty(u.shape), weights.new_empty(weights.shape), bias.new_empty(bias.shape)


def _toeplitz(weights: torch.Tensor, tokens: int, first: int) -> torch.Tensor:
    """The filter (taps, w) as matrices, one a feature: entry (t, s) is weights[t − s − first], or 0 beyond its ends."""
    place = torch.arange(tokens, device=weights.device)
    index = place[:, None] - place - first
    inside = (index >= 0) & (index < len(weights))
    taps = weights[index.clamp(0, len(weights) - 1)] * inside[..., None]
    return taps.permute(2, 0, 1)


def gated_convolution_eager(
    u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int
) -> torch.Tensor:
    """The reference, in plain torch: a product with a Toeplitz matrix for each feature.

    Args:
        u: inputs, (B, L, w).
        gate: (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).
        first: the lag of the first tap.

    Returns:
        (B, L, w).
    """
    return gate * (torch.einsum("wts,bsw->btw", _toeplitz(weights, u.shape[1], first), u) + bias)


def _gated_convolution_backward_eager(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, first: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference of the backward pass, which can itself be differentiated."""
    matrices, dz, tokens = _toeplitz(weights, u.shape[1], first), dy * gate, u.shape[1]
    dgate = dy * (torch.einsum("wts,bsw->btw", matrices, u) + bias)
    du = torch.einsum("wts,btw->bsw", matrices, dz)

    def meeting(lag: int) -> torch.Tensor:  # Σ_t dz_t u_(t−lag)
        late, early = dz[:, max(lag, 0) : max(tokens + lag, 0)], u[:, max(-lag, 0) : max(tokens - lag, 0)]
        return (late * early).sum(dim=(0, 1))

    dweights = torch.stack([meeting(first + k) for k in range(len(weights))])
    return du, dgate, dweights, dz.sum(dim=(0, 1))


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:  # type: ignore[type-arg]
    del output
    ctx.save_for_backward(*inputs[:4])
    ctx.first = inputs[4]  # type: ignore[attr-defined]


def _backward(ctx: torch.autograd.function.FunctionCtx, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # A gradient of the gradient is wanted where a graph is being built here: that is for eager code.
    pass_back = _gated_convolution_backward_eager if torch.is_grad_enabled() else gated_convolution_backward
    u, gate, weights, bias = ctx.saved_tensors  # type: ignore[attr-defined]
    return (*pass_back(dy, u, gate, weights, bias, ctx.first), None)  # type: ignore[attr-defined]


gated_convolution.register_autograd(_backward, setup_context=_save)


def convolve(
    u: torch.Tensor,
    gate: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor,
    *,
    first: int = 0,
    backend: str = "auto",
) -> torch.Tensor:
    """Gated convolution.

    Args:
        u: inputs, (B, L, w).
        gate: what multiplies the convolution, (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).
        first: the lag of the first tap, 0 or negative; 0 makes the convolution causal.
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit. Under torch.func transforms "auto"
            is eager.

    Returns:
        (B, L, w).

    Raises:
        ValueError: if the first lag is positive.

    Cost:
        2 L taps w operations a sequence forward, 6 L taps w backward.

    Reference:
        Arora et al., Zoology, ICLR 2024, arXiv 2312.04927.
    """
    if first > 0:
        raise ValueError(f"first: got {first}, wants a lag of 0 or less")
    fits = backend == "fused" or u.shape[1] <= MAX_TOKENS
    gpu = "convolution", u.shape[1], weights.shape[0]
    if chosen(backend, u, gate, weights, bias, differentiable=True, gpu=gpu) and fits:
        out: torch.Tensor = gated_convolution(u, gate, weights, bias, first)
        return out
    return gated_convolution_eager(u, gate, weights, bias, first)
