"""Products of matrices in double-double, against all their digits."""

import mpmath
import pytest
import torch

from precisionlab.models import mesa_double_double
from solvers._core import double_double as dd
from solvers._core.double_double import DD


def drawn(generator: torch.Generator, *shape: int) -> DD:
    hi = torch.randn(*shape, dtype=torch.float64, generator=generator)
    return dd.quick_two_sum(hi, hi * 2.0**-53 * torch.rand(*shape, dtype=torch.float64, generator=generator))


def numbers(hi: torch.Tensor, lo: torch.Tensor) -> list[mpmath.mpf]:
    return [mpmath.mpf(a) + mpmath.mpf(b) for a, b in zip(hi.tolist(), lo.tolist(), strict=True)]


@pytest.mark.parametrize("k", [1, 7, 64, 1024])
def test_a_product_of_matrices_is_summed_without_loss(k: int, generator: torch.Generator) -> None:
    a, b = drawn(generator, 2, k), drawn(generator, k, 2)
    spread = 2.0 ** torch.randint(-30, 30, (k,), generator=generator)  # within a row, and within a column
    a, b = DD(*(part * spread for part in a)), DD(*(part / spread.flip(0)[:, None] for part in b))
    got = mesa_double_double.matmul(DD(*(part[None] for part in a)), b)
    with mpmath.workdps(80):
        for i in range(2):
            for j in range(2):
                row, column = numbers(a.hi[i], a.lo[i]), numbers(b.hi[:, j], b.lo[:, j])
                exact = mpmath.fsum(p * q for p, q in zip(row, column, strict=True))
                error = abs(numbers(got.hi[0, i, j : j + 1], got.lo[0, i, j : j + 1])[0] - exact)
                assert error <= k * mpmath.mpf(2) ** -96 * max(map(abs, row)) * max(map(abs, column))
