"""Weights of gated convolution that emit gradients and steps of gradient descent exactly.

A layer multiplies what a token holds with what a filter brings from all tokens. In the plain form (no projections, no
residual) each feature is replaced by gate × filtered; three special cases are all that is needed:

    product   a filter of the tap 1 at lag 0: a linear map of the token's features, times the feature
    linear    a filter of zeros with bias 1: a linear map of the token's features
    sum       a flat filter and a gate of 1: the feature's sum over all tokens

`gradient_descent` goes by the residual. Features [a, b, x, p, g], 4n + 1 of them; a step takes three layers:

    p_d ← a_d x_d        g_d ← a_d (Σ_e p_e − b)        g ← Σ over tokens of g/N;   then x ← x − η g

the last along with the next step's first. This needs x₀ in every token. In the explicit-gradient prompt it stands in
token 0 alone: one more layer multiplies by an indicator of token 0, which leaves x₀ there and zero elsewhere, and the
first step's filters bring it to all tokens.

`gram_gradient` goes by the Gram matrix G = AᵀA and takes two layers: every row forms its products a_d a_e and a_d b,
the reading token sums them and multiplies by its own x₀. With a gate for each product one pair d < e would need two,
G_de x_e for y_d and G_de x_d for y_e. One is enough, since

    (G x)_d = Σ_{e≠d} G_de (x_e + x_d) + (G_dd − Σ_{e≠d} G_de) x_d,

which makes n(n + 1)/2 products, and n for Aᵀb. The flat filter has a zero at lag 0, so that token 0 is not a row.
The paper's form, without projections, can do it too: the read-in then copies features, and the read-out adds up pairs.

Error: c u |A|ᵀ(|A||x| + |b|)/N with c about N + n by the residual; by the Gram matrix c u |x_d| Σ_e (|A|ᵀ|A|)_de/N
comes in addition.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295: three BaseConv layers of width 4n + 1 with x₀ in every token.
"""

import torch

from precisionlab.models.backbone import Backbone, Shape
from precisionlab.models.config import ModelConfig
from precisionlab.models.constructions.weights import Slots, blank, wire
from precisionlab.models.gated_convolution import GatedConvolution


class _Layer:
    """A gated convolution of zeros, written feature by feature."""

    def __init__(self, weights: dict[str, torch.Tensor], layer: int) -> None:
        name = f"mixers.{layer}."
        self.gate, self.gate_bias = weights[f"{name}gate.weight"], weights[f"{name}gate.bias"]
        self.taps, self.bias = weights[f"{name}taps.weight"], weights[f"{name}bias"]
        self.lag_0 = self.taps.shape[1] // 2

    def keep(self, slot: slice) -> None:
        """Features stay as they are."""
        self.taps[slot, self.lag_0] = 1.0
        self.gate_bias[slot] = 1.0

    def product(self, slot: slice) -> torch.Tensor:
        """Features are multiplied; returns the rows of the gate, a linear map of the token, to be written."""
        self.taps[slot, self.lag_0] = 1.0
        return self.gate[slot]

    def linear(self, slot: slice) -> torch.Tensor:
        """Features are replaced; returns the rows of the gate, to be written."""
        self.bias[slot] = 1.0
        return self.gate[slot]

    def sum(self, slot: slice, factor: float = 1.0) -> None:
        """Features are summed over all tokens."""
        self.taps[slot] = factor
        self.gate_bias[slot] = 1.0


