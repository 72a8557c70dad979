"""In-context least squares: targets against their definition, the curriculum, and the baselines."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import precisionlab.tasks.in_context_baselines as baselines
from precisionlab.tasks import InContextLeastSquares
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.exact_least_squares import solve
from solvers import reference

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
EMISSIONS = ("one", "all")


def drawn(
    task: InContextLeastSquares, batch: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, ...]:
    example = task.sample(batch, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return example.prompt, example.target, *task.read(example.prompt)


def test_the_prompts_are_the_papers() -> None:
    prompt, target, A, b = drawn(InContextLeastSquares(n=2, points=3), 1, 0)
    (a1, a2, a3), (b1, b2) = A[0].tolist(), b[0].tolist()
    assert prompt[0].tolist() == [[*a1, 0], [0, 0, b1], [*a2, 0], [0, 0, b2], [*a3, 0]]
    assert target.shape == (1, 5, 1)
    prompt, target, A, b = drawn(InContextLeastSquares(n=2, points=3, emits="one"), 1, 0)
    assert prompt[0].tolist() == [[*a1, b1], [*a2, b2], [*a3, 0]]
    assert target.shape == (1, 1)


@given(n=st.integers(1, 4), extra=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_the_target_is_the_prediction_of_the_least_squares_solution(n: int, extra: int, seed: int) -> None:
    task = InContextLeastSquares(n=n, points=n + extra)
    _, target, A, b = drawn(task, 2, seed)
    assert not target[:, 1::2].any()
    predicted = target[:, ::2, 0]
    assert not predicted[:, 0].any()
    for i in range(1, task.points):
        rows = A[:, :i]
        x = torch.linalg.pinv(rows) @ b[:, :i, None]
        expected = (A[:, i] * x.squeeze(-1)).sum(dim=-1)
        s = torch.linalg.svdvals(rows)
        bound = (
            64 * (i + n) * U[torch.float64] * (s[:, 0] / s[:, -1]) ** 2 * A[:, i].norm(dim=-1) * x.norm(dim=(-2, -1))
        )
        assert bool(((predicted[:, i] - expected).abs() <= bound).all())
    # Once the points determine x, what is predicted is what follows.
    s = torch.linalg.svdvals(A[:, :n])
    following = slice(n, task.points - 1)
    allowed = 64 * n * U[torch.float64] * (s[:, 0] / s[:, -1]).max() * A.norm() * (1 + b.abs().max())
    assert ((predicted[:, following] - b[:, following]).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("relative_error", [0.0, 1e-3])
def test_the_error_is_against_exact_predictions(dtype: torch.dtype, relative_error: float) -> None:
    task = InContextLeastSquares(n=3, points=9, emits="one")
    prompt, target, A, b = drawn(task, 40, 1, dtype)
    prediction = target * (1 + relative_error)
    hi, lo = (torch.as_tensor(part) for part in reference.solve_exact(A[:, :-1], b))
    query = A[:, -1].double()
    # In rounded float64 products this loses a few u of the prediction; so the error is compared to that.
    exact = ((query * hi).sum(dim=-1) + (query * lo).sum(dim=-1))[:, None]
    expected = (prediction.double() - exact).square().mean().sqrt()
    measured = mean_squared_error(task, prediction, prompt).sqrt()
    rounding = 16 * U[torch.float64] * query.norm(dim=-1).max() * hi.norm(dim=-1).max()
    assert measured > 0
    assert (measured - expected).abs() <= rounding


@pytest.mark.parametrize("emits", EMISSIONS)
def test_errors_are_those_of_the_points_that_are_asked_for(emits: str) -> None:
    task = InContextLeastSquares(n=2, points=5, emits=emits)  # type: ignore[arg-type]
    prompt, target, *_ = drawn(task, 4, 0)
    off = target + 1
    assert abs(mean_squared_error(task, off, prompt) - 1) <= 2.0**-30
    if emits == "all":
        off[:, ::2] -= 1
        assert mean_squared_error(task, off, prompt) <= (2.0**-30) ** 2


@given(exponent=st.integers(-30, 30), seed=st.integers(0, 2**31))
@pytest.mark.parametrize("emits", EMISSIONS)
def test_predictions_scale_with_b(emits: str, exponent: int, seed: int) -> None:
    task = InContextLeastSquares(n=3, points=7, emits=emits)  # type: ignore[arg-type]
    prompt, *_ = drawn(task, 2, seed)
    scaled = torch.cat([prompt[..., :-1], prompt[..., -1:] * 2.0**exponent], dim=-1)
    assert torch.equal(task.predictions(scaled, solve), task.predictions(prompt, solve) * 2.0**exponent)


@pytest.mark.parametrize("shown", [3, 4, 8, 9])
def test_points_that_are_not_shown_say_nothing_and_ask_for_nothing(shown: int) -> None:
    task, whole = InContextLeastSquares(n=2, points=9, shown=shown), InContextLeastSquares(n=2, points=9)
    example, all_of_it = (
        one.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) for one in (task, whole)
    )
    A, b = task.read(example.prompt)
    assert example.prompt.shape == all_of_it.prompt.shape
    assert A.any(dim=-1).tolist() == [[i < shown for i in range(9)]] * 3
    assert (b != 0).tolist() == [[i < shown for i in range(8)]] * 3
    assert not example.target[:, 2 * shown :].any()
    assert torch.equal(all_of_it.target[:, : 2 * shown - 1], example.target[:, : 2 * shown - 1])
    assert mean_squared_error(task, example.target, example.prompt) <= (64 * U[torch.float64]) ** 2


@pytest.mark.parametrize("emits", EMISSIONS)
def test_baselines_tend_to_least_squares(emits: str) -> None:
    task = InContextLeastSquares(n=2, points=12, emits=emits)  # type: ignore[arg-type]
    prompt, target, *_ = drawn(task, 20, 3)
    late = slice(-5, None)
    errors = {
        name: float((task.predictions(prompt, fit) - target)[:, late].square().mean())
        for name, fit in {
            "ridge, 1": baselines.ridge(1.0),
            "ridge, 1e-4": baselines.ridge(1e-4),
            "descent, 4": baselines.descent(4, 0.5),
            "descent, 400": baselines.descent(400, 0.5),
        }.items()
    }
    assert errors["ridge, 1e-4"] <= 1e-6 * errors["ridge, 1"]
    assert errors["descent, 400"] <= 1e-6 * errors["descent, 4"]
    assert all(error > 0 for error in errors.values())


@given(penalty=st.floats(1e-3, 1e3), seed=st.integers(0, 2**31), points=st.integers(1, 6))
def test_ridge_solves_its_normal_equations(penalty: float, seed: int, points: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(2, points, 3, dtype=torch.float64, generator=generator)
    b = torch.randn(2, points, dtype=torch.float64, generator=generator)
    x = baselines.ridge(penalty)(A, b)
    gradient = (A.mT @ (A @ x.unsqueeze(-1) - b.unsqueeze(-1))).squeeze(-1) + penalty * x
    size = float(A.square().sum() + penalty) * float(x.abs().max()) + float(A.abs().sum() * b.abs().max())
    assert gradient.abs().max() <= 64 * U[torch.float64] * size


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n": 5, "points": 5}, "points must be more than n"),
        ({"shown": 5}, "shown must be more than n=5"),
        ({"shown": 21}, "at most points=20"),
        ({"shown": 6, "emits": "one"}, "shown needs emits = 'all'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        InContextLeastSquares(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (lambda: baselines.ridge(0.0), "penalty"),
        (lambda: baselines.descent(0, 1.0), "steps"),
        (lambda: baselines.descent(1, 0.0), "step_size"),
    ],
)
def test_settings_of_baselines_are_checked(fit: object, says: str) -> None:
    with pytest.raises(ValueError, match=f"{says}: got 0"):
        fit()  # type: ignore[operator]
