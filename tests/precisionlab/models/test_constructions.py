"""Weights written down: what they emit against the exact step, to a few units of roundoff of its terms."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from precisionlab.inspect import limits
from precisionlab.models import Backbone, LinearAttention, constructions
from precisionlab.models.constructions import gated_convolution
from precisionlab.tasks import HeavyBall, NewtonSchulz, layout
from precisionlab.tasks.accuracy import mean_squared_error
from precisionlab.tasks.gradient_descent import descend, descend_exactly
from precisionlab.tasks.heavy_ball import coefficients
from precisionlab.tasks.layout import Problem
from solvers._core import double_double as dd

U = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}
Make = Callable[[int, int, torch.dtype], Backbone]
GRADIENTS: dict[str, Make] = {
    "linear attention": lambda n, N, t: constructions.gradient_step(n=n, rows=N, dtype=t),
    "gated convolution": lambda n, N, t: constructions.gradient_step("gated-conv", n=n, rows=N, dtype=t),
    "Gram": lambda n, N, t: constructions.gradient_step("gated-conv", n=n, rows=N, form="gram", dtype=t),
    "Gram, plain": lambda n, N, t: gated_convolution.gram_gradient(n=n, rows=N, projections=False, dtype=t),
}
SHAPES = st.tuples(st.sampled_from([1, 2, 5, 10]), st.integers(0, 25))


def drawn(n: int, rows: int, seed: int, dtype: torch.dtype, scales: tuple[int, int] = (0, 0)) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    A, b = torch.randn(3, rows, n, generator=generator), torch.randn(3, rows, generator=generator)
    x = torch.randn(3, n, generator=generator)
    matrix, iterate = (10.0**scale for scale in scales)
    return Problem((matrix * A).to(dtype), (matrix * iterate * b).to(dtype), (iterate * x).to(dtype))


def in_double(problem: Problem) -> Problem:
    return Problem(*(part.double() for part in problem))


def terms(problem: Problem, *, gram: bool) -> torch.Tensor:
    """|A|ᵀ(|A||x| + |b|)/N, what the gradient is a sum of; with the pairs of the Gram form beside it."""
    A, b, x = (part.double().abs() for part in problem)
    G = A.mT @ A
    sizes = (G @ x.unsqueeze(-1)).squeeze(-1) + (A.mT @ b.unsqueeze(-1)).squeeze(-1)
    return (sizes + x * G.sum(dim=-1) * gram) / A.shape[-2]


def roundings(n: int, rows: int) -> int:
    """On the way from a product to the answer: a sum over rows, two over unknowns, and the factors themselves."""
    return rows + 2 * n + 8


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("name", list(GRADIENTS))
@given(shape=SHAPES, seed=st.integers(0, 2**31), scales=st.tuples(st.integers(-8, 8), st.integers(-8, 8)))
def test_the_gradient_is_exact_but_for_rounding(
    dtype: torch.dtype, name: str, shape: tuple[int, int], seed: int, scales: tuple[int, int]
) -> None:
    n, rows = shape[0], shape[0] + shape[1]
    problem = drawn(n, rows, seed, dtype, scales)
    emitted = GRADIENTS[name](n, rows, dtype)(layout.write(problem)).detach()
    A, b, x = in_double(problem)
    negated = dd.matvec(A.mT, dd.subtract(dd.from_double(b), dd.matvec(A, dd.from_double(x))))
    scaled = dd.two_prod(emitted.double(), torch.full_like(x, float(rows)))
    error = dd.add(scaled, negated).hi.abs() / rows
    assert (error <= roundings(n, rows) * U[dtype] * terms(problem, gram="Gram" in name)).all()


@pytest.mark.parametrize("name", list(GRADIENTS))
def test_a_wrong_weight_is_seen(name: str) -> None:
    problem = drawn(5, 20, 0, torch.float64)
    model = GRADIENTS[name](5, 20, torch.float64)
    right = model(layout.write(problem))
    weight = next(p for key, p in model.named_parameters() if key == "mixers.1." + right_name(model))
    with torch.no_grad():
        weight[weight != 0] *= 1 + 2.0**-30
    bound = roundings(5, 20) * U[torch.float64] * terms(problem, gram=True)
    assert ((model(layout.write(problem)) - right).abs() > bound).any()


def right_name(model: Backbone) -> str:
    return "qkv.weight" if isinstance(model.config.mixer, LinearAttention) else "gate.weight"


@pytest.mark.parametrize("name", list(GRADIENTS))
def test_a_prompt_may_have_fewer_rows(name: str) -> None:
    # The sum is still divided by the number of rows that the weights were written for, as with rows of zeros.
    problem = drawn(3, 7, 0, torch.float64)
    pad = torch.nn.functional.pad
    longer = Problem(pad(problem.A, (0, 0, 0, 4)), pad(problem.b, (0, 4)), problem.x)
    model = GRADIENTS[name](3, 11, torch.float64)
    difference = model(layout.write(problem)) - model(layout.write(longer))
    assert (difference.abs() <= 2 * roundings(3, 11) * U[torch.float64] * terms(problem, gram=True)).all()


@pytest.mark.parametrize(("n", "layers", "width"), [(1, 3, 5), (5, 3, 21), (10, 3, 41)])
def test_with_the_iterate_in_every_token_three_layers_do(n: int, layers: int, width: int) -> None:
    rows = 2 * n
    model = gated_convolution.gradient_descent(n=n, rows=rows, steps=1, step_size=None, every_token=True)
    assert (model.config.layers, model.config.width) == (layers, width)
    problem = drawn(n, rows, 0, torch.float64)
    tokens = torch.cat([layout.rows_of(problem.A, problem.b), problem.x.unsqueeze(1).expand(-1, rows, -1)], dim=-1)
    reference = constructions.gradient_step(n=n, rows=rows)(layout.write(problem))
    bound = 2 * roundings(n, rows) * U[torch.float64] * terms(problem, gram=False)
    assert ((model(tokens) - reference).abs() <= bound).all()


@pytest.mark.parametrize("dtype", list(U))
@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("mixer", ["linear-attention", "gated-conv"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_k_steps_are_exact_but_for_rounding(dtype: torch.dtype, looped: bool, mixer: str, steps: int) -> None:
    n, rows, eta = 5, 20, 0.3
    model = constructions.gradient_descent(
        mixer, n=n, rows=rows, steps=steps, step_size=eta, looped=looped, dtype=dtype
    )
    one = 1 if looped else steps
    assert model.config.layers == (one + 1 if mixer == "linear-attention" else 3 * one + 1)
    problem = drawn(n, rows, 1, dtype)
    exact = descend_exactly(in_double(problem), steps=steps, step_size=eta)
    emitted = model(layout.write(problem)).detach()
    error = dd.subtract(dd.from_double(emitted), exact).hi.abs()
    # Each step rounds, and carries on what the steps before it rounded.
    A, b, x = in_double(problem)
    contraction = (torch.eye(n, dtype=torch.float64) - eta / rows * A.mT @ A).abs()
    bound = torch.zeros_like(x)
    for iterate in [x, *descend(Problem(A, b, x), steps=steps - 1, step_size=eta).unbind(1)] if steps > 1 else [x]:
        local = iterate.abs() + eta * terms(Problem(A, b, iterate), gram=False)
        bound = (contraction @ bound.unsqueeze(-1)).squeeze(-1) + roundings(n, rows) * U[dtype] * local
    assert (error <= bound).all()


@pytest.mark.parametrize("rows", [1, 20, 33])
def test_one_layer_is_a_step_of_momentum(rows: int) -> None:
    task = HeavyBall(n=5)
    alpha, beta = coefficients(task.condition)
    model = constructions.heavy_ball_step(n=5, alpha=alpha, beta=beta)
    problem = drawn(5, rows, 2, torch.float64)
    before = problem.x.flip(0)
    tokens = torch.cat(
        [layout.rows_of(problem.A, problem.b), torch.cat([problem.x, before], -1).unsqueeze(1).expand(-1, rows, -1)], -1
    )
    error = mean_squared_error(task, model(tokens).detach(), tokens).sqrt()
    size = problem.x.abs() + alpha * rows * terms(problem, gram=False) + beta * (problem.x - before).abs()
    assert error <= roundings(5, rows) * U[torch.float64] * size.square().mean().sqrt()


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (5, 20), (5, 77), (16, 20)])
def test_one_layer_is_a_newton_schulz_step(n: int, rows: int) -> None:
    task = NewtonSchulz(n=n, rows=rows)
    tokens = task.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).prompt
    error = mean_squared_error(task, constructions.newton_schulz_step(n=n)(tokens).detach(), tokens).sqrt()
    A, X = tokens[..., :n].abs(), tokens[..., n:].abs()
    size = 2 * X + X @ (A.mT @ X).mT
    assert error <= roundings(n, rows) * U[torch.float64] * size.square().mean().sqrt()


@pytest.mark.parametrize("rows", [1, 20, 33])
def test_one_layer_predicts_as_one_step_of_descent_from_zero_does(rows: int) -> None:
    problem = drawn(5, rows, 3, torch.float64)
    tokens = layout.write(problem, query="last")
    emitted = constructions.prediction_step(n=5, rows=rows, step_size=0.5)(tokens).detach()
    # x₁ = (η/N) Aᵀb, and the prediction x₁ · q.
    products = dd.multiply(dd.from_double(problem.A), dd.from_double(problem.b.unsqueeze(-1)))
    x1 = dd.total(products, dim=-2)
    exact = dd.dot(x1, dd.from_double(problem.x))
    error = dd.subtract(dd.from_double(emitted.squeeze(-1) * rows / 0.5), exact).hi.abs()
    size = ((problem.A.abs() * problem.b.abs().unsqueeze(-1)).sum(-2) * problem.x.abs()).sum(-1)
    assert (error <= roundings(5, rows) * U[torch.float64] * size).all()


def test_a_gated_convolution_squares_to_the_last_bit() -> None:
    tokens = torch.randn(4, 9, 6, dtype=torch.float64)
    assert torch.equal(gated_convolution.square(dims=6, tokens=9)(tokens), tokens.square())


@pytest.mark.parametrize(("n", "rows"), [(1, 3), (2, 6), (5, 20)])
@pytest.mark.parametrize("doublings", [3, 6, 9])
def test_gated_convolutions_solve_to_chebyshevs_bound(n: int, rows: int, doublings: int) -> None:
    smallest, largest = 1.0, 4.0
    model = gated_convolution.solution(n=n, rows=rows, smallest=smallest, largest=largest, doublings=doublings)
    assert (model.config.layers, model.config.width) == (doublings + 2, n * n * (n + 1) // 2 + n * n)
    generator = torch.Generator().manual_seed(n)
    A = torch.randn(200, rows, n, dtype=torch.float64, generator=generator)
    U, s, Vh = torch.linalg.svd(A, full_matrices=False)
    s = smallest + (largest - smallest) * torch.rand(s.shape, dtype=torch.float64, generator=generator)
    s[0], s[1] = smallest, largest
    A = rows**0.5 * (U * s[:, None]) @ Vh
    x = torch.randn(200, n, 1, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        emitted = model(torch.cat([A, A @ x], dim=-1))
    error = torch.linalg.vector_norm(emitted - x[..., 0], dim=-1) / torch.linalg.vector_norm(x[..., 0], dim=-1)
    bound = float(limits.worst(largest / smallest, 2**doublings))
    assert float(error.max()) <= bound * (1 + 1e-6) + 2**doublings * rows * n * 2.0**-53
    if doublings == 3:
        assert float(error[:2].max()) >= 0.9 * bound  # at the ends, where one spectrum is all there is


def test_there_is_none_for_softmax_attention() -> None:
    with pytest.raises(ValueError, match="no construction for mixer 'softmax': known: gated-conv, linear-attention"):
        constructions.gradient_step("softmax")
    with pytest.raises(ValueError, match="did you mean 'gated-conv'"):
        constructions.gradient_descent("gated-convolution")
    with pytest.raises(ValueError, match="only 'gated-conv'"):
        constructions.gradient_step("linear-attention", form="gram")
