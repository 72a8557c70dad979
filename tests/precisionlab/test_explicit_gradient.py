"""The explicit-gradient task against mpmath, and emitted gradients on problems of any shape."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.tasks import ExplicitGradient, layout
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.explicit_gradient import EmittedGradient, gradient, prompt

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}


def exact_gradient(tokens: torch.Tensor) -> list[mpmath.mpf]:
    """Aᵀ(A x − b)/N of one prompt, in 60 digits."""
    with mpmath.workdps(60):
        x, *rows = [[mpmath.mpf(value) for value in token] for token in tokens.tolist()]
        n = len(x) - 1
        residuals = [sum(a * c for a, c in zip(row[:n], x[:n], strict=True)) - row[n] for row in rows]
        return [sum(r * row[j] for r, row in zip(residuals, rows, strict=True)) / len(rows) for j in range(n)]


@pytest.mark.parametrize("dtype", list(U))
@given(n=st.integers(1, 5), extra=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_the_target_is_the_gradient(dtype: torch.dtype, n: int, extra: int, seed: int) -> None:
    task = ExplicitGradient(n=n, rows=n + extra)
    example = task.sample(2, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert example.prompt.shape == (2, task.rows + 1, n + 1)
    for tokens, target in zip(example.prompt, example.target, strict=True):
        size = float(tokens.double().abs().max())
        for emitted, exact in zip(target.tolist(), exact_gradient(tokens), strict=True):
            bound = 4 * (n + task.rows) * U[dtype] * n * size**2 * max(size, 1)
            assert abs(emitted - exact) <= bound


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("relative_error", [0.0, 1e-3, 2.0**-20])
def test_the_error_is_measured_above_the_predictions_precision(dtype: torch.dtype, relative_error: float) -> None:
    task = ExplicitGradient(n=3, rows=8)
    example = task.sample(20, generator=torch.Generator().manual_seed(1), dtype=dtype)
    prediction = example.target * (1 + relative_error)
    measured = mean_squared_error(task, prediction, example.prompt)
    with mpmath.workdps(60):
        squares = [
            (mpmath.mpf(emitted) - exact) ** 2
            for tokens, row in zip(example.prompt, prediction, strict=True)
            for emitted, exact in zip(row.tolist(), exact_gradient(tokens), strict=True)
        ]
        expected = mpmath.fsum(squares) / len(squares)
    # With relative_error = 0 it is the target's own rounding that is measured: its own dtype would see nothing.
    assert expected > 0
    # Double-double keeps each difference to 2⁻¹⁰⁰ of its terms, float64 to 2⁻⁵⁰.
    precision = 2.0**-100 if dtype == torch.float64 else 2.0**-50
    allowed = 64 * precision + 64 * U[torch.float64] * mpmath.sqrt(expected)
    assert abs(mpmath.sqrt(measured.item()) - mpmath.sqrt(expected)) <= allowed


class TrueGradient(torch.nn.Module):
    """Emits the target itself, and refuses prompts of any other shape than it was made for."""

    def __init__(self, rows: int, n: int) -> None:
        super().__init__()
        self.shape = (rows + 1, n + 1)
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape[1:] == self.shape
        return gradient(tokens[:, 1:, :-1], tokens[:, 1:, -1], tokens[:, 0, :-1])


@given(m=st.integers(1, 45), n=st.integers(1, 5), batch=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_any_number_of_rows_and_fewer_unknowns(m: int, n: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(batch, m, n, dtype=torch.float64, generator=generator)
    b = torch.randn(batch, m, dtype=torch.float64, generator=generator)
    x = torch.randn(batch, n, dtype=torch.float64, generator=generator)
    emitted = EmittedGradient(TrueGradient(20, 5), ExplicitGradient())(A, b, x)
    expected = gradient(A, b, x) * m
    bound = 8 * (m + n) * U[torch.float64] * (A.abs().sum() + 1) ** 2 * (x.abs().max() + b.abs().max())
    assert (emitted - expected).abs().max() <= bound


def test_more_unknowns_than_trained_are_refused() -> None:
    emitted = EmittedGradient(TrueGradient(20, 5), ExplicitGradient())
    with pytest.raises(ValueError, match="got 6 unknowns, want at most 5"):
        emitted(torch.zeros(1, 8, 6), torch.zeros(1, 8), torch.zeros(1, 6))


def test_the_prompt_is_the_papers() -> None:
    A, b, x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), torch.tensor([[5.0, 6.0]]), torch.tensor([[7.0, 8.0]])
    assert prompt(A, b, x).tolist() == [[[7.0, 8.0, 0.0], [1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]


@pytest.mark.parametrize(("query", "repeats"), [("first", 1), ("last", 1), ("first", 2), ("last", 3)])
def test_where_the_iterate_stands_changes_the_prompt_alone(query: layout.Query, repeats: int) -> None:
    plain, moved = ExplicitGradient(n=3, rows=6), ExplicitGradient(n=3, rows=6, query=query, repeats=repeats)
    example, other = (
        task.sample(4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) for task in (plain, moved)
    )
    assert torch.equal(other.target, example.target)
    assert torch.equal(other.prompt, layout.write(layout.read(example.prompt), query=query, repeats=repeats))
    measured = [float(mean_squared_error(task, e.target, e.prompt)) for task, e in ((plain, example), (moved, other))]
    assert measured[0] == measured[1]


class ReadsItsPrompt(TrueGradient):
    """Emits the target, whatever the layout."""

    def __init__(self, task: ExplicitGradient) -> None:
        super().__init__(task.rows, task.n)
        self.task = task

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape[1:] == (self.task.repeats * (self.task.rows + 1), self.task.n + 1)
        A, b, x = layout.read(tokens, query=self.task.query, repeats=self.task.repeats)
        return gradient(A, b, x)


@pytest.mark.parametrize("settings", [{"query": "last"}, {"query": "last", "repeats": 2}, {"repeats": 3}])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (20, 5), (43, 3)])
def test_every_layout_gives_a_gradient_for_any_problem(settings: dict[str, object], m: int, n: int) -> None:
    task = ExplicitGradient(n=5, rows=20, **settings)  # type: ignore[arg-type]
    A, b, x = (torch.randn(2, *shape, dtype=torch.float64) for shape in ((m, n), (m,), (n,)))
    bound = 8 * (m + n) * U[torch.float64] * (A.abs().sum() + 1) ** 2 * (x.abs().max() + b.abs().max())
    assert (task.step(ReadsItsPrompt(task))(A, b, x) - gradient(A, b, x) * m).abs().max() <= bound
