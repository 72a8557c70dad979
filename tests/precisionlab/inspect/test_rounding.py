"""The proved bound on rounding holds where it is tried, is not far above, and is what the documentation states."""

import math
from copy import deepcopy
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

import precisionlab
from precisionlab.inspect import spectral
from precisionlab.inspect.rounding import RoundingBound, prove_rounding
from precisionlab.inspect.spectral import Layer
from precisionlab.models import EquivariantStack
from precisionlab.tasks.exact_least_squares import solve_exactly
from solvers._core import double_double as dd

INTERVALS = {
    "end-to-end": (0.1761, 2.0976),
    "end-to-end-1e3": (1 / 2e3, 1.0),
    "end-to-end-1e5": (1 / 2e5, 1.0),
    "end-to-end-1e7": (1 / 2e7, 1.0),
}
U = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}
STATED = {"end-to-end": (2.4e3, 4.5e3), "end-to-end-1e3": (4.0e5, 2.2e8), "end-to-end-1e5": (4.0e7, 2.2e12)}
"""C and C' at 20 rows and 5 unknowns."""

DOCUMENT = (Path(__file__).parents[3] / "docs/end-to-end.md").read_text("utf-8")


@cache
def model_of(name: str) -> EquivariantStack:
    model = precisionlab.load(f"equivariant-attention/{name}").model
    assert isinstance(model, EquivariantStack)
    return model


@cache
def bound(name: str, rows: int, unknowns: int, unit: float = U[torch.float64]) -> RoundingBound:
    return prove_rounding(spectral.layers_of(model_of(name)), *INTERVALS[name], rows=rows, unknowns=unknowns, unit=unit)


