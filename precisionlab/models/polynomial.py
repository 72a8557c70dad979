"""The algorithm a model has learned, as the polynomial that it is.

One layer of linear attention that reads every token emits, at token j, with t̃ = [t, 1] and a sum over all tokens i,

    constant + linear t_j + Σ_h Σ_i (values_h t̃_i) (t̃_iᵀ scores_h t̃_j),

a polynomial of degree three in the tokens, whatever its weights. Most of a model's weights are a choice of basis; these
coefficients are what it does. They are products of weights, formed in double-double arithmetic and rounded once: a
coefficient that is printed as 3e-17 is 3e-17.
"""

from dataclasses import dataclass

import torch
from torch import nn

from precisionlab.models.backbone import Backbone
from precisionlab.models.linear_attention import LinearAttention, LinearAttentionLayer
from solvers._core import double_double as dd
from solvers._core.double_double import DD


@dataclass(frozen=True, kw_only=True)
class Polynomial:
    """Coefficients of a layer of linear attention; the last entry of t̃ is the constant 1.

    Args:
        constant: (E,).
        linear: (E, F).
        values: What a token contributes, (heads, E, F+1).
        scores: How much of it, scores[h, f, g] t̃_i[f] t̃_j[g], (heads, F+1, F+1).
    """

    constant: torch.Tensor
    linear: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Evaluate it, by the formula: (B, T, E)."""
        extended = torch.nn.functional.pad(tokens, (0, 1), value=1.0).unsqueeze(1)  # (B, 1, T, F+1)
        memory = extended.mT @ extended @ self.values.mT  # Σ_i t̃_i (values t̃_i)ᵀ, (B, heads, F+1, E)
        cubic = (extended @ self.scores.mT @ memory).sum(dim=1)
        return self.constant + tokens @ self.linear.mT + cubic

    def cubic(self) -> torch.Tensor:
        """Coefficients of t̃_i[f] t̃_i[g] t̃_j[h] in each emitted feature: values and keys of a token commute."""
        product = torch.einsum("aef,agh->efgh", self.values, self.scores)
        return (product + product.transpose(1, 2)) / 2


def extract(model: Backbone) -> Polynomial:
    """The polynomial of a model.

    Args:
        model: One layer of linear attention that reads all tokens, not causal, without positions or normaliser.

    Returns:
        Its coefficients, float64.

    Raises:
        ValueError: If the model is of another kind.
    """
    config, mixer = model.config, model.mixers[0]
    plain = isinstance(config.mixer, LinearAttention) and not config.mixer.causal and config.mixer.normalise == "none"
    switches = config.mlp or config.layer_norm or not config.residual
    if not plain or len(model.mixers) > 1 or config.positions != "none" or not model.shape.every_token or switches:
        raise ValueError(
            "model: want one layer of linear attention that answers at every token and sums over all, without "
            f"positions, normaliser, perceptron or LayerNorm, got {config}"
        )
    assert isinstance(mixer, LinearAttentionLayer)
    read_in, read_out = model.read_in, model.read_out
    token = torch.cat([_weight(read_in), _bias(read_in)], dim=1)  # z = token t̃, (w, F+1)
    queries, keys, values = (
        _plus_bias(_product(dd.from_double(weight), dd.from_double(token)), bias)
        for weight, bias in zip(_weight(mixer.qkv).chunk(3), _bias(mixer.qkv).chunk(3), strict=True)
    )
    out = _product(dd.from_double(_weight(read_out)), dd.from_double(_weight(mixer.out)))
    direct = _product(dd.from_double(_weight(read_out)), dd.from_double(token))
    offset = _product(dd.from_double(_weight(read_out)), dd.from_double(_bias(mixer.out)))
    constant = dd.add(dd.add(_columns(direct, -1, None), offset), dd.from_double(_bias(read_out)))
    count = mixer.settings.heads
    size = config.width // count
    heads = [slice(h * size, (h + 1) * size) for h in range(count)]
    return Polynomial(
        constant=constant.hi.squeeze(-1),
        linear=direct.hi[:, :-1].clone(),
        values=torch.stack([_product(_columns(out, s.start, s.stop), _rows(values, s)).hi for s in heads]),
        scores=torch.stack([_product(_transpose(_rows(keys, s)), _rows(queries, s)).hi for s in heads]),
    )


def describe(model: Backbone) -> str:
    """The algorithm that a model of the Newton–Schulz task has learned, in words of its formula.

    Args:
        model: One layer of linear attention on tokens [a_i, x_i], halves of equal length.

    Returns:
        The formula, and a line that says what else the model does.
    """
    polynomial = extract(model)
    n = polynomial.linear.shape[1] // 2
    cubic = polynomial.cubic()
    every = torch.arange(n)
    each, other = torch.meshgrid(every, every, indexing="ij")
    linear_terms = polynomial.linear[every, n + every]
    # x_i[e] a_i[d] x_j[d]; the symmetric tensor holds each product of two different features twice.
    product_terms = 2 * cubic[each, n + each, other, n + other]
    rest_linear, rest_cubic = polynomial.linear.clone(), cubic.clone()
    rest_linear[every, n + every] = 0
    rest_cubic[each, n + each, other, n + other] = 0
    rest_cubic[each, other, n + each, n + other] = 0
    # A product of two constants is linear in t_j, and one with three is constant: nothing is counted twice.
    rest = torch.cat([polynomial.constant.abs(), rest_linear.abs().flatten(), rest_cubic.abs().flatten()])
    left = int((rest > 0).sum())
    tail = f"{left:,} are not zero, the largest is {float(rest.max()):.1e}" if left else "all are exactly zero"
    return (
        f"x_j ← {_coefficient(linear_terms)} x_j {_coefficient(product_terms, signed=True)} Σ_i x_i (a_i · x_j)\n"
        f"of {len(rest):,} other coefficients: {tail}"
    )


def _coefficient(values: torch.Tensor, *, signed: bool = False) -> str:
    """A coefficient that should be the same number in every place, with how far it is from being so."""
    middle = float(values.mean())
    nearest = round(middle)
    spread = float((values - nearest).abs().max())
    sign = ("− " if middle < 0 else "+ ") if signed else ("−" if middle < 0 else "")
    size = f"{abs(nearest)}" if spread < 1e-3 else f"{abs(middle):.3g}"
    return f"{sign}{size}" if spread == 0 else f"{sign}({size} ± {spread:.1e})"


def _weight(layer: nn.Linear) -> torch.Tensor:
    return layer.weight.detach().double()


def _bias(layer: nn.Linear) -> torch.Tensor:
    return layer.bias.detach().double().unsqueeze(-1)


def _product(left: DD, right: DD) -> DD:
    """A matrix product, (p, q) by (q, r), in double-double."""
    columns = _transpose(right)
    return dd.dot(DD(left.hi.unsqueeze(1), left.lo.unsqueeze(1)), DD(columns.hi.unsqueeze(0), columns.lo.unsqueeze(0)))


def _plus_bias(affine: DD, bias: torch.Tensor) -> DD:
    padded = torch.nn.functional.pad(bias, (affine.hi.shape[1] - 1, 0))
    return dd.add(affine, dd.from_double(padded))


def _transpose(a: DD) -> DD:
    return DD(a.hi.T, a.lo.T)


def _rows(a: DD, chosen: slice) -> DD:
    return DD(a.hi[chosen], a.lo[chosen])


def _columns(a: DD, start: int, stop: int | None) -> DD:
    return DD(a.hi[:, start:stop], a.lo[:, start:stop])
