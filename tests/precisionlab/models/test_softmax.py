"""docs/softmax.md in numbers: softmax grows linearly whatever its weights are; the gradient and the square do not."""

import pytest
import torch
from torch import nn

from precisionlab.models import Backbone, ModelConfig, Shape, constructions
from precisionlab.models.constructions import gated_convolution
from precisionlab.models.softmax_attention import SoftmaxAttention, SoftmaxAttentionLayer
from precisionlab.tasks import layout
from precisionlab.tasks.explicit_gradient import gradient
from precisionlab.tasks.layout import Problem

U = 2.0**-53
SCALES = [2.0**e for e in range(0, 31, 3)]
FORMS: dict[str, dict[str, object]] = {
    "one layer": {"layers": 1},
    "three layers": {"layers": 3},
    "causal": {"layers": 2, "mixer": SoftmaxAttention(causal=True), "reads": "last"},
    "no residual": {"layers": 2, "residual": False},
    "perceptrons": {"layers": 2, "mlp": 2},
    "LayerNorm": {"layers": 2, "layer_norm": True},
    "all": {"layers": 3, "mlp": 4, "layer_norm": True, "positions": "learned"},
}


def softmax(form: dict[str, object], seed: int) -> Backbone:
    config = ModelConfig(**{"mixer": SoftmaxAttention(heads=2), "width": 8, **form})  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    shape = Shape(in_features=4, out_features=3, tokens=9)
    return Backbone(config, shape, generator=generator).requires_grad_(False)


class Growth:
    """‖·‖ ≤ at_zero + slope · max ‖token‖, carried through a backbone."""

    def __init__(self, at_zero: float, slope: float) -> None:
        self.at_zero, self.slope = at_zero, slope

    def through(self, linear: nn.Linear, rows: slice = slice(None)) -> "Growth":
        size = float(torch.linalg.matrix_norm(linear.weight[rows], ord=2))
        return Growth(float(linear.bias[rows].norm()) + size * self.at_zero, size * self.slope)

    def plus(self, other: "Growth") -> "Growth":
        return Growth(self.at_zero + other.at_zero, self.slope + other.slope)


def growth(model: Backbone) -> Growth:
    """The C of the theorem, from the weights' norms, part by part as in its proof."""
    config, norms = model.config, iter(model.norms)

    def normed(u: Growth) -> Growth:
        if not model.norms:
            return u
        norm = next(norms)
        assert isinstance(norm, nn.LayerNorm)
        return Growth(float(norm.weight.abs().max()) * config.width**0.5 + float(norm.bias.norm()), 0.0)

    u = Growth(0.0, 1.0).through(model.read_in).plus(Growth(float(model.positions.norm(dim=1).max()), 0.0))
    for layer, mixer in enumerate(model.mixers):
        assert isinstance(mixer, SoftmaxAttentionLayer)
        values = normed(u).through(mixer.qkv, slice(2 * config.width, None))
        # Each head is a convex combination of its values, so that h heads together are at most √h times the largest.
        heads = Growth(values.at_zero * mixer.settings.heads**0.5, values.slope * mixer.settings.heads**0.5)
        mixed = heads.through(mixer.out)
        u = u.plus(mixed) if config.residual else mixed
        if model.perceptrons:
            first, _, last = model.perceptrons[layer]  # type: ignore[misc]
            hidden = normed(u).through(first).through(last)
            u = u.plus(hidden) if config.residual else hidden
    return normed(u).through(model.read_out)


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("seed", range(4))
def test_softmax_grows_at_most_linearly(form: str, seed: int) -> None:
    model = softmax(FORMS[form], seed)
    prompt = torch.randn(5, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    most, size = growth(model), prompt.norm(dim=-1).amax(dim=1)
    for scale in SCALES:
        emitted = model(scale * prompt).norm(dim=1)
        # Rounding is relative to the terms, which the bound bounds.
        assert (emitted <= (1 + 1e3 * U) * (most.at_zero + most.slope * scale * size)).all()


@pytest.mark.parametrize("form", list(FORMS))
def test_no_weights_keep_up_with_the_square(form: str) -> None:
    model = softmax(FORMS[form], 0)
    prompt = torch.randn(5, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    most, size = growth(model), prompt.norm(dim=-1).amax(dim=1)
    scale = SCALES[-1]
    target = (scale * prompt[:, 0, :3]).square().norm(dim=1)
    bound = most.at_zero + most.slope * scale * size
    assert (target > 2 * bound).all()  # so that the error is more than half of the target, whatever is emitted
    assert ((model(scale * prompt) - (scale * prompt[:, 0, :3]).square()).norm(dim=1) > target / 2).all()


@pytest.mark.parametrize("mixer", ["linear-attention", "gated-conv"])
def test_constructed_weights_follow_the_gradient_at_every_scale(mixer: str) -> None:
    n, rows = 3, 8
    model = constructions.gradient_step(mixer, n=n, rows=rows)
    generator = torch.Generator().manual_seed(0)
    A, b = (torch.randn(5, rows, *shape, dtype=torch.float64, generator=generator) for shape in ((n,), ()))
    x = torch.randn(5, n, dtype=torch.float64, generator=generator)
    once = model(layout.write(Problem(A, b, x)))
    for scale in SCALES:
        problem = Problem(scale * A, scale * b, x)
        # Powers of two round nothing: the emitted gradient is s² times that at scale 1, to the last bit.
        assert torch.equal(model(layout.write(problem)), scale**2 * once)
        sizes = gradient(problem.A.abs(), -problem.b.abs(), problem.x.abs())
        assert ((model(layout.write(problem)) - gradient(*problem)).abs() <= 2 * (rows + 2 * n + 8) * U * sizes).all()


@pytest.mark.parametrize("scale", SCALES)
def test_a_gated_convolution_squares_at_every_scale(scale: float) -> None:
    tokens = scale * torch.randn(2, 9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gated_convolution.square(dims=4, tokens=9)(tokens), tokens.square())