def hard(name: str, m: int, n: int, residual: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices with a singular value near the lower end, the others at the ends or between, and b."""
    count, (low, high) = 200, INTERVALS[name]
    low, high = 1.001 * low, 0.999 * high

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    between = (low * (high / low) ** torch.rand(count, n, dtype=torch.float64, generator=generator)).clamp(low, high)
    ends = torch.where(normal(count, n) > 0, low, high)
    sigma = torch.where(torch.arange(count)[:, None] % 2 == 0, ends, between)
    sigma[:, 0] = low
    left, right = torch.linalg.qr(normal(count, m, n))[0], torch.linalg.qr(normal(count, n, n))[0]
    A = left * sigma.unsqueeze(-2) @ right.mT * (m**0.5 if model_of(name).mixer.mean else 1.0)
    x = torch.where(normal(count, 1) > 0, right[:, :, 0], right[:, :, -1])
    noise = normal(count, m, 1)
    noise = noise - left @ (left.mT @ noise)
    return A, (A @ x.unsqueeze(-1) + residual * noise / noise.norm(dim=1, keepdim=True)).squeeze(-1)


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "m", "n", "dtype"),
    [
        ("end-to-end", 6, 2, torch.float64),
        ("end-to-end", 20, 5, torch.float64),
        ("end-to-end", 20, 5, torch.float32),
        ("end-to-end-1e3", 6, 2, torch.float64),
        ("end-to-end-1e3", 80, 20, torch.float64),
        ("end-to-end-1e5", 20, 5, torch.float64),
    ],
)
def test_it_holds_and_is_not_far_above(
    name: str, m: int, n: int, dtype: torch.dtype, residual: float, generator: torch.Generator
) -> None:
    model = deepcopy(model_of(name)).to(dtype)
    A, b = (part.to(dtype) for part in hard(name, m, n, residual, generator))
    exact = solve_exactly(A.double(), b.double())
    with torch.no_grad():
        answer = model(torch.cat([A, b.unsqueeze(-1)], dim=-1)).double()
    error = dd.norm(dd.subtract(dd.from_double(answer), exact)).hi
    left = dd.norm(dd.subtract(dd.from_double(b), dd.matvec(A, exact))).hi / (m**0.5 if model.mixer.mean else 1.0)
    # In float32 the weights are other ones, and so is their proof.
    own = prove_rounding(spectral.layers_of(model), *INTERVALS[name], rows=m, unknowns=n, unit=U[dtype])
    allowed = torch.tensor([own.of(*sizes) for sizes in zip(dd.norm(exact).hi.tolist(), left.tolist(), strict=True)])
    assert (error <= allowed).all()
    # Worst cases of sums over m and n add up where errors are in truth of either sign.
    assert (allowed / error).min() <= 8 * m * n


def spoilt(
    layers: list[Layer], A: torch.Tensor, b: torch.Tensor, unit: float, left: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """The answer where every sum of products is off by all that it may be, with signs that add up."""
    m, n = A.shape[-2:]

    def rounded(P: torch.Tensor, Q: torch.Tensor, terms: int, rows: torch.Tensor) -> torch.Tensor:
        off = terms * unit / (1 - terms * unit) * (P.abs() @ Q.abs())
        return P @ Q + off * rows.unsqueeze(-1) * right.unsqueeze(-2)

    X, identity = torch.zeros_like(A), torch.eye(n, dtype=torch.float64)
    for layer in layers:
        aa, ax, xx = (rounded(P.mT, Q, m, right) for P, Q in ((A, A), (A, X), (X, X)))
        M_x = layer.m_x * identity + layer.aax * aa + layer.axx * ax + layer.xxx * xx
        X = rounded(A, layer.m_a * identity + layer.aaa * aa, n, left) + rounded(X, M_x, n, left)
    return rounded(b.unsqueeze(-2), X, m, torch.ones_like(b[:, :1])).squeeze(-2)


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize(("name", "m", "n"), [("end-to-end", 20, 5), ("end-to-end-1e3", 6, 2)])
def test_an_adversary_comes_near_it(name: str, m: int, n: int, residual: float, generator: torch.Generator) -> None:
    unit, layers = 2.0**-36, spectral.layers_of(model_of(name))  # float64 rounds nothing beside it
    A, b = (part / (m**0.5 if model_of(name).mixer.mean else 1.0) for part in hard(name, m, n, residual, generator))
    left, _, right = torch.linalg.svd(A, full_matrices=False)
    x = torch.linalg.lstsq(A, b.unsqueeze(-1)).solution.squeeze(-1)
    r = b - (A @ x.unsqueeze(-1)).squeeze(-1)
    own = bound(name, m, n, unit)
    allowed = torch.tensor([
        own.of(*sizes) for sizes in zip(x.norm(dim=-1).tolist(), r.norm(dim=-1).tolist(), strict=True)
    ])
    worst = torch.zeros_like(allowed)
    for rows, sign in product((left[:, :, -1], r), (1.0, -1.0)):
        error = (spoilt(layers, A, b, unit, sign * rows.sign(), right[:, -1].sign()) - x).norm(dim=-1)
        worst = torch.maximum(worst, error)
    assert (worst <= allowed).all()
    assert (allowed / worst).min() <= 10


@pytest.mark.parametrize("name", list(STATED))
def test_what_is_stated_is_proved(name: str) -> None:
    found = bound(name, 20, 5)
    assert [f"{found.solution:.1e}", f"{found.residual:.1e}"] == [f"{value:.1e}" for value in STATED[name]]
    assert f"| {STATED[name][0]:.1e} | {STATED[name][1]:.1e} |" in DOCUMENT
    # What r meets is made by the first layers, and nothing corrects it.
    assert sum(found.from_layers) == pytest.approx(1.0)
    assert f"{STATED[name][1]:.1e} | {100 * sum(found.from_layers[:2]):.0f}% |" in DOCUMENT


def test_it_grows_as_the_condition_for_x_and_as_its_square_for_r() -> None:
    small, large = bound("end-to-end-1e3", 20, 5), bound("end-to-end-1e5", 20, 5)
    assert 50 <= large.solution / small.solution <= 200
    assert 50**2 <= large.residual / small.residual <= 200**2


def test_where_nothing_stays_small_nothing_is_proved() -> None:
    assert bound("end-to-end-1e7", 20, 5).solution == math.inf
    assert bound("end-to-end", 20, 5, 2.0**-8).residual == math.inf


def test_a_unit_of_zero_is_exact_arithmetic() -> None:
    found = bound("end-to-end", 20, 5, 2.0**-300)
    layers = spectral.layers_of(model_of("end-to-end"))
    assert found.error == spectral.prove(layers, *INTERVALS["end-to-end"]).error
    assert found.solution == pytest.approx(bound("end-to-end", 20, 5).solution, rel=1e-6)
