"""What a stack of equivariant attention is on the spectrum, and a proof of how far its answer can be from the solution.

A model that emits x̂ = Σ_i P(i) b_i from tokens that start as [a_i, 0] emits x̂ = q(AᵀA) Aᵀb, q a polynomial, whatever
n and m. At full rank Aᵀb = AᵀA x*, so along each right singular vector of A the answer is s = λ q(λ) times the
solution's part, λ = σ², and

    ‖x̂ − x*‖ <= max over the spectrum of |1 − λ q(λ)| · ‖x*‖     for every b, whatever its residual.

A hidden layer with coefficients θ maps s ↦ (m_x + t_aax λ) s + t_axx s² + t_xxx s³/λ + m_a λ + t_aaa λ². In e = 1 − s a
layer near convergence is e ↦ c₀ + c₁ e + c₂ e² + … with c₀ and c₁ near zero: nothing cancels.

Proof. Interval arithmetic with outward rounding (`mpmath.iv`), from the weights as stored. The interval of λ is cut
into pieces; on each the enclosure of e goes through the layers, by mean values. From the first layer on after which all
are pure (m_x and t_axx alone), e ↦ c₀ + c₁ e + c₂ e² knows no λ: the hull of all pieces goes through these layers at
once, by the exact range of a parabola. A piece that is enclosed too widely is halved. The bound holds in exact
arithmetic; `rounding` proves what rounding adds.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import mpmath
import torch

from precisionlab.models.equivariant_attention import EquivariantStack

_BITS = 160
_MOST_PIECES = 200_000


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One hidden layer's coefficients, exact.

    Args:
        m_a: Of a.
        m_x: Of x.
        aaa: Of a(a·a).
        aax: Of a(a·x).
        axx: Of x(a·x).
        xxx: Of x(x·x).
    """

    m_a: float
    m_x: float
    aaa: float
    aax: float
    axx: float
    xxx: float

    @property
    def pure(self) -> bool:
        """Whether its effect depends on s alone."""
        return self.m_a == self.aaa == self.aax == self.xxx == 0


@dataclass(frozen=True, kw_only=True)
class SpectralBound:
    """A proved bound: ‖x̂ − x*‖ <= error ‖x*‖ in exact arithmetic, for every A with singular values in the interval.

    Args:
        smallest: The smallest singular value of A, or of A/√N where the model divides by the number of rows.
        largest: The largest.
        error: ε, rounded up.
        pieces: Into how many the interval was cut.
    """

    smallest: float
    largest: float
    error: float
    pieces: int


def layers_of(model: EquivariantStack) -> list[Layer]:
    """The hidden layers of a model with channels a and x, whose answer is x read against b.

    Args:
        model: A trained model.

    Returns:
        Its layers.

    Raises:
        ValueError: If it is another kind of model.
    """
    read, rest = model.emit_read.tolist(), [*model.emit_mix.tolist(), *model.emit_attention.tolist()]
    if model.own != 1 or model.given != 1 or read != [0.0, 1.0] or any(rest):
        raise ValueError("model: wants two channels, a and x, with x read against b")
    names = {(0, 0, 0): "aaa", (0, 0, 1): "aax", (0, 1, 1): "axx", (1, 1, 1): "xxx"}
    made = []
    for mix, attention in zip(model.mix[:, 0].double().tolist(), model.attention[:, 0].double().tolist(), strict=True):
        products = dict.fromkeys(names.values(), 0.0)
        for product, weight in zip(model.products, attention, strict=True):
            low, middle, high = sorted(product)
            products[names[low, middle, high]] += weight
        made.append(Layer(m_a=mix[0], m_x=mix[1], **products))
    return made


