"""One rule for rank: every solver says the same of matrices that a look at the diagonal of R, or at units, gets wrong.

σ here is that of A with its columns brought to comparable size; each case is a factor of 100 or more from the threshold
σ_min = max(m, n) eps σ_max.
"""

import pytest
import torch

import solvers
from solvers import Promise, Status
from solvers._core.rank import condition_of, rank_limit

from .cases import DIRECT

JUDGES = [name for name in solvers.names() if name != "reference"]
FULL, DEFICIENT = Status.CONVERGED, Status.RANK_DEFICIENT
F64, F32 = torch.float64, torch.float32


def recurrence(n):
    """I − triu(1, 1): the diagonal is 1, the least singular value about 2^(1−n)."""
    return torch.eye(n, dtype=F64) - torch.ones(n, n, dtype=F64).triu(1)


def bidiagonal(n):
    """1 on the diagonal and 2 above: κ about 2^n, and no small entry anywhere."""
    return torch.eye(n, dtype=F64) + 2 * torch.diag(torch.ones(n - 1, dtype=F64), 1)


def kahan(n, c=0.6):
    """diag(1, s, s², …) (I − c triu(1, 1)): σ_min far below its last pivot, in an order that pivoting leaves."""
    s = (1 - c * c) ** 0.5
    return s ** torch.arange(n, dtype=F64)[:, None] * (
        torch.eye(n, dtype=F64) - c * torch.ones(n, n, dtype=F64).triu(1)
    )


def turned(R, m):
    """Q R with Q of m rows."""
    Q = torch.linalg.qr(torch.randn(m, len(R), dtype=F64, generator=torch.Generator().manual_seed(m)))[0]
    return Q @ R


def lauchli(size):
    return torch.cat([torch.ones(1, 3, dtype=F64), size * torch.eye(3, dtype=F64)])


def repeated(n, size=1.0):
    A = torch.randn(n + 3, n, dtype=F64, generator=torch.Generator().manual_seed(n))
    A[:, n - 1] = size * A[:, 0]
    return A


def with_zero_column(n):
    A = repeated(n + 1)[:, :n].clone()
    A[:, n // 2] = 0
    return A


CASES = {
    "recurrence 70×60": (turned(recurrence(60), 70), F64, DEFICIENT),
    "recurrence 60×60": (recurrence(60), F64, DEFICIENT),
    "recurrence 30×27": (turned(recurrence(27), 30), F64, FULL),
    "recurrence 20×20, single": (recurrence(30), F32, DEFICIENT),
    "recurrence 12×10, single": (turned(recurrence(10), 12), F32, FULL),
    "bidiagonal 60×60": (bidiagonal(60), F64, DEFICIENT),
    "bidiagonal 25×20": (turned(bidiagonal(20), 25), F64, FULL),
    "Kahan 80×80": (kahan(80), F64, DEFICIENT),
    "Kahan 70×60": (turned(kahan(60), 70), F64, DEFICIENT),
    "Kahan 12×10": (turned(kahan(10), 12), F64, FULL),
    "Läuchli 2⁻²⁰": (lauchli(2.0**-20), F64, FULL),
    "Läuchli 2⁻⁶⁰": (lauchli(2.0**-60), F64, DEFICIENT),
    "diag(1, 2⁻⁶⁰)": (torch.diag(torch.tensor([1.0, 2.0**-60], dtype=F64)), F64, FULL),
    "diag(2⁻³⁰⁰, 1, 2³⁰⁰)": (torch.diag(torch.tensor([2.0**-300, 1.0, 2.0**300], dtype=F64)), F64, FULL),
    "repeated column, 2×2": (repeated(2)[:2], F64, DEFICIENT),
    "repeated column, 8×5": (repeated(5), F64, DEFICIENT),
    "repeated column in other units": (repeated(7, 2.0**-200), F64, DEFICIENT),
    "repeated column, single": (repeated(6), F32, DEFICIENT),
    "zero column": (with_zero_column(5), F64, DEFICIENT),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", JUDGES)
def test_all_solvers_say_the_same_of_rank(name, case):
    A, dtype, expected = CASES[case]
    A = A.to(dtype)
    # The rank is judged of A, however far an iteration came.
    solver = solvers.get(name, **({} if name in DIRECT else {"max_iterations": 2}))
    b = A.sum(dim=-1)
    result = solver.solve(torch.stack([A, A.flip(-1)]), torch.stack([b, b]))
    deficient = [status == DEFICIENT for status in result.status.tolist()]
    assert deficient == [expected == DEFICIENT] * 2
    if name in {"qr", "svd"}:
        assert result.status.tolist() == [expected] * 2
    # What the solver says of κ is on the same side of the threshold, by the factor that it documents.
    limit, said = rank_limit(*A.shape, dtype), result.condition
    if expected == DEFICIENT:
        assert bool((said >= limit).all())
    elif Promise.COLUMNWISE in solver.promises:
        assert bool((said <= A.shape[-1] * limit / 100).all())


@pytest.mark.parametrize("name", ["qr", "svd", "cgls", "lsqr", "lsmr", "gradient-descent", "chebyshev"])
def test_rank_is_judged_by_columns_where_these_are_the_worse(name):
    # Columns within a factor 2 of one size: 0.99 counts as 1.98, and κ passes the threshold that of A does not.
    A = torch.tensor([[0.99, 1.0], [0.0, 1e-15]], dtype=F64)
    assert float(torch.linalg.cond(A)) < rank_limit(2, 2, F64)
    options = {} if name in DIRECT else {"max_iterations": 2}
    assert int(solvers.get(name, **options).solve(A, A.sum(dim=-1)).status) == DEFICIENT


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_the_condition_does_not_know_the_units_of_the_unknowns(dtype, generator):
    R = torch.randn(8, 5, 5, dtype=dtype, generator=generator).triu()
    units = 2.0 ** torch.tensor([0, 30, -30, 7, -50], dtype=dtype)
    assert torch.equal(condition_of(R * units), condition_of(R))
    assert bool((condition_of(R) < torch.linalg.cond(R * units)).all())
