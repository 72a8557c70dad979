"""Linear attention without normalisation, forward and backward: y = (q kᵀ) v / T.

For T tokens no more than about the width, the scores q kᵀ cost less than the state Σ k_s v_sᵀ, and both stay in cache.
"""

import torch

from solvers.fused import chosen, module, threads

MAX_TOKENS = 64
"""Tokens beyond which the scores cost more than the state that eager code sums."""


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    # Any strides will do for the kernel, as long as features are neighbours.
    tensor = tensor.detach().resolve_neg()
    return tensor if tensor.shape[-1] == 1 or tensor.stride(-1) == 1 else tensor.contiguous()


def _like(tensor: torch.Tensor) -> torch.Tensor:
    # Heads beside each other, token by token: the layout that the projection after the attention reads.
    batch, heads, tokens, width = tensor.shape
    return tensor.new_empty(batch, tokens, heads, width).transpose(1, 2)


@torch.library.custom_op("precisionlab::linear_attention", mutates_args=())
def linear_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Linear attention.

    Args:
        q: queries, (B, h, Q, d), float64 on the CPU, any strides; those of the last Q tokens.
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own.

    Returns:
        (B, h, Q, d).
    """
    y = _like(q)
    module().attention(_readable(q), _readable(k), _readable(v), y, [], causal, threads())
    return y


@torch.library.custom_op("precisionlab::linear_attention_backward", mutates_args=())
def linear_attention_backward(
    dy: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of linear attention.

    Args:
        dy: gradient of the output, (B, h, Q, d).
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: as in the forward pass.

    Returns:
        Those of q, k and v.
    """
    gradients = _like(q), _like(k), _like(v)
    inputs = _readable(q), _readable(k), _readable(v), _readable(dy)
    module().attention(*inputs, list(gradients), causal, threads())
    return gradients


@linear_attention.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    del k, v, causal
    return _like(q)


@linear_attention_backward.register_fake
def _(
    dy: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del dy, causal
    return _like(q), _like(k), _like(v)


def linear_attention_eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """The reference, in plain torch.

    Args:
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own.

    Returns:
        (B, h, Q, d).
    """
    tokens, queries = k.shape[-2], q.shape[-2]
    if not causal:
        return q @ (k.mT @ v / tokens)
    visible = torch.ones(queries, tokens, dtype=q.dtype, device=q.device).tril(tokens - queries)
    return (q @ k.mT * visible) @ v / tokens


def linear_attention_backward_eager(
    dy: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference of the backward pass, which can itself be differentiated.

    Args:
        dy: gradient of the output, (B, h, Q, d).
        q: queries, (B, h, Q, d).
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: as in the forward pass.

    Returns:
        The gradients of q, k and v.
    """
    tokens, queries = k.shape[-2], q.shape[-2]
    visible = torch.ones(queries, tokens, dtype=q.dtype, device=q.device)
    visible = (visible.tril(tokens - queries) if causal else visible) / tokens
    scores, slopes = q @ k.mT * visible, dy @ v.mT * visible
    return slopes @ k, slopes.mT @ q, scores.mT @ dy


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: torch.Tensor) -> None:  # type: ignore[type-arg]
    del output
    *tensors, ctx.causal = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(*tensors)


def _backward(ctx: torch.autograd.function.FunctionCtx, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    # A gradient of the gradient is wanted where a graph is being built here: that is for eager code.
    pass_back = linear_attention_backward_eager if torch.is_grad_enabled() else linear_attention_backward
    q, k, v = ctx.saved_tensors  # type: ignore[attr-defined]
    return (*pass_back(dy, q, k, v, ctx.causal), None)  # type: ignore[attr-defined]


linear_attention.register_autograd(_backward, setup_context=_save)


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool = False, backend: str = "auto"
) -> torch.Tensor:
    """Linear attention, each query against the sum over the tokens.

    Args:
        q: queries, (B, h, Q, d); those of the last Q tokens.
        k: keys, (B, h, T, d).
        v: values, (B, h, T, d).
        causal: whether a query sees only the tokens up to its own.
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit.

    Returns:
        (B, h, Q, d).

    Cost:
        4 Q T d operations forward, 10 Q T d backward.

    Reference:
        Katharopoulos et al., ICML 2020, arXiv 2006.16236, with the identity as feature map and not normalised.
    """
    if chosen(backend, q, k, v, differentiable=True) and (k.shape[-2] <= MAX_TOKENS or backend == "fused"):
        out: torch.Tensor = linear_attention(q, k, v, causal)
        return out
    return linear_attention_eager(q, k, v, causal)
