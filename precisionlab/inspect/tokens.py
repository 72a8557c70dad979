"""What stands in a model's tokens between its layers."""

import torch

from precisionlab.models import Backbone
from precisionlab.runs import Run


@torch.no_grad()
def tokens(run: Run, prompt: torch.Tensor) -> list[torch.Tensor]:
    """The tokens after the read-in and after every layer.

    Args:
        run: A trained model.
        prompt: (B, T, F), of the model's dtype.

    Returns:
        One tensor more than the model has layers, (B, T, w) each; after the last layer, and where one answer is asked
        for, only the token that it is read from is computed, (B, 1, w). A looped model's are those of its first loop.

    Raises:
        ValueError: If the model is no backbone.
    """
    if not isinstance(run.model, Backbone):
        raise ValueError(f"{run.card.name}: its model has no tokens of one width between layers")
    return list(run.model.tokens(run.model.arranged(prompt)))
