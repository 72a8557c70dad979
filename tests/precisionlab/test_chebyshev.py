"""The Chebyshev task against mpmath, its schedule against the polynomials, and the solver against theory."""

from functools import partial

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import Chebyshev
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.chebyshev import EmittedChebyshev, prompt, step
from solvers import Status, errors, reference
from solvers.learned.iterates import LearnedChebyshev, following_weight
from solvers.problems import random_problem

U = 2.0**-53


class Exact(torch.nn.Module):
    """A model that emits what it should, for prompts of five unknowns and any number of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        A, b, common = tokens[..., :5], tokens[..., 5], tokens[:, 0, 6:]
        return step(A, b, common[:, :5], common[:, 5:10], common[:, 10], divisor=tokens.shape[1] / 2)


def test_the_error_is_measured_above_the_predictions_precision() -> None:
    task = Chebyshev(n=3, rows=5)
    example = task.sample(10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with mpmath.workdps(50):
        squares = []
        for tokens, emitted in zip(example.prompt.tolist(), example.target.tolist(), strict=True):
            rows = [[mpmath.mpf(value) for value in token] for token in tokens]
            x, y, weight = rows[0][4:7], rows[0][7:10], rows[0][10]
            residual = [row[3] - sum(a * c for a, c in zip(row[:3], x, strict=True)) for row in rows]
            gradient = [sum(r * row[j] for r, row in zip(residual, rows, strict=True)) * 2 / 5 for j in range(3)]
            exact = [y[j] + weight * (x[j] - y[j] + gradient[j]) for j in range(3)]
            squares += [(mpmath.mpf(e) - v) ** 2 for e, v in zip(emitted, exact, strict=True)]
        expected = float(mpmath.fsum(squares) / len(squares))
    assert 0 < expected <= (32 * U) ** 2 * float(example.target.square().max())
    measured = float(mean_squared_error(task, example.target, example.prompt))
    assert abs(measured - expected) <= 2.0**-40 * expected


@given(rho=st.floats(0.01, 0.9999))
def test_the_weights_are_ratios_of_chebyshev_polynomials(rho: float) -> None:
    """ω_{k+1} = 2 T_k(1/ρ) / (ρ T_{k+1}(1/ρ)), for k from 1."""
    weight, square = torch.ones(1, dtype=torch.float64), torch.tensor([rho * rho], dtype=torch.float64)
    for k in range(1, 12):
        weight = following_weight(weight, square)
        with mpmath.workdps(50):
            z = 1 / mpmath.mpf(rho)
            exact = 2 * mpmath.chebyt(k, z) * z / mpmath.chebyt(k + 1, z)
            # Each ω is made of the one before, whose error is not amplified, and of ρ² as it was rounded.
            assert abs(weight.item() - exact) <= 8 * k**2 * U * exact


@pytest.mark.parametrize("condition", [3.0, 30.0])
def test_the_error_is_below_chebyshevs_bound_at_every_step(condition: float) -> None:
    problem = random_problem(
        23, 4, condition=condition, residual=0.1, batch=(20,), generator=torch.Generator().manual_seed(2)
    )
    solver = LearnedChebyshev(EmittedChebyshev(Exact(), n=5), max_iterations=round(8 * condition), tolerance=0.0)
    trace = torch.as_tensor(solver.solve(problem.A, problem.b, record=True).trace)
    exact = tuple(torch.as_tensor(part).expand_as(trace) for part in reference.solve_exact(problem.A, problem.b))
    worst = torch.as_tensor(errors.forward_error(trace, exact)).double().amax(dim=1)
    q = (condition - 1) / (condition + 1)
    k = torch.arange(len(worst), dtype=torch.float64)
    floor = 64 * U * condition**2 * (1 + problem.residual_norm / problem.x.norm(dim=-1)).max()
    assert bool((worst <= 2 * q**k / (1 + q ** (2 * k)) * (1 + 2.0**-20) + floor).all())


@given(m=st.integers(1, 70), batch=st.integers(1, 3), n=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_rows_of_zeros_make_the_mean_a_sum(m: int, batch: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    A, b = (torch.randn(batch, m, k, dtype=torch.float64, generator=generator) / m**0.5 for k in (n, 1))
    x, y = torch.randn(2, batch, n, dtype=torch.float64, generator=generator)
    weight = 1 + torch.rand(batch, dtype=torch.float64, generator=generator)
    emitted = EmittedChebyshev(Exact(), n=5)(A, b[..., 0], x, y, weight)
    # Only the order of summation differs: sums of m and of n products.
    size = 1 + max(float(part.abs().max()) for part in (A * m**0.5, b * m**0.5, x, y))
    assert (emitted - step(A, b[..., 0], x, y, weight)).abs().max() <= 8 * (m + n) * U * n * size**3


def test_every_token_holds_the_iterates_and_the_weight() -> None:
    A, b = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[3.0, 4.0]])
    x, y, weight = torch.tensor([[5.0]]), torch.tensor([[6.0]]), torch.tensor([7.0])
    assert prompt(A, b, x, y, weight).tolist() == [[[1.0, 3.0, 5.0, 6.0, 7.0], [2.0, 4.0, 5.0, 6.0, 7.0]]]


def test_it_converges_and_what_it_cannot_do_is_said() -> None:
    solver = LearnedChebyshev(EmittedChebyshev(Exact(), n=5))
    problem = random_problem(
        20, 5, condition=10.0, residual=1.0, batch=(9,), generator=torch.Generator().manual_seed(4)
    )
    assert bool((torch.as_tensor(solver.solve(problem.A, problem.b).status) == Status.CONVERGED).all())
    with pytest.raises(ValueError, match="got 6 unknowns, want at most 5"):
        solver.solve(torch.eye(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    with pytest.raises(ValueError, match="rows must be at least n"):
        Chebyshev(n=5, rows=4)
    unstable = partial(LearnedChebyshev, lambda A, b, x, y, weight: 1e200 * (x + 1))()
    assert bool((torch.as_tensor(unstable.solve(problem.A, problem.b).status) == Status.BREAKDOWN).all())
