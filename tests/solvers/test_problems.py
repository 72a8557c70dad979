"""Problems are what they are said to be."""

import pytest
import torch

import solvers
from solvers import problems, reference
from solvers.gradient_descent import iterates, iterates_eager

from .tolerance import tolerance


def seeded():
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("condition", [1.0, 1e3, 1e10])
def test_prescriptions_are_kept(condition, scale, generator):
    m, n, residual = 12, 4, 0.5
    p = problems.random_problem(
        m, n, condition=condition, residual=residual, scale=scale, batch=(2, 3), generator=generator
    )
    bound = tolerance(m, n, torch.float64)
    s = torch.linalg.svdvals(p.A / scale)
    assert bool(((s - p.singular_values / scale).abs() <= bound).all())
    steps = p.singular_values[..., 1:] / p.singular_values[..., :-1]
    assert bool(((steps / condition ** (-1 / (n - 1)) - 1).abs() <= bound).all())
    assert float(p.condition.max()) == condition
    r = p.b / scale - (p.A / scale @ p.x.unsqueeze(-1)).squeeze(-1)
    assert bool(((r.norm(dim=-1) - residual).abs() <= bound * (1 + p.x.norm(dim=-1))).all())
    assert bool(((p.A.mT / scale @ r.unsqueeze(-1)).norm(dim=(-2, -1)) <= bound * (1 + p.x.norm(dim=-1))).all())
    assert p.residual_norm.shape == (2, 3)


def test_orthogonal_factors_are_orthonormal_and_not_biased():
    Q = problems._orthonormal((2000,), 3, 3, seeded())
    assert float((Q.mT @ Q - torch.eye(3, dtype=Q.dtype)).abs().max()) <= tolerance(3, 3, torch.float64)
    # Haar: every entry has mean zero; without the sign correction the first column leans to one side.
    assert float(Q.mean(dim=0).abs().max()) <= 4 / (3 * 2000) ** 0.5


def test_reproducible_from_a_generator_and_the_same_in_both_dtypes():
    first, again = (problems.random_problem(6, 3, batch=(2,), generator=seeded()) for _ in range(2))
    assert torch.equal(first.A, again.A)
    assert torch.equal(first.b, again.b)
    short = problems.random_problem(6, 3, batch=(2,), dtype=torch.float32, generator=seeded())
    assert torch.equal(short.A, first.A.float())
    gaussian, other = (problems.gaussian_problem(6, 3, batch=(2,), generator=seeded()) for _ in range(2))
    assert torch.equal(gaussian.x0, other.x0)


def test_gaussian_problems_are_consistent():
    p = problems.gaussian_problem(20, 5, batch=(50,), generator=seeded())
    r = p.b - (p.A @ p.x.unsqueeze(-1)).squeeze(-1)
    assert float(r.abs().max()) <= tolerance(20, 5, torch.float64)
    assert torch.equal(p.singular_values, torch.linalg.svdvals(p.A))


def test_hilbert_and_lauchli_have_the_solution_of_ones():
    p = problems.hilbert(5, m=7)
    bound = tolerance(7, 5, torch.float64, condition=float(p.condition))
    assert abs(reference.solve(p.A, p.b) - 1).max() <= bound
    assert abs(float(torch.linalg.cond(p.A) / p.condition) - 1) <= bound
    q = problems.lauchli(3)
    assert reference.solve(q.A, q.b).tolist() == [1.0, 1.0, 1.0]
    assert abs(float(torch.linalg.cond(q.A) / q.condition) - 1) <= tolerance(4, 3, torch.float64, condition=1e8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"m": 2}, "m: got 2, wants at least 3"),
        ({"condition": 0.5}, "condition: got 0.5"),
        ({"condition": float("nan")}, "condition: got nan"),
        ({"residual": -1.0}, "residual: got -1.0"),
        ({"m": 3, "residual": 1.0}, "residual: got 1.0 with m = n = 3"),
        ({"scale": 0.0}, "scale: got 0.0"),
    ],
)
def test_bad_prescriptions_are_refused(changed, message):
    arguments = {"m": 5, "n": 3} | changed
    with pytest.raises(ValueError, match=r".") as caught:
        problems.random_problem(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("form", ["residual", "gram"])
def test_iterates_follow_the_formula(form):
    p = problems.gaussian_problem(9, 3, batch=(2, 4), generator=seeded())
    eta = 1.0 / p.singular_values[..., 0] ** 2
    out = iterates(p.A, p.b, p.x0, eta, 6, form=form)
    assert out.shape == (7, 2, 4, 3)
    assert torch.equal(out[0], p.x0)
    for k in range(6):
        gradient = (p.A.mT @ ((p.A @ out[k].unsqueeze(-1)) - p.b.unsqueeze(-1))).squeeze(-1)
        expected = out[k] - eta.unsqueeze(-1) * gradient
        assert float((out[k + 1] - expected).abs().max()) <= tolerance(9, 3, torch.float64) * float(out[k].abs().max())
    assert torch.equal(
        iterates(p.A, p.b, p.x0, eta, 6, form=form, backend="eager"), iterates_eager(p.A, p.b, p.x0, eta, 6, form=form)
    )
    assert iterates(p.A, p.b, p.x0, 0.01, 0).shape == (1, 2, 4, 3)


def test_iterates_refuse_what_they_cannot_do():
    p = problems.gaussian_problem(9, 3, dtype=torch.float32, generator=seeded())
    with pytest.raises(RuntimeError, match="backend: got 'fused', but"):
        iterates(p.A, p.b, p.x0, 0.1, 2, backend="fused")
    with pytest.raises(ValueError, match="form: got 'normal'"):
        iterates(p.A, p.b, p.x0, 0.1, 2, form="normal")
    with pytest.raises(ValueError, match="x0: got shape"):
        iterates(p.A, p.b, p.b, 0.1, 2)


def test_an_explicit_step_size_is_in_the_units_of_the_problem():
    p = problems.random_problem(9, 3, condition=4.0, residual=1.0, scale=2.0**12, generator=seeded())
    eta, x0 = 2.0**-24, p.x + 1.0
    solver = solvers.get("gradient-descent", step_size=eta, max_iterations=5)
    trace = solver.solve(p.A, p.b, x0=x0, record=True).trace
    expected = iterates_eager(p.A, p.b, x0, eta, 5)
    bound = tolerance(9, 3, torch.float64, condition=4.0) * float(expected.abs().max())
    assert float((trace - expected).abs().max()) <= bound
