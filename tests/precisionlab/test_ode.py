"""In-context ODEs: collocation is exact where it should be, its solutions solve, least squares is consistent."""

from dataclasses import replace
from itertools import pairwise

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import Ode, collocation
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.exact_least_squares import solve, solve_exactly
from precisionlab.tasks.ode import Operator, covariance_root, response

U = 2.0**-53


@given(degree=st.integers(1, 40), data=st.data())
def test_derivative_and_interpolation_are_exact_on_polynomials(degree: int, data: st.DataObject) -> None:
    power = data.draw(st.integers(0, degree))
    t = collocation.points(degree)
    D = collocation.derivative(degree)
    # A Chebyshev polynomial is bounded by 1, its derivative by the square of its degree.
    values = torch.special.chebyshev_polynomial_t(t, power)
    slopes = power * torch.special.chebyshev_polynomial_u(t, power - 1) if power else torch.zeros_like(t)
    assert (D @ values - slopes).abs().max() <= 16 * degree**2 * (degree + 1) * U
    at = torch.cat([2 * torch.rand(20, dtype=torch.float64) - 1, t])
    found = collocation.interpolation(degree, at) @ values
    assert (found - torch.special.chebyshev_polynomial_t(at, power)).abs().max() <= 64 * (degree + 1) ** 2 * U


def test_the_points_are_chebyshevs() -> None:
    for degree in (1, 2, 7, 20):
        t = collocation.points(degree)
        exact = [float(mpmath.cos(mpmath.pi * j / degree)) for j in range(degree + 1)]
        assert (t - torch.tensor(exact, dtype=torch.float64)).abs().max() <= 4 * U
        assert torch.equal(t, -t.flip(0))


def solution(a1: float, a3: float, a4: float, u0: float, omega: float, t: float) -> mpmath.mpf:
    """u' = a₁ cos(ω t) + a₃ u + a₄, u(0) = u₀, in closed form."""
    a1, a3, a4, u0, omega, t = map(mpmath.mpf, (a1, a3, a4, u0, omega, t))
    scale = a1 / (a3**2 + omega**2)
    forced = scale * (omega * mpmath.sin(omega * t) - a3 * mpmath.cos(omega * t))
    rest = -a4 / a3
    return forced + rest + (u0 - rest + scale * a3) * mpmath.exp(a3 * t)


@given(
    a1=st.floats(0.5, 1.5),
    a3=st.floats(0.05, 1),
    sign=st.sampled_from([-1.0, 1.0]),
    a4=st.floats(-1, 1),
    u0=st.floats(-1, 1),
    tau=st.floats(-1, 1),
)
def test_the_response_solves_the_differential_equation(
    a1: float, a3: float, sign: float, a4: float, u0: float, tau: float
) -> None:
    sensors, omega = 21, 1.0
    operator = Operator(*(torch.tensor([value], dtype=torch.float64) for value in (a1, sign * a3, a4, tau)))
    t = collocation.points(sensors - 1)
    row = torch.cat([torch.cos(omega * t), torch.tensor([u0, 1.0], dtype=torch.float64)])
    answer = float(row @ response(operator, sensors)[0])
    exact = float(solution(a1, sign * a3, a4, u0, omega, tau))
    # Entire functions at twenty degrees: what is left is the rounding of a solve with D, (M² u).
    assert abs(answer - exact) <= 64 * sensors**2 * U


def test_the_collocation_error_falls_geometrically() -> None:
    operator = Operator(*(torch.tensor([value], dtype=torch.float64) for value in (1.0, 0.5, 0.3, 0.9)))
    errors = []
    for sensors in (5, 9, 13, 17):
        row = torch.cat([torch.cos(3 * collocation.points(sensors - 1)), torch.tensor([0.2, 1.0]).double()])
        exact = float(solution(1.0, 0.5, 0.3, 0.2, 3.0, 0.9))
        errors.append(abs(float(row @ response(operator, sensors)[0]) - exact))
    assert all(after <= before / 16 for before, after in pairwise(errors))


