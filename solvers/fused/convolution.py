"""Gated convolution (BaseConv), forward and backward: y = gate ⊙ (filter ∗ u + bias), causal, feature by feature.

    (filter ∗ u)_t = Σ_k filter_k ⊙ u_(t−k),     k = 0 … min(t, taps − 1)

The filter is as long as the sequence or shorter; for the lengths that fit in cache the direct sum beats an FFT, and
rounds less.
"""

import torch

from solvers.fused import chosen, module, plain, threads

MAX_TOKENS = 256
"""Tokens beyond which an FFT costs less than the direct sum."""


@torch.library.custom_op("precisionlab::gated_convolution", mutates_args=())
def gated_convolution(u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Gated convolution.

    Args:
        u: inputs, (B, L, w), float64 on the CPU.
        gate: what multiplies the convolution, (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).

    Returns:
        (B, L, w).
    """
    y = u.new_empty(u.shape)
    module().convolution(plain(u), plain(gate), plain(weights), plain(bias), y, threads())
    return y


@torch.library.custom_op("precisionlab::gated_convolution_backward", mutates_args=())
def gated_convolution_backward(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of the gated convolution.

    Args:
        dy: gradient of the output, (B, L, w).
        u: inputs, (B, L, w).
        gate: (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).

    Returns:
        Those of u, gate, weights and bias.
    """
    du, dgate = u.new_empty(u.shape), u.new_empty(u.shape)
    chunks = -(-u.shape[0] // module().CONVOLUTION_CHUNK)
    partials = u.new_empty(chunks, weights.shape[0] + 1, weights.shape[1])
    inputs = plain(u), plain(gate), plain(weights), plain(bias), plain(dy)
    module().convolution_backward(*inputs, du, dgate, partials, threads())
    # A chunk at a time: the order of the sum is then the same on any number of threads.
    sums = u.new_zeros(partials.shape[1:])
    for partial in partials:
        sums += partial
    return du, dgate, sums[:-1].clone(), sums[-1].clone()


@gated_convolution.register_fake
def _(u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    del gate, weights, bias
    return u.new_empty(u.shape)


@gated_convolution_backward.register_fake
def _(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    del dy, gate
    return u.new_empty(u.shape), u.new_empty(u.shape), weights.new_empty(weights.shape), bias.new_empty(bias.shape)


def _toeplitz(weights: torch.Tensor, tokens: int) -> torch.Tensor:
    """The filter as matrices, one a feature.

    Args:
        weights: (taps, w).
        tokens: L.

    Returns:
        (w, L, L), lower triangular: entry (t, s) is weights[t − s].
    """
    lag = torch.arange(tokens, device=weights.device)[:, None] - torch.arange(tokens, device=weights.device)
    inside = (lag >= 0) & (lag < len(weights))
    taps = weights[lag.clamp(0, len(weights) - 1)] * inside[..., None]
    return taps.permute(2, 0, 1)


def gated_convolution_eager(
    u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """The reference, in plain torch: a product with a Toeplitz matrix for each feature.

    Args:
        u: inputs, (B, L, w).
        gate: (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).

    Returns:
        (B, L, w).
    """
    return gate * (torch.einsum("wts,bsw->btw", _toeplitz(weights, u.shape[1]), u) + bias)


def gated_convolution_backward_eager(
    dy: torch.Tensor, u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference of the backward pass, which can itself be differentiated.

    Args:
        dy: gradient of the output, (B, L, w).
        u: inputs, (B, L, w).
        gate: (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).

    Returns:
        The gradients of u, gate, weights and bias.
    """
    matrices, dz = _toeplitz(weights, u.shape[1]), dy * gate
    dgate = dy * (torch.einsum("wts,bsw->btw", matrices, u) + bias)
    du = torch.einsum("wts,btw->bsw", matrices, dz)
    shifted = [(dz[:, k:] * u[:, : max(u.shape[1] - k, 0)]).sum(dim=(0, 1)) for k in range(len(weights))]
    return du, dgate, torch.stack(shifted), dz.sum(dim=(0, 1))


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:  # type: ignore[type-arg]
    del output
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, dy: torch.Tensor) -> tuple[torch.Tensor, ...]:
    # A gradient of the gradient is wanted where a graph is being built here: that is for eager code.
    pass_back = gated_convolution_backward_eager if torch.is_grad_enabled() else gated_convolution_backward
    gradients: tuple[torch.Tensor, ...] = pass_back(dy, *ctx.saved_tensors)  # type: ignore[attr-defined]
    return gradients


gated_convolution.register_autograd(_backward, setup_context=_save)


def convolve(
    u: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor, *, backend: str = "auto"
) -> torch.Tensor:
    """Gated convolution.

    Args:
        u: inputs, (B, L, w).
        gate: what multiplies the convolution, (B, L, w).
        weights: the filter, (taps, w).
        bias: (w,).
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit.

    Returns:
        (B, L, w).

    Cost:
        2 L taps w operations a sequence forward, 6 L taps w backward.

    Reference:
        Arora et al., Zoology, ICLR 2024, arXiv 2312.04927.
    """
    fits = backend == "fused" or u.shape[1] <= MAX_TOKENS
    if chosen(backend, u, gate, weights, bias, differentiable=True) and fits:
        out: torch.Tensor = gated_convolution(u, gate, weights, bias)
        return out
    return gated_convolution_eager(u, gate, weights, bias)