def answered(layers: Sequence[Layer], eigenvalues: torch.Tensor) -> torch.Tensor:
    """S = λ q(λ): which part of the solution is emitted along an eigenvector of AᵀA.

    Args:
        layers: Of the model.
        eigenvalues: λ, float64.

    Returns:
        s, of the same shape.
    """
    s = torch.zeros_like(eigenvalues)
    for layer in layers:
        linear, cubic = layer.m_x + layer.aax * eigenvalues, layer.xxx / eigenvalues
        s = (layer.m_a + layer.aaa * eigenvalues) * eigenvalues + s * (linear + s * (layer.axx + s * cubic))
    return s


def prove(layers: Sequence[Layer], smallest: float, largest: float, *, tightness: float = 1.02) -> SpectralBound:
    """A bound on |1 − λ q(λ)| over all λ from smallest² to largest².

    Args:
        layers: Of the model.
        smallest: The smallest singular value, above zero.
        largest: The largest.
        tightness: How much larger than what is seen at the ends of pieces the bound may be; smaller takes longer.

    Returns:
        The bound.
    """
    with working():
        found, pieces = hulls(layers, smallest, largest, tightness=tightness)
        error = mpmath.mpf(max(abs(found[-1].a), abs(found[-1].b)))
        return SpectralBound(smallest=smallest, largest=largest, error=up(error), pieces=pieces)


@contextmanager
def working() -> Iterator[None]:
    """Interval arithmetic at the precision of these proofs, for a block, and room for the ends of its intervals."""
    before, mpmath.iv.prec = mpmath.iv.prec, _BITS
    try:
        with mpmath.workprec(_BITS):
            yield
    finally:
        mpmath.iv.prec = before


def first_pure(layers: Sequence[Layer]) -> int:
    """From which layer on all are pure.

    Args:
        layers: Of the model.

    Returns:
        The place of the first of them, the number of layers where the last is not.
    """
    return max((place + 1 for place, layer in enumerate(layers) if not layer.pure), default=0)


def hulls(
    layers: Sequence[Layer], smallest: float, largest: float, *, tightness: float = 1.02
) -> tuple[list[Any], int]:
    """Enclosures of e = 1 − s over an interval of singular values, before the first pure layer and after each.

    Args:
        layers: Of the model.
        smallest: The smallest singular value, above zero.
        largest: The largest.
        tightness: As that of `prove`.

    Returns:
        The enclosures, intervals of mpmath, and into how many pieces the interval was cut.

    Raises:
        ValueError: If the interval is empty, or would have to be cut into too many pieces.
    """
    if not 0 < smallest <= largest < math.inf:
        raise ValueError(f"smallest, largest: got {smallest} and {largest}, want 0 < smallest <= largest")
    start = first_pure(layers)
    low, high = mpmath.iv.mpf(smallest) ** 2, mpmath.iv.mpf(largest) ** 2
    hull, pieces = _hull(layers[:start], low.a, high.b, tightness)
    found = [hull]
    for layer in layers[start:]:
        found.append(_parabola(layer, found[-1]))
    return found, pieces


def _hull(layers: Sequence[Layer], low: Any, high: Any, tightness: float) -> tuple[Any, int]:
    """An enclosure of e = 1 − s after these layers for all λ in an interval, and the number of pieces it took."""
    iv = mpmath.iv
    ratio = mpmath.mpf(high) / mpmath.mpf(low)
    count = max(8, int(4 * mpmath.log(ratio, 2)))
    cuts = [mpmath.mpf(low) * ratio ** (mpmath.mpf(k) / count) for k in range(count)] + [mpmath.mpf(high)]
    points = [_through(layers, iv.mpf(cut)) for cut in cuts]
    least, most = min(e.a for e in points), max(e.b for e in points)
    coarse = [iv.mpf([left, right]) for left, right in pairwise(cuts)]
    pieces, hull = len(coarse), iv.mpf([least, most])
    while coarse:
        halves = []
        for piece in coarse:
            enclosed = _through(layers, piece)
            other = max(abs(least), abs(most)) / 2  # a side that is so much smaller rules nothing
            sides = ((-enclosed.a, -least), (enclosed.b, most))
            if all(bound <= other or _near(bound, reached, tightness) for bound, reached in sides):
                hull = iv.mpf([min(hull.a, enclosed.a), max(hull.b, enclosed.b)])
                continue
            middle = (piece.a + piece.b) / 2
            point = _through(layers, iv.mpf(middle))
            least, most = min(least, point.a), max(most, point.b)
            halves += [iv.mpf([piece.a, middle]), iv.mpf([middle, piece.b])]
        pieces, coarse = pieces + len(halves) // 2, halves
        if pieces > _MOST_PIECES:
            raise ValueError(f"the interval would have to be cut into more than {_MOST_PIECES} pieces")
    return hull, pieces


