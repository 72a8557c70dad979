"""How weights are written down: a backbone of zeros, its tensors by name, and features by what they hold."""

from dataclasses import dataclass

import torch

from precisionlab.models.backbone import Backbone, Shape
from precisionlab.models.config import ModelConfig


@dataclass(frozen=True)
class Slots:
    """Which features of a token hold what.

    Args:
        ranges: Features by name.
        width: Their number.
    """

    ranges: dict[str, slice]
    width: int

    @classmethod
    def of(cls, **sizes: int) -> "Slots":
        """Name features, one range after another."""
        ranges, start = {}, 0
        for name, size in sizes.items():
            ranges[name] = slice(start, start + size)
            start += size
        return cls(ranges, start)

    def __getitem__(self, name: str) -> slice:
        return self.ranges[name]


def blank(
    config: ModelConfig, shape: Shape, *, loops: int = 1, dtype: torch.dtype
) -> tuple[Backbone, dict[str, torch.Tensor]]:
    """A backbone whose weights are all zero, to be written into.

    Args:
        config: Mixers, and how they are put together.
        shape: What is read and emitted.
        loops: How many times over the layers are applied.
        dtype: float32 or float64.

    Returns:
        The backbone, and its weights by name: writing into these changes the backbone.
    """
    model = Backbone(config, shape, loops=loops, dtype=dtype)
    weights = model.state_dict()
    for tensor in weights.values():
        tensor.zero_()
    return model.eval(), weights


def wire(matrix: torch.Tensor, into: slice, source: slice, value: float = 1.0) -> None:
    """Let a range of a linear map's outputs be a multiple of a range of its inputs.

    Args:
        matrix: The map's weight, (outputs, inputs); changed.
        into: Outputs.
        source: As many inputs.
        value: The multiple.
    """
    matrix[into, source].fill_diagonal_(value)
