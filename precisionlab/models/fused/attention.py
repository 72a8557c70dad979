"""Linear attention without normalisation, forward and backward: y = (q kᵀ) v / divisor.

For T tokens no more than about the width, the scores q kᵀ cost less than the state Σ k_s v_sᵀ, and both stay in cache.
"""

from collections.abc import Callable

import torch

from solvers.fused import chosen, fresh, launch

MAX_TOKENS = 64
"""Tokens beyond which the scores cost more than the state that eager code sums."""


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    # Any strides will do for the kernel, as long as features are neighbours.
    tensor = tensor.detach().resolve_neg()
    return tensor if tensor.shape[-1] == 1 or tensor.stride(-1) == 1 else tensor.contiguous()


def _like(tensor: torch.Tensor, new: Callable[..., torch.Tensor] = torch.Tensor.new_empty) -> torch.Tensor:
    # Heads beside each other, token by token: the layout that the projection after the attention reads.
    batch, heads, tokens, width = tensor.shape
    return new(tensor, batch, tokens, heads, width).transpose(1, 2)


@torch.library.custom_op("precisionlab::linear_attention", mutates_args=(), device_types=("cpu", "cuda"))
def linear_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, start: int, prefix: int, scale: float
) -> torch.Tensor:
    """Linear attention.

    Args:
        q: queries, (B, h, Q, d), float64, any strides; those of the tokens from `start`.
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own and those of the prefix.
        start: the place of the first query.
        prefix: tokens at the start that every query sees.
        scale: what the sums are multiplied by.

    Returns:
        (B, h, Q, d).
    """
    y = _like(q, fresh)
    launch("attention", _readable(q), _readable(k), _readable(v), y, [], causal, start, prefix, scale)
    return y


@torch.library.custom_op("precisionlab::linear_attention_backward", mutates_args=(), device_types=("cpu", "cuda"))
def linear_attention_backward(
    dy: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool,
    start: int,
    prefix: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of linear attention.

    Args:
        dy: gradient of the output, (B, h, Q, d).
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: as in the forward pass.
        start: likewise.
        prefix: likewise.
        scale: likewise.

    Returns:
        Those of q, k and v.
    """
    gradients = _like(q, fresh), _like(k, fresh), _like(v, fresh)
    inputs = _readable(q), _readable(k), _readable(v), _readable(dy)
    launch("attention", *inputs, list(gradients), causal, start, prefix, scale)
    return gradients


@linear_attention.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, start: int, prefix: int, scale: float
) -> torch.Tensor:
    del k, v, causal, start, prefix, scale
    return _like(q)


@linear_attention_backward.register_fake
def _(
    dy: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool,
    start: int,
    prefix: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del dy, causal, start, prefix, scale
    return _like(q), _like(k), _like(v)


def _visible(q: torch.Tensor, k: torch.Tensor, causal: bool, start: int, prefix: int) -> torch.Tensor:
    """Which tokens each query sees.

    Args:
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        causal: whether not all.
        start: the place of the first query.
        prefix: tokens that every query sees.

    Returns:
        Ones and zeros, (Q, T).
    """
    query = torch.arange(q.shape[-2], device=q.device)[:, None] + start
    token = torch.arange(k.shape[-2], device=q.device)
    seen = (token <= query) | (token < prefix) if causal else (token >= 0).expand(q.shape[-2], -1)
    return seen.to(q.dtype)


def linear_attention_eager(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, start: int, prefix: int, scale: float
) -> torch.Tensor:
    """The reference, in plain torch.

    Args:
        q: queries, (B, h, Q, d); those of the tokens from `start`.
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own and those of the prefix.
        start: the place of the first query.
        prefix: tokens at the start that every query sees.
        scale: what the sums are multiplied by.

    Returns:
        (B, h, Q, d).
    """
    if not causal:
        return q @ (k.mT @ v * scale)
    return (q @ k.mT * _visible(q, k, causal, start, prefix)) @ v * scale


def linear_attention_backward_eager(
    dy: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool,
    start: int,
    prefix: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference of the backward pass, which can itself be differentiated.

    Args:
        dy: gradient of the output, (B, h, Q, d).
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: as in the forward pass.
        start: likewise.
        prefix: likewise.
        scale: likewise.

    Returns:
        The gradients of q, k and v.
    """
    visible = _visible(q, k, causal, start, prefix) * scale
    scores, slopes = q @ k.mT * visible, dy @ v.mT * visible
    return slopes @ k, slopes.mT @ q, scores.mT @ dy


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:  # type: ignore[type-arg]
    del output
    ctx.save_for_backward(*inputs[:3])
    ctx.options = inputs[3:]  # type: ignore[attr-defined]


def _backward(ctx: torch.autograd.function.FunctionCtx, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # A gradient of the gradient is wanted where a graph is being built here: that is for eager code.
    pass_back = linear_attention_backward_eager if torch.is_grad_enabled() else linear_attention_backward
    q, k, v = ctx.saved_tensors  # type: ignore[attr-defined]
    return (*pass_back(dy, q, k, v, *ctx.options), None, None, None, None)  # type: ignore[attr-defined]


linear_attention.register_autograd(_backward, setup_context=_save)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    causal: bool = False,
    start: int | None = None,
    prefix: int = 0,
    divisor: float | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Linear attention, each query against the sum over the tokens that it sees.

    Args:
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own and those of the prefix.
        start: the place of the first query among the tokens; None for T − Q, the queries of the last tokens.
        prefix: tokens at the start that every query sees.
        divisor: what the sums are divided by; None for T.
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit. Under torch.func transforms "auto"
            is eager.

    Returns:
        (B, h, Q, d).

    Raises:
        ValueError: if a query or the prefix lies outside the tokens.

    Cost:
        4 Q T d operations forward, 10 Q T d backward.

    Reference:
        Katharopoulos et al., ICML 2020, arXiv 2006.16236, with the identity as feature map and not normalised.
    """
    queries, tokens, width = q.shape[-2], k.shape[-2], k.shape[-1]
    first = tokens - queries if start is None else start
    if causal and not 0 <= first <= tokens - queries:
        raise ValueError(f"start: got {first}, wants 0 to {tokens - queries} for {queries} queries of {tokens} tokens")
    if not 0 <= prefix <= tokens:
        raise ValueError(f"prefix: got {prefix}, wants 0 to {tokens}")
    options = causal, first if causal else 0, prefix, 1.0 / (tokens if divisor is None else divisor)
    fits = backend == "fused" or tokens <= MAX_TOKENS
    if chosen(backend, q, k, v, differentiable=True, gpu=("attention", queries, tokens, width)) and fits:
        out: torch.Tensor = linear_attention(q, k, v, *options)
        return out
    return linear_attention_eager(q, k, v, *options)
