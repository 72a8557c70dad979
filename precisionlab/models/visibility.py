"""Which tokens a token sees."""

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
