"""Weights of linear attention that emit steps of numerical algorithms exactly.

A layer emits Σ_s (q_t · k_s) v_s, so with keys [a_s, b_s], values a_s/N and the query [x, −1] it emits

    Σ_s a_s (a_s · x − b_s)/N,

the gradient. Where each token is a row and holds x (`heavy_ball_step`), or where a column of X is both value and
query (`newton_schulz_step`), that is all, and one layer is enough.

In the explicit-gradient prompt x₀ stands in token 0, which takes part in the sum, and no single layer emits the
gradient. For what one layer emits at token 0 with the single row [a, 0] has the cubic part T(x₀, x₀, x₀) + T(x₀, a, a),
T being linear in each place (query, key, value; positions and biases make terms of lower degree only). It would have to
be (x₀ · a) a. With a = 0 that says T(x₀, x₀, x₀) = 0, and then with a = x₀ that T(x₀, x₀, x₀) = x₀‖x₀‖².

So a first layer moves x₀ away. Its query and key are e, 1 at token 0 and 0 elsewhere, and its values the tokens, so
that it emits e_t x₀: subtracted from the features that hold rows, added to those that hold the iterate. Further layers
are further steps: k steps take k + 1 layers.

Error: that of forming AᵀA and Aᵀb, c u |A|ᵀ(|A||x| + |b|)/N with c about N + n, since a layer sums k_s v_sᵀ first.

Reference: von Oswald et al., ICML 2023, arXiv 2212.07677, proposition 1.
"""

import torch

from precisionlab.models.backbone import Backbone, Shape
from precisionlab.models.config import ModelConfig
from precisionlab.models.constructions.weights import Slots, blank, wire
from precisionlab.models.linear_attention import LinearAttention

SUM = LinearAttention(normalise="none")
"""One head, its sum as it is."""


def gradient_descent(
    *, n: int, rows: int, steps: int, step_size: float | None, loops: int = 1, dtype: torch.dtype = torch.float64
) -> Backbone:
    """Emit k steps of gradient descent on ½‖A x − b‖²/N, or one gradient.

    Args:
        n: Unknowns.
        rows: N, by which sums are divided; prompts may have any number of rows.
        steps: k.
        step_size: η; None emits the gradient itself, which needs k = 1.
        loops: How many times over the k steps are taken, by the same weights.
        dtype: float32 or float64.

    Returns:
        A model of the explicit-gradient prompt: k + 1 layers, width 2n + 2, one head.
    """
    slots = Slots.of(a=n, b=1, x=n, e=1)
    config = ModelConfig(mixer=SUM, width=slots.width, layers=steps + 1, looped=loops > 1)
    model, w = blank(config, Shape(in_features=n + 1, out_features=n, tokens=rows + 1), loops=loops, dtype=dtype)
    row = slice(0, n + 1)
    wire(w["read_in.weight"], row, row)
    w["positions"][0, slots["e"]] = 1.0
    q, k, v = w["mixers.0.qkv.weight"].chunk(3)
    wire(q, slots["e"], slots["e"])
    wire(k, slots["e"], slots["e"])
    wire(v, slots["a"], slots["a"])
    wire(w["mixers.0.out.weight"], slots["a"], slots["a"], -1.0)
    wire(w["mixers.0.out.weight"], slots["x"], slots["a"])
    # Token 0's row is zero now, and so is its right-hand side: there is room for the gradient.
    answer, factor = ("a", 1 / rows) if step_size is None else ("x", -step_size / rows)
    for layer in range(1, steps + 1):
        q, k, v = w[f"mixers.{layer}.qkv.weight"].chunk(3)
        wire(q, slots["a"], slots["x"])
        wire(q, slots["b"], slots["e"], -1.0)  # −1 at token 0; rows ask for nothing
        wire(k, row, row)
        wire(v, slots["a"], slots["a"], factor)
        wire(w[f"mixers.{layer}.out.weight"], slots[answer], slots["a"])
    wire(w["read_out.weight"], slice(0, n), slots[answer])
    return model