def gradient_descent(
    *,
    n: int,
    rows: int,
    steps: int,
    step_size: float | None,
    loops: int = 1,
    every_token: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Backbone:
    """Emit k steps of gradient descent on ½‖A x − b‖²/N, or one gradient, by the residual and without projections.

    Args:
        n: Unknowns.
        rows: N, by which sums are divided; prompts may have fewer rows.
        steps: k.
        step_size: η; None emits the gradient itself, which needs k = 1.
        loops: How many times over the k steps are taken, by the same weights; 1 where x₀ is in every token.
        every_token: Whether the prompt is [a₁, b₁, x₀], …, [a_N, b_N, x₀], rather than the explicit-gradient prompt.
        dtype: float32 or float64.

    Returns:
        A model of width 4n + 1 and 3k layers where x₀ is in every token, else 3k + 1.
    """
    slots, first = Slots.of(a=n, b=1, x=n, p=n, g=n), 0 if every_token else 1
    config = ModelConfig(
        mixer=GatedConvolution(projections=False),
        width=slots.width,
        layers=3 * steps + first,
        positions="none" if every_token else "token-type",
        residual=False,
        looped=loops > 1,
    )
    features, tokens = (2 * n + 1, rows) if every_token else (n + 1, rows + 1)
    shape = Shape(in_features=features, out_features=n, tokens=tokens)
    model, w = blank(config, shape, loops=loops, dtype=dtype)
    wire(w["read_in.weight"], slice(0, features), slice(0, features))
    wire(w["read_in.weight"], slots["p"], slots["a"])
    if not every_token:
        wire(w["read_in.weight"], slots["x"], slots["a"])
        _isolate(_Layer(w, 0), w["positions"], slots)
    eta = 0.0 if step_size is None else step_size
    for step in range(steps):
        products, residuals, total = (_Layer(w, first + 3 * step + part) for part in range(3))
        if step == 0 and not every_token:  # x and p hold x₀ at token 0, zero elsewhere
            products.sum(slots["x"])
            products.sum(slots["p"])
            products.gate_bias[slots["p"]] = 0.0
            wire(products.gate[slots["p"]], slice(0, n), slots["a"])
        else:  # p holds a; g the gradient at x, or nothing at first
            for gate in (products.linear(slots["x"]), products.product(slots["p"])):
                wire(gate, slice(0, n), slots["x"])
                wire(gate, slice(0, n), slots["g"], -eta)
        wire(products.linear(slots["g"]), slice(0, n), slots["a"])
        gate = residuals.product(slots["g"])
        gate[:, slots["p"]] = 1.0
        gate[:, slots["b"]] = -1.0
        wire(residuals.linear(slots["p"]), slice(0, n), slots["a"])
        total.sum(slots["g"], 1 / rows)
        for layer, kept in ((products, "ab"), (residuals, "abx"), (total, "abxp")):
            for name in kept:
                layer.keep(slots[name])
    if step_size is None:
        wire(w["read_out.weight"], slice(0, n), slots["g"])
    else:
        wire(w["read_out.weight"], slice(0, n), slots["x"])
        wire(w["read_out.weight"], slice(0, n), slots["g"], -eta)
    return model


def _isolate(layer: _Layer, positions: torch.Tensor, slots: Slots) -> None:
    """Leave x₀ at token 0 alone, and no row there; the indicator of token 0 stands in the first feature of g."""
    indicator = slots["g"].start
    positions[0, indicator] = 1.0
    for name in "xp":
        layer.product(slots[name])[:, indicator] = 1.0
    layer.product(slots["a"])[:, indicator] = -1.0
    layer.gate_bias[slots["a"]] = 1.0
    layer.keep(slots["b"])


def gram_gradient(*, n: int, rows: int, projections: bool = True, dtype: torch.dtype = torch.float64) -> Backbone:
    """Emit the least-squares gradient Aᵀ(A x₀ − b)/N in two layers, by the Gram matrix.

    Args:
        n: Unknowns.
        rows: N, by which sums are divided; prompts may have fewer rows.
        projections: Whether the layers have projections, and residual connections, or are the paper's without either.
        dtype: float32 or float64.

    Returns:
        A model of width n(n + 1)/2 + 2n + 1.
    """
    pairs = [(d, e) for d in range(n) for e in range(d, n)]
    slots = Slots.of(a=n, b=1, pairs=len(pairs), h=n)
    config = ModelConfig(
        mixer=GatedConvolution(projections=projections),
        width=slots.width,
        layers=2,
        positions="none",
        residual=projections,
    )
    model, w = blank(config, Shape(in_features=n + 1, out_features=n, tokens=rows + 1), dtype=dtype)
    row, made = slice(0, n + 1), slice(n + 1, slots.width)
    wire(w["read_in.weight"], row, row)
    first, second = _Layer(w, 0), _Layer(w, 1)
    spread = w["mixers.0.value.weight"] if projections else w["read_in.weight"]
    wire(spread, slots["h"], slots["a"])
    gather = w["mixers.1.out.weight"][slots["h"]] if projections else w["read_out.weight"]
    wire(gather, slice(0, n), slots["h"])
    first.product(slots["h"])[:, slots["b"]] = 1.0
    products = first.product(slots["pairs"])
    for place, (d, e) in enumerate(pairs):
        channel = slots["pairs"].start + place
        spread[channel, d] = 1.0
        gather[[d, e], channel] = 1.0
        second.gate[channel, [d, e]] = 1.0
        if d == e:
            products[place, slots["a"]] = -1.0
        products[place, e] = 1.0
    second.gate_bias[slots["h"]] = -1.0
    second.taps[made] = 1 / rows
    second.taps[made, second.lag_0] = 0.0
    if projections:
        # At token 0 h is x₀ times b = 0, so that the answer finds it empty.
        wire(w["mixers.0.out.weight"], made, made)
        wire(w["mixers.1.value.weight"], made, made)
        wire(w["read_out.weight"], slice(0, n), slots["h"])
    else:
        first.keep(slots["a"])
    return model


def square(*, dims: int, tokens: int, dtype: torch.dtype = torch.float64) -> Backbone:
    """Emit the square of every token, feature by feature.

    Args:
        dims: Features of a token.
        tokens: Tokens of a prompt, at most.
        dtype: float32 or float64.

    Returns:
        A model of one layer.
    """
    config = ModelConfig(
        mixer=GatedConvolution(projections=False), width=dims, layers=1, positions="none", residual=False
    )
    shape = Shape(in_features=dims, out_features=dims, tokens=tokens, every_token=True)
    model, w = blank(config, shape, dtype=dtype)
    every, layer = slice(0, dims), _Layer(w, 0)
    wire(w["read_in.weight"], every, every)
    wire(layer.product(every), every, every)
    wire(w["read_out.weight"], every, every)
    return model


def solution(
    *, n: int, rows: int, smallest: float, largest: float, doublings: int, dtype: torch.dtype = torch.float64
) -> Backbone:
    """Emit the least-squares solution of [a₁, b₁], …, [a_N, b_N], by Chebyshev's polynomials of degree 2^k.

    Two layers make R = I − θ AᵀA/N and x = θ Aᵀb/N, θ = 2/(s² + l²); then each layer squares what is missing,

        x ← c (x + R x)        R ← c R² − (c − 1) I        c = 2τ²/(2τ² − 1)        τ ← 2τ² − 1

    from τ = (l² + s²)/(l² − s²). After k of them R is T_{2^k} of the spectrum mapped to [−1, 1], over its value at 0.
    The products of two symmetric matrices, and of one with x, each take a channel: R is kept, not formed anew, so that
    its rounding doubles at every layer.

    Args:
        n: Unknowns.
        rows: N, by which sums are divided.
        smallest: s, the least singular value of A/√N.
        largest: l, the largest.
        doublings: k.
        dtype: float32 or float64.

    Returns:
        A model of width n²(n + 1)/2 + n² and k + 2 layers.
    """
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    triples = [(i, j, k) for i, j in pairs for k in range(n)]
    width = len(triples) + n * n
    config = ModelConfig(mixer=GatedConvolution(), width=width, layers=doublings + 2, positions="none", residual=False)
    model, w = blank(config, Shape(in_features=n + 1, out_features=n, tokens=rows), dtype=dtype)
    at = {pair: place for place, pair in enumerate(pairs)}
    at |= {(j, i): place for (i, j), place in at.items()}
    x = slice(len(pairs), len(pairs) + n)
    made, row = slice(0, x.stop), slice(0, n + 1)
    wire(w["read_in.weight"], row, row)
    theta, tau = 2 / (smallest**2 + largest**2), (largest**2 + smallest**2) / (largest**2 - smallest**2)

    first, value, gate = _Layer(w, 0), w["mixers.0.value.weight"], w["mixers.0.gate.weight"]
    for channel, (i, j) in enumerate([*pairs, *((i, n) for i in range(n))]):
        value[channel, i] = gate[channel, j] = 1.0
    first.taps[made, first.lag_0] = 1.0
    wire(w["mixers.0.out.weight"], made, made)

    _Layer(w, 1).sum(made, theta / rows)
    wire(w["mixers.1.value.weight"], made, made)
    wire(w["mixers.1.out.weight"], slice(0, len(pairs)), slice(0, len(pairs)), -1.0)
    wire(w["mixers.1.out.weight"], x, x)
    w["mixers.1.out.bias"][[at[i, i] for i in range(n)]] = 1.0

    for depth in range(2, doublings + 2):
        layer, name = _Layer(w, depth), f"mixers.{depth}."
        value, out = w[f"{name}value.weight"], w[f"{name}out.weight"]
        half = 1 / (2 * tau**2) if tau < 1e150 else 0.0
        c, tau = 1 / (1 - half), (2 * tau**2 - 1 if tau < 1e150 else tau)
        layer.taps[:, layer.lag_0] = 1.0
        for channel, (i, j, k) in enumerate(triples):
            value[channel, at[i, k]] = layer.gate[channel, at[k, j]] = 1.0
            out[at[i, j], channel] = c
        for channel, (i, j) in enumerate(((i, j) for i in range(n) for j in range(n)), len(triples)):
            value[channel, x.start + j] = layer.gate[channel, at[i, j]] = 1.0
            layer.gate_bias[channel] = float(i == j)
            out[x.start + i, channel] = c
        w[f"{name}out.bias"][[at[i, i] for i in range(n)]] = 1 - c
    wire(w["read_out.weight"], slice(0, n), x)
    return model
