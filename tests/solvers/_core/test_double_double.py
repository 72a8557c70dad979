"""Error-free transforms are exact, and what is built on them is as good as it says, against mpmath."""

import mpmath
import pytest
import torch

from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers._core.scaling import exponent, ldexp

from ..tolerance import unit

U2 = unit(torch.float64) ** 2


def values(a):
    """The numbers of a DD or tensor as mpmath's, exactly."""
    if isinstance(a, torch.Tensor):
        return [mpmath.mpf(v) for v in a.reshape(-1).tolist()]
    return [h + low for h, low in zip(values(a.hi), values(a.lo), strict=True)]


def random_dd(generator, *shape):
    hi = torch.randn(*shape, dtype=torch.float64, generator=generator)
    return dd.quick_two_sum(hi, hi * unit(torch.float64) * torch.rand(*shape, dtype=torch.float64, generator=generator))


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(80):
        yield


@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_transforms_are_exact(scale, generator):
    a = torch.randn(500, dtype=torch.float64, generator=generator) * scale
    b = torch.randn(500, dtype=torch.float64, generator=generator)
    for result, exact in (
        (dd.two_sum(a, b), [p + q for p, q in zip(values(a), values(b), strict=True)]),
        (dd.two_prod(a, b), [p * q for p, q in zip(values(a), values(b), strict=True)]),
        (dd.split(a), values(a)),
    ):
        assert values(result) == exact


@pytest.mark.parametrize(
    ("operation", "exact", "ulps"),
    [
        (dd.add, lambda p, q: p + q, 3),
        (dd.subtract, lambda p, q: p - q, 3),
        (dd.multiply, lambda p, q: p * q, 7),
        (dd.divide, lambda p, q: p / q, 10),
    ],
    ids=["add", "subtract", "multiply", "divide"],
)
def test_arithmetic(operation, exact, ulps, generator):
    a, b = random_dd(generator, 500), random_dd(generator, 500)
    b = DD(torch.cat([b.hi[:250], -a.hi[250:] * (1 + 2**-30)]), torch.cat([b.lo[:250], a.lo[250:]]))
    for got, p, q in zip(values(operation(a, b)), values(a), values(b), strict=True):
        assert abs(got - exact(p, q)) <= ulps * U2 * abs(exact(p, q))


def test_square_root(generator):
    a = random_dd(generator, 500)
    a = dd.multiply(a, a)
    for got, p in zip(values(dd.sqrt(a)), values(a), strict=True):
        assert abs(got - mpmath.sqrt(p)) <= 8 * U2 * mpmath.sqrt(p)
    assert dd.sqrt(dd.from_double(torch.zeros(1))).hi.item() == 0


@pytest.mark.parametrize("k", [1, 2, 3, 7, 64, 101])
def test_dot_cancels_without_loss(k, generator):
    a, b = random_dd(generator, k), random_dd(generator, k)
    a, b = DD(*(torch.cat([t, t]) for t in a)), DD(*(torch.cat([t, -t]) for t in b))
    b = DD(b.hi, torch.cat([b.lo[:k], b.lo[k:] * 0.5]))
    exact = mpmath.fsum(p * q for p, q in zip(values(a), values(b), strict=True))
    size = mpmath.fsum(abs(p * q) for p, q in zip(values(a), values(b), strict=True))
    assert abs(values(dd.dot(a, b))[0] - exact) <= 4 * 2 * k * U2 * size


@pytest.mark.parametrize("x_scale", [1e-290, 1.0, 1e290])
@pytest.mark.parametrize("A_scale", [1e-290, 1.0, 1e290])
def test_residual_at_any_scale(A_scale, x_scale, generator):
    m, n = 9, 4
    A = torch.randn(3, m, n, dtype=torch.float64, generator=generator)
    x = torch.randn(3, n, dtype=torch.float64, generator=generator)
    b = (A @ x.unsqueeze(-1)).squeeze(-1)
    A[..., 0], x[..., 0] = A[..., 0] * 2.0**40, x[..., 0] * 2.0**-40
    A, x = A * A_scale, x * x_scale
    # Where A x leaves the range of float64, b is beside it.
    product = A_scale * x_scale
    b = b * product if 0 < product < float("inf") else torch.ones_like(b)
    r, e = dd.residual(A, b, dd.from_double(x))
    for i in range(3):
        columns, unknowns, right = values(A[i]), values(x[i]), values(b[i])
        for k in range(m):
            terms = [right[k], *(-columns[k * n + j] * unknowns[j] for j in range(n))]
            got = values(DD(r.hi[i, k], r.lo[i, k]))[0] * mpmath.mpf(2) ** int(e[i])
            largest = max(*map(abs, right), *map(abs, terms))
            assert abs(got - mpmath.fsum(terms)) <= 4 * (n + 1) * U2 * largest


def test_powers_of_two_are_exact():
    v = torch.tensor([1.0, -3.5, 2.0**-1074, 2.0**1023, 0.0], dtype=torch.float64)
    for e in (-2200, -1074, -1000, -3, 0, 5, 1000, 2097):
        got = ldexp(v, torch.tensor(e))
        for a, b in zip(got.tolist(), v.tolist(), strict=True):
            exact = mpmath.ldexp(mpmath.mpf(b), e)
            assert a == (float(exact) if abs(exact) < mpmath.mpf(2) ** 1024 else float("inf") * (1 if b > 0 else -1))
    assert ldexp(torch.tensor([1.0]), torch.tensor(-149)).item() == 2.0**-149
    assert exponent(v, 0).item() == 1024
    assert exponent(torch.zeros(3), 0).item() == 0
