"""A backbone's shape, as data."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab.config import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """A backbone and its mixer.

    Args:
        mixer: The token mixer, by its name in `precisionlab.models.MIXERS`.
        width: Features of a token inside the model.
        layers: Number of mixer layers.
        heads: Heads of an attention layer; divides the width.
        causal: Whether a token sees only those up to itself; the reading token must then be the last.
        first_last: Whether the first token is moved behind the others before the layers see them, so that a causal
            model whose prompt begins with the iterate reads it after the rows.
        prefix: In a causal model, tokens at the start that all may see (JRT-RNN).
        positions: How tokens are told apart.
        reads: Which token the answer is read from; "all" reads one from each.
        normalise: What a linear-attention layer's sum is divided by: the number of tokens, or nothing.
        filter: A gated convolution's: "short", its taps the weights, summed directly; "long", the same by FFT;
            "implicit", taps emitted by a small network of the lag, by FFT.
        taps: Length of a gated convolution's filter; None means as long as the prompt.
        projections: Whether a gated convolution has a projection before the filter and one after the gate; without
            them it is the paper's BaseConv.
        mlp: Hidden features of the two-layer perceptron after each mixer, as a multiple of the width; 0 for none.
        layer_norm: Whether each mixer and perceptron reads normalised tokens, and so the read-out.
        residual: Whether layers add to the tokens, rather than replace them.
        loops: How many times over the layers are applied, each time on the prompt in which the answer has taken the
            place of the iterate: the first features of the token it is read from.
    """

    mixer: str = "linear-attention"
    width: Annotated[int, Field(gt=0, le=2**14)] = 16
    layers: Annotated[int, Field(gt=0, le=2**8)] = 2
    heads: PositiveInt = 2
    causal: bool = False
    first_last: bool = False
    prefix: NonNegativeInt = 0
    positions: Literal["token-type", "learned", "none"] = "token-type"
    reads: Literal["first", "last", "all"] = "first"
    normalise: Literal["length", "none"] = "length"
    filter: Literal["short", "long", "implicit"] = "short"
    taps: Annotated[int, Field(gt=0, le=2**20)] | None = None
    projections: bool = True
    mlp: Annotated[int, Field(ge=0, le=64)] = 0
    layer_norm: bool = False
    residual: bool = True
    loops: Annotated[int, Field(gt=0, le=2**10)] = 1

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got heads={self.heads} and width={self.width}")
        if self.causal and self.reads == "first":
            raise ValueError("a causal model's first token sees no other: set reads = 'last'")
        if self.loops > 1 and self.reads == "all":
            raise ValueError(
                "loops: an answer from every token takes no iterate's place: set reads = 'first' or 'last'"
            )
        if self.prefix and not self.causal:
            raise ValueError(f"prefix: got {self.prefix} in a model that is not causal, whose tokens see all others")
