"""What the kinds of attention share: heads, and which tokens a token sees."""

import torch


def visible(
    tokens: int, readers: slice, *, causal: bool, prefix: int = 0, device: torch.device | None = None
) -> torch.Tensor:
    """Which tokens each reading token sees: all, or those up to itself and those of the prefix.

    Args:
        tokens: T.
        readers: The tokens that read.
        causal: Whether a token sees only those up to itself.
        prefix: Tokens at the start that all may see.
        device: Where.

    Returns:
        Booleans, (Q, T), Q being the number of readers.

    Reference:
        Prefix linear attention: Arora et al., arXiv 2407.05483, section 4.
    """
    place = torch.arange(tokens, device=device)
    if not causal:
        return torch.ones(len(place[readers]), tokens, dtype=torch.bool, device=device)
    return (place <= place[readers, None]) | (place < prefix)


def split(qkv: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values of each head.

    Args:
        qkv: All of them side by side, (B, T, 3w).
        heads: Their number, h.

    Returns:
        Three tensors (B, h, T, w/h).
    """
    apart: torch.Tensor = qkv.unflatten(-1, (3, heads, -1))  # type: ignore[no-untyped-call]
    return apart.permute(2, 0, 3, 1, 4).unbind(0)


def want_heads(heads: int, width: int) -> None:
    """Check that heads share a width evenly.

    Args:
        heads: Their number.
        width: Features of a token.

    Raises:
        ValueError: If they do not.
    """
    if width % heads:
        raise ValueError(f"heads must divide width, got heads={heads} and width={width}")


def want_prefix(prefix: int, *, causal: bool) -> None:
    """Check that a prefix means something.

    Args:
        prefix: Tokens at the start that all may see.
        causal: Whether a token sees only those up to itself.

    Raises:
        ValueError: If it does not.
    """
    if prefix and not causal:
        raise ValueError(f"prefix: got {prefix} in a model that is not causal, whose tokens see all others")
