"""Least squares in double-double against the exact rational solution; the shortest solution against its definition."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks.exact_least_squares import solve, solve_exactly
from solvers import errors, reference
from solvers.problems import hilbert, random_problem

U = 2.0**-53
UNIT = 2.0**-100
"""Of double-double, with a margin."""


@pytest.mark.parametrize("residual", [0.0, 1.0])
@given(n=st.integers(1, 6), extra=st.integers(1, 6), power=st.integers(0, 12), seed=st.integers(0, 2**31))
def test_the_solution_is_exact_to_double_double(residual: float, n: int, extra: int, power: int, seed: int) -> None:
    kappa, m = 10.0**power, n + extra
    problem = random_problem(
        m, n, condition=kappa, residual=residual, batch=(2,), generator=torch.Generator().manual_seed(seed)
    )
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    found = solve_exactly(problem.A, problem.b)
    difference = (found.hi - exact[0]) + (found.lo - exact[1])
    relative = 1 + residual * kappa / problem.x.norm(dim=-1)
    # The oracle is a pair of float64 as well, right to u² and no further.
    allowed = (m * n * UNIT * kappa * relative + U**2) * exact[0].norm(dim=-1)
    assert bool((difference.norm(dim=-1) <= 8 * allowed).all())
    plain = torch.as_tensor(errors.forward_error(solve(problem.A, problem.b), exact))
    assert bool((plain <= 8 * m * n * U * kappa * relative).all())


def test_a_hilbert_matrix_past_the_reach_of_float64() -> None:
    problem = hilbert(13, m=15)
    A, b = problem.A[None], problem.b[None]
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(A, b))
    found = solve_exactly(A, b)
    # κ is beyond 1/u: float64 has no digit left, double-double a dozen.
    kappa = float(problem.condition)
    assert kappa > 1 / U
    assert errors.forward_error(solve(A, b), exact)[0] > U
    relative = ((found.hi - exact[0]) + (found.lo - exact[1])).norm() / exact[0].norm()
    assert relative <= 15 * 13 * UNIT * kappa


@given(m=st.integers(1, 4), extra=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_shortest_solution_solves_and_lies_in_the_row_space(m: int, extra: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(1, m, m + extra, dtype=torch.float64, generator=generator)
    b = torch.randn(1, m, dtype=torch.float64, generator=generator)
    found = solve_exactly(A, b)
    s = torch.linalg.svdvals(A)[0]
    kappa = float(s[0] / s[-1])
    with mpmath.workdps(50):
        x = mpmath.matrix([
            mpmath.mpf(h) + mpmath.mpf(low) for h, low in zip(*(p[0].tolist() for p in found), strict=True)
        ])
        rows, right = mpmath.matrix(A[0].tolist()), mpmath.matrix(b[0].tolist())
        shortest = rows.T * mpmath.lu_solve(rows * rows.T, right)
        error = float(mpmath.norm(x - shortest) / mpmath.norm(shortest))
    assert error <= 8 * m * (m + extra) * UNIT * kappa
    plain = float((solve(A, b) - found.hi).norm() / found.hi.norm())
    assert plain <= 8 * m * (m + extra) * U * kappa