def _near(bound: Any, reached: Any, tightness: float) -> bool:
    """Whether a bound is near what is reached: relatively, and in what is missing to 1 where nothing has converged."""
    return bool(bound <= tightness * abs(reached) and (reached >= 1 or (1 - bound) * tightness >= 1 - reached))


def _through(layers: Sequence[Layer], eigenvalue: Any) -> Any:
    """An enclosure of e = 1 − s after these layers for λ in an interval."""
    # In s nothing cancels while little has converged, in e where much has. Both forms hold, as they stand and by mean
    # values, and so does what they have in common.
    iv = mpmath.iv
    e = iv.mpf(1)
    for layer in layers:
        in_s, in_e = _in_s(layer, eigenvalue), _in_e(layer, eigenvalue)
        s = 1 - e
        found = [1 - value for value in _values(in_s, s)] + _values(in_e, e)
        e = iv.mpf([max(value.a for value in found), min(value.b for value in found)])
    return e


def _values(c: list[Any], at: Any) -> list[Any]:
    """Two enclosures of a cubic over an interval: as it stands, and by its slope about the middle."""
    middle = mpmath.iv.mpf(at.mid)
    slope = c[1] + at * (2 * c[2] + 3 * at * c[3])
    return [
        c[0] + at * (c[1] + at * (c[2] + at * c[3])),
        c[0] + middle * (c[1] + middle * (c[2] + middle * c[3])) + slope * (at - middle),
    ]


def _in_s(layer: Layer, eigenvalue: Any) -> list[Any]:
    """The coefficients of s ↦ s', for λ in an interval."""
    iv = mpmath.iv
    return [
        (iv.mpf(layer.m_a) + iv.mpf(layer.aaa) * eigenvalue) * eigenvalue,
        iv.mpf(layer.m_x) + iv.mpf(layer.aax) * eigenvalue,
        iv.mpf(layer.axx),
        iv.mpf(layer.xxx) / eigenvalue if layer.xxx else iv.mpf(0),
    ]


def _in_e(layer: Layer, eigenvalue: Any) -> list[Any]:
    """The coefficients of e ↦ 1 − s'(1 − e)."""
    constant, linear, square, cubic = _in_s(layer, eigenvalue)
    return [1 - constant - linear - square - cubic, linear + 2 * square + 3 * cubic, -square - 3 * cubic, cubic]


def _parabola(layer: Layer, e: Any) -> Any:
    """The range of e ↦ c₀ + c₁ e + c₂ e² over an interval: at its ends, and at the vertex where that may lie inside."""
    iv = mpmath.iv
    c = _in_e(layer, iv.mpf(1))
    points = [iv.mpf(e.a), iv.mpf(e.b)]
    if layer.axx:
        vertex = -c[1] / (2 * c[2])
        if vertex.b >= e.a and vertex.a <= e.b:
            points.append(vertex)
    values = [c[0] + point * (c[1] + point * c[2]) for point in points]
    return iv.mpf([min(value.a for value in values), max(value.b for value in values)])


def up(value: Any) -> float:
    """The smallest float64 that is not below a number.

    Args:
        value: Of mpmath.

    Returns:
        The float64.
    """
    nearest = float(value)
    return nearest if mpmath.mpf(nearest) >= value else math.nextafter(nearest, math.inf)
