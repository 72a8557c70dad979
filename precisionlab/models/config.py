"""A backbone's shape, as data."""

from typing import Annotated, Literal

from pydantic import Field

from precisionlab.config import settings
from precisionlab.models.linear_attention import LinearAttention
from precisionlab.models.mixer import MIXERS, Mixer


@settings
class ModelConfig:
    """A backbone and its mixer.

    Args:
        mixer: Settings of the token mixer, such as ``LinearAttention(heads=2)``.
        width: Features of a token inside the model.
        layers: Number of mixer layers.
        positions: How tokens are told apart.
        reads: Which token the answer is read from, where there is one answer a prompt.
        first_last: Whether the first token is moved behind the others before the layers see them, so that a causal
            model whose prompt begins with the iterate reads it after the rows.
        mlp: Hidden features of the two-layer perceptron after each mixer, as a multiple of the width; 0 for none.
        layer_norm: Whether each mixer and perceptron reads normalised tokens, and so the read-out.
        residual: Whether layers add to the tokens, rather than replace them.
        looped: Whether the layers are applied as many times over as the task has ``steps``, each time on the prompt in
            which the answer has taken the place of the iterate: the first features of the token it is read from.
    """

    mixer: Annotated[Mixer, MIXERS] = LinearAttention()
    width: Annotated[int, Field(gt=0, le=2**14)] = 16
    layers: Annotated[int, Field(gt=0, le=2**8)] = 2
    positions: Literal["token-type", "learned", "none"] = "token-type"
    reads: Literal["first", "last"] = "first"
    first_last: bool = False
    mlp: Annotated[int, Field(ge=0, le=64)] = 0
    layer_norm: bool = False
    residual: bool = True
    looped: bool = False
