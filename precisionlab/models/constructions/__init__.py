"""Weights written down, not trained: models that emit steps of numerical algorithms exactly, up to rounding.

They show what a mixer can represent, and are what trained models are compared with. `linear_attention` and
`gated_convolution` derive them; docs/softmax.md says why there are none for softmax attention.
"""

from typing import Literal, Protocol

import torch

from precisionlab.config import near_miss
from precisionlab.models.backbone import Backbone
from precisionlab.models.constructions import gated_convolution, linear_attention
from precisionlab.models.constructions.linear_attention import heavy_ball_step, newton_schulz_step, prediction_step

__all__ = [
    "gated_convolution",
    "gradient_descent",
    "gradient_step",
    "heavy_ball_step",
    "linear_attention",
    "newton_schulz_step",
    "prediction_step",
]


class _Descent(Protocol):
    def __call__(
        self, *, n: int, rows: int, steps: int, step_size: float | None, loops: int, dtype: torch.dtype
    ) -> Backbone: ...


_DESCENTS: dict[str, _Descent] = {
    "gated-conv": gated_convolution.gradient_descent,
    "linear-attention": linear_attention.gradient_descent,
}


def gradient_step(
    mixer: str = "linear-attention",
    *,
    n: int = 5,
    rows: int = 20,
    form: Literal["residual", "gram"] = "residual",
    dtype: torch.dtype = torch.float64,
) -> Backbone:
    """Emit the gradient Aᵀ(A x₀ − b)/N of the explicit-gradient prompt.

    Args:
        mixer: "linear-attention" or "gated-conv".
        n: Unknowns.
        rows: N.
        form: By the residual, or, gated convolution alone and in two layers, by the Gram matrix.
        dtype: float32 or float64.

    Returns:
        The model.

    Raises:
        ValueError: If there is no construction of that mixer and form.
    """
    if form == "gram":
        if mixer != "gated-conv":
            raise ValueError(f"form: got 'gram' for {mixer!r}, of which only 'gated-conv' has a construction")
        return gated_convolution.gram_gradient(n=n, rows=rows, dtype=dtype)
    return _descent(mixer)(n=n, rows=rows, steps=1, step_size=None, loops=1, dtype=dtype)


def gradient_descent(
    mixer: str = "linear-attention",
    *,
    n: int = 5,
    rows: int = 20,
    steps: int = 4,
    step_size: float = 0.5,
    looped: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Backbone:
    """Emit the iterate k steps of gradient descent on ½‖A x − b‖²/N after x₀, of the explicit-gradient prompt.

    Args:
        mixer: "linear-attention" or "gated-conv".
        n: Unknowns.
        rows: N.
        steps: k.
        step_size: η.
        looped: Whether one step's weights are applied k times, rather than k steps' weights once.
        dtype: float32 or float64.

    Returns:
        The model: k + 1 layers of linear attention, or 3k + 1 gated convolutions; looped, 2 or 4.
    """
    steps, loops = (1, steps) if looped else (steps, 1)
    return _descent(mixer)(n=n, rows=rows, steps=steps, step_size=step_size, loops=loops, dtype=dtype)


def _descent(mixer: str) -> _Descent:
    if mixer not in _DESCENTS:
        raise ValueError(f"no construction for mixer {mixer!r}: {near_miss(mixer, sorted(_DESCENTS))}")
    return _DESCENTS[mixer]
