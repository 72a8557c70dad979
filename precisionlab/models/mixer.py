"""What a mixer is: settings that build a layer in which tokens see one another.

A class becomes the settings of a mixer by ``@mixer("its-kind")``, which makes it a frozen, strict, keyword-only
dataclass that files can name.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, TypeVar, dataclass_transform

from pydantic import Field
from torch import nn

from precisionlab.config import Registry

T = TypeVar("T")

MIXERS = Registry("mixer")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def mixer(kind: str) -> Callable[[type[T]], type[T]]:
    """Register a class as the settings of a mixer.

    Args:
        kind: What files call it.

    Returns:
        A decorator that makes the class a frozen, strict, keyword-only dataclass.
    """
    return MIXERS.register(kind)


class Mixer(Protocol):
    """Settings of a mixer. ``causal``, where they have it, says that a token sees none after it."""

    def build(self, *, width: int, tokens: int) -> nn.Module:
        """Make a layer.

        Args:
            width: Features of a token, w.
            tokens: Tokens of a prompt in training, T.

        Returns:
            A module that is called with tokens (B, T, w) and a slice of reading tokens, and returns (B, Q, w) for
            those. It may have a method ``initial(name, draw)`` that turns standard normal numbers into the initial
            weights of its parameter of that name; without one they are scaled to a variance of 1/fan-in.
        """