@given(seed=st.integers(0, 2**31))
def test_initial_value_and_equation_hold_at_the_points(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    task = Ode(sensors=11, points=14, forcing_length_scale=0.5, operator_scale=1.0)
    rows, operator = task.rows(1, generator=generator)[0], task.operators(1, generator=generator)
    t, D = collocation.points(10), collocation.derivative(10)
    everywhere = Operator(*(part.expand(11) for part in operator[:3]), t)
    u = rows @ response(everywhere, 11).mT  # (points of the prompt, collocation points)
    size = 64 * 11**3 * U * float(u.abs().max() + rows.abs().max())
    assert (u[:, 5] - rows[:, 11]).abs().max() <= size
    defect = u @ D.mT - (operator.forcing * rows[:, :11] + operator.growth * u + operator.source)
    defect[:, 5] = 0  # there the initial value stands in its place
    assert defect.abs().max() <= size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length_scale", [0.1, 0.3, 1.0])
def test_least_squares_predicts_the_answer(dtype: torch.dtype, length_scale: float) -> None:
    task = Ode(sensors=11, points=20, forcing_length_scale=length_scale, operator_scale=0.5)
    example = task.sample(50, generator=torch.Generator().manual_seed(1), dtype=dtype)
    size = example.prompt[..., -1].double().square().mean()
    exact = solve_exactly(*task.read(example.prompt.double())[:2])
    query = task.read(example.prompt.double()).query
    predicted = (query * (exact.hi + exact.lo)).sum(dim=-1, keepdim=True)
    error = (predicted - example.target.double()).square().median()
    u = torch.finfo(dtype).eps / 2
    assert error <= (64 * task.unknowns * u) ** 2 * size
    rounding = (64 * task.unknowns * U) ** 2 * size
    assert (task.predictions(example.prompt.double(), solve) - predicted).square().median() <= rounding


def test_the_error_is_against_the_exact_prediction() -> None:
    task = Ode(sensors=5, points=20, forcing_length_scale=0.5)
    example = task.sample(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = []
    with mpmath.workdps(60):
        A, b, query = task.read(example.prompt)
        for rows, right, last in zip(A.tolist(), b.tolist(), query.tolist(), strict=True):
            matrix = mpmath.matrix(rows)
            x = mpmath.lu_solve(matrix.T * matrix, matrix.T * mpmath.matrix(right))
            exact.append(mpmath.fsum(q * c for q, c in zip(last, x, strict=True)))
        for relative_error in (0.0, 2.0**-20):
            prediction = example.target * (1 + relative_error)
            squares = [(mpmath.mpf(p) - e) ** 2 for p, e in zip(prediction.flatten().tolist(), exact, strict=True)]
            expected = float(mpmath.fsum(squares) / len(squares))
            measured = float(mean_squared_error(task, prediction, example.prompt))
            assert expected > 0
            assert abs(measured - expected) <= 2.0**-8 * expected


def test_shifts_shift_what_they_say() -> None:
    task = Ode(sensors=9, points=40, forcing_length_scale=0.7, operator_scale=0.2, initial_scale=1.0)

    def rows(changed: Ode) -> torch.Tensor:
        return changed.rows(8, generator=torch.Generator().manual_seed(0))

    plain = rows(task)
    assert plain[..., 9].abs().max() <= 1
    assert torch.equal(rows(replace(task, initial_scale=4.0))[..., 9], 4 * plain[..., 9])
    assert torch.equal(rows(replace(task, initial_scale=4.0))[..., :9], plain[..., :9])
    rough = rows(replace(task, forcing_length_scale=0.1))
    steps = [(f[..., 1:9] - f[..., :8]).square().mean() for f in (plain, rough)]
    assert steps[1] > 4 * steps[0]
    few, many = (
        replace(task, operator_scale=scale).operators(500, generator=torch.Generator().manual_seed(0))
        for scale in (0.2, 1.0)
    )
    for before, after, centre in zip(few[:3], many[:3], (1.0, 0.0, 0.0), strict=True):
        assert ((after - centre) - 5 * (before - centre)).abs().max() <= 16 * U
    assert few.growth.abs().max() <= 0.2
    assert (few.forcing - 1).abs().max() <= 0.1
    assert torch.equal(few.time, many.time)


@pytest.mark.parametrize("length_scale", [0.05, 0.3, 1.0])
def test_forcings_have_the_covariance_of_the_process(length_scale: float) -> None:
    root, t = covariance_root(21, length_scale), collocation.points(20)
    K = torch.exp(-(((t - t[:, None]) / length_scale) ** 2) / 2)
    assert (root @ root - K).abs().max() <= 8 * 21**2 * U
    assert (root - root.mT).abs().max() <= 8 * 21**2 * U


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sensors": 20}, "sensors must be odd, so that one stands at 0, got 20"),
        ({"points": 23}, "points must be more than sensors \\+ 2"),
        ({"sensors": 10**9}, "less than or equal to 512"),
        ({"forcing_length_scale": 0.0}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Ode(**settings)  # type: ignore[arg-type]
