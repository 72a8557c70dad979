"""The primitives: each against its formula, exactly, and what they have in common."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import Primitive
from precisionlab.tasks.accuracy import mean_squared_error

OPERATIONS = ("identity", "square", "multiply", "linear", "read")
U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def exact(task: Primitive, prompt: torch.Tensor) -> list[Fraction]:
    """What each token should emit, in rational arithmetic, flat."""
    source, sink = task.places
    c = [Fraction(value) for value in task.coefficients.tolist()]
    half, found = task.dims // 2, []
    for tokens in prompt.tolist():
        u = [[Fraction(value) for value in token] for token in tokens]
        for t, token in enumerate(u):
            emitted = {
                "identity": token,
                "square": [value * value for value in token],
                "multiply": [a * b for a, b in zip(token[:half], token[half:], strict=True)],
                "linear": [sum((a * b for a, b in zip(c, token, strict=True)), Fraction(0))],
                "read": u[source] if t == sink else token,
            }
            found += emitted[task.operation]
    return found


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("operation", OPERATIONS)
@given(half=st.integers(1, 3), points=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_the_target_is_the_primitive(operation: str, dtype: torch.dtype, half: int, points: int, seed: int) -> None:
    task = Primitive(operation=operation, dims=2 * half, points=points, seed=seed)  # type: ignore[arg-type]
    example = task.sample(2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert example.prompt.shape == (2, task.points, task.dims)
    assert example.target.shape[:2] == (2, task.points)
    size = float(example.prompt.abs().max()) * max(
        float(example.prompt.abs().max()), float(task.coefficients.abs().max())
    )
    for emitted, value in zip(example.target.flatten().tolist(), exact(task, example.prompt), strict=True):
        assert abs(Fraction(emitted) - value) <= 4 * task.dims * U[dtype] * size


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("relative_error", [0.0, 1e-3, 2.0**-20])
def test_the_error_is_measured_above_the_predictions_precision(
    operation: str, dtype: torch.dtype, relative_error: float
) -> None:
    task = Primitive(operation=operation, dims=6, points=4, seed=2)  # type: ignore[arg-type]
    example = task.sample(5, generator=torch.Generator().manual_seed(1), dtype=dtype)
    prediction = example.target * (1 + relative_error)
    measured = float(mean_squared_error(task, prediction, example.prompt))
    wanted = exact(task, example.prompt)
    squares = [(Fraction(p) - e) ** 2 for p, e in zip(prediction.flatten().tolist(), wanted, strict=True)]
    expected = float(sum(squares) / len(squares))
    # What rounds nothing has no error at all; the rest shows its own rounding even at relative_error = 0.
    assert (expected == 0) == (relative_error == 0 and operation in {"identity", "read"})
    assert abs(measured**0.5 - expected**0.5) <= 2.0**-8 * expected**0.5


@given(points=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_what_is_read_comes_from_an_earlier_token(points: int, seed: int) -> None:
    task = Primitive(operation="read", dims=2, points=points, seed=seed)
    source, sink = task.places
    assert 0 <= source < sink < points
    assert task.places == (source, sink)
    prompt = torch.randn(1, points, 2)
    changed = prompt.clone()
    changed[:, source] += 1
    moved = (task.target(changed) != task.target(prompt)).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [source, sink]


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "read"])
def test_all_but_read_act_on_each_token_alone(operation: str) -> None:
    task = Primitive(operation=operation, dims=4, points=9)  # type: ignore[arg-type]
    prompt, order = torch.randn(2, 9, 4, dtype=torch.float64), torch.randperm(9)
    assert torch.equal(task.target(prompt)[:, order], task.target(prompt[:, order]))


def test_what_is_fixed_depends_on_the_seed_alone() -> None:
    first, same, other = (Primitive(operation="linear", dims=7, points=9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.coefficients, same.coefficients)
    assert not torch.equal(first.coefficients, other.coefficients)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"operation": "multiply", "dims": 3}, "multiply needs an even dims, got 3"),
        ({"operation": "read", "points": 1}, "read needs at least 2 points, got 1"),
        ({"operation": "cube"}, "Input should be 'identity'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Primitive(**settings)  # type: ignore[arg-type]