def heavy_ball_step(*, n: int, alpha: float, beta: float, dtype: torch.dtype = torch.float64) -> Backbone:
    """Emit x + α Aᵀ(b − A x) + β (x − y) of the heavy-ball prompt.

    Args:
        n: Unknowns.
        alpha: α.
        beta: β.
        dtype: float32 or float64.

    Returns:
        A model of one layer, for any number of rows.
    """
    slots = Slots.of(a=n, b=1, x=n, d=n)
    config = ModelConfig(mixer=SUM, width=slots.width, layers=1, positions="none")
    model, w = blank(config, Shape(in_features=3 * n + 1, out_features=n, tokens=n), dtype=dtype)
    row, before = slice(0, n + 1), slice(2 * n + 1, 3 * n + 1)
    wire(w["read_in.weight"], slice(0, 2 * n + 1), slice(0, 2 * n + 1))
    wire(w["read_in.weight"], slots["d"], slots["x"])
    wire(w["read_in.weight"], slots["d"], before, -1.0)
    q, k, v = w["mixers.0.qkv.weight"].chunk(3)
    wire(q, slots["a"], slots["x"])
    w["mixers.0.qkv.bias"][slots["b"]] = -1.0
    wire(k, row, row)
    wire(v, slots["a"], slots["a"], -alpha)
    wire(w["mixers.0.out.weight"], slots["x"], slots["a"])
    wire(w["read_out.weight"], slice(0, n), slots["x"])
    wire(w["read_out.weight"], slice(0, n), slots["d"], beta)
    return model


def newton_schulz_step(*, n: int, dtype: torch.dtype = torch.float64) -> Backbone:
    """Emit the columns 2 x_j − Σ_i x_i (a_i · x_j) of the Newton–Schulz prompt.

    Args:
        n: Unknowns.
        dtype: float32 or float64.

    Returns:
        A model of one layer, for any number of rows.
    """
    slots = Slots.of(a=n, x=n)
    config = ModelConfig(mixer=SUM, width=2 * n, layers=1, positions="none")
    shape = Shape(in_features=2 * n, out_features=n, tokens=n, every_token=True)
    model, w = blank(config, shape, dtype=dtype)
    wire(w["read_in.weight"], slots["a"], slots["a"])
    wire(w["read_in.weight"], slots["x"], slots["x"], 2.0)
    q, k, v = w["mixers.0.qkv.weight"].chunk(3)
    wire(q, slots["a"], slots["x"], 0.5)
    wire(k, slots["a"], slots["a"])
    wire(v, slots["x"], slots["x"], -0.5)
    wire(w["mixers.0.out.weight"], slots["x"], slots["x"])
    wire(w["read_out.weight"], slice(0, n), slots["x"])
    return model


def prediction_step(*, n: int, rows: int, step_size: float, dtype: torch.dtype = torch.float64) -> Backbone:
    """Emit what one step of gradient descent from zero predicts at a query, (η/N) Σ_i b_i (a_i · q).

    Args:
        n: Unknowns.
        rows: N, by which the sum is divided; prompts may have any number of rows.
        step_size: η.
        dtype: float32 or float64.

    Returns:
        A model of one layer; its prompt is [a₁, b₁], …, [a_N, b_N], [q, 0], and its answer a single number.
    """
    config = ModelConfig(mixer=SUM, width=n + 1, layers=1, positions="none", reads="last")
    model, w = blank(config, Shape(in_features=n + 1, out_features=1, tokens=rows + 1), dtype=dtype)
    row, a, b = slice(0, n + 1), slice(0, n), slice(n, n + 1)
    wire(w["read_in.weight"], row, row)
    q, k, v = w["mixers.0.qkv.weight"].chunk(3)
    wire(q, a, a)
    wire(k, a, a)
    wire(v, b, b, step_size / rows)  # nothing at the query, whose b is 0: it needs no telling apart
    wire(w["mixers.0.out.weight"], b, b)
    wire(w["read_out.weight"], slice(0, 1), b)
    return model
