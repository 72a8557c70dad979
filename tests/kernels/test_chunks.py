"""Solvers that take many steps a call: the answers of single steps, whatever the chunk and the batch."""

import itertools

import pytest
import torch

import solvers
from solvers import Status, problems, reference
from solvers.fused import chunks
from solvers.fused.chunks import watched_chebyshev
from solvers.fused.schulz import newton_schulz_step
from solvers.newton_schulz import exact_step

from .cases import SHAPES, U, misaligned, normal, strided


def problem(rng, batch=23, m=12, n=4, condition=20.0):
    given = problems.random_problem(m, n, condition=condition, residual=0.5, batch=(batch,), generator=rng)
    return given.A, given.b


def state(rng, batch, m, n):
    A, b, x0 = normal(rng, batch, m, n), normal(rng, batch, m), normal(rng, batch, n)
    high = torch.linalg.matrix_norm(A, 2) ** 2 if batch else torch.ones(0, dtype=torch.float64)
    return A, b, x0, 0.6 * high, 0.5 * high, torch.zeros_like(x0), torch.zeros(batch, dtype=torch.float64)


def chebyshev(A, b, x0, theta, delta, steps):
    """Algorithm 12.1 of Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003)."""
    x, d, rho, iterates = x0, torch.zeros_like(x0), torch.zeros_like(theta), [x0]
    for t in range(steps):
        g = (A.mT @ (A @ x[..., None] - b[..., None]))[..., 0]
        denominator = 2 * theta - rho * delta if t else theta
        rho_next = delta / denominator
        d = (rho_next * rho)[:, None] * d - ((2 if t else 1) / denominator)[:, None] * g
        x, rho = x + d, rho_next
        iterates.append(x)
    return torch.stack(iterates)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stopping_changes_no_bit_and_each_iterate_is_measured(kernels, rng, shape):
    A, b, x0, theta, delta, *fresh = state(rng, *shape)
    expected, whole_norms, *_ = watched_chebyshev(A, b, x0, theta, delta, *fresh, 7, False)
    iterates, norms, *recurrence = watched_chebyshev(A, b, x0, theta, delta, *fresh, 3, False)
    more, more_norms, *_ = watched_chebyshev(A, b, iterates[-1], theta, delta, *recurrence, 4, True)
    assert torch.equal(torch.cat([iterates, more[1:]]), expected)
    assert torch.equal(torch.cat([norms, more_norms]), whole_norms)
    by_formula, (m, n) = chebyshev(A, b, x0, theta, delta, 7), shape[1:]
    # A step multiplies an error by at most two, and adds those of a product with A and one with Aᵀ.
    size = expected.abs().amax(dim=(0, 2)) + b.norm(dim=-1) / torch.linalg.matrix_norm(A)
    assert ((expected - by_formula).abs() <= 4 * (m + n) * 7 * 2**7 * U * size[None, :, None] * n).all()
    r = b - torch.einsum("bmn,tbn->tbm", A, expected[:-1])
    g = torch.einsum("bmn,tbm->tbn", A, r)
    measured = torch.cat([norms, more_norms]).sqrt()
    size = torch.linalg.matrix_norm(A)
    within = 30 * sum(shape[1:]) * U * (b.norm(dim=-1) + size * expected[:-1].norm(dim=-1))
    assert ((measured[:, 0] - r.norm(dim=-1)).abs() <= within).all()
    assert ((measured[:, 1] - g.norm(dim=-1)).abs() <= within * size).all()


def test_every_level_watches_alike(kernels, rng):
    A, b, x0, theta, delta, *fresh = state(rng, 17, 20, 5)
    expected = watched_chebyshev(A, b, x0, theta, delta, *fresh, 5, False)
    for level in kernels.levels():
        for threads in (1, 3):
            out = [torch.full_like(part, float("nan")) for part in expected]
            kernels.chebyshev(A, b, x0, theta, delta, *out, 5, False, threads, level)
            assert all(map(torch.equal, out, expected))


@pytest.mark.parametrize("name", ["chebyshev", "newton-schulz"])
def test_backends_agree(kernels, rng, name):
    A, b = problem(rng)
    A[3, :, 1] = A[3, :, 0]  # deficient
    b[5] = 0
    ours, eager = (solvers.get(name, backend=backend).solve(A, b, record=True) for backend in ("fused", "eager"))
    assert torch.equal(ours.status, eager.status)
    # At rest a new minimum of ‖Aᵀr‖ is a matter of chance: the counts agree on average, to the patience of rule R3.
    difference = (ours.iterations - eager.iterations).double().mean()
    assert difference.abs() <= (30 if name == "chebyshev" else 1)
    whole = ours.status == Status.CONVERGED
    exact = torch.as_tensor(reference.solve(A[whole], b[whole]))
    within = 30 * 16 * U * 20.0**2 * exact.norm(dim=-1)
    assert ((ours.x[whole] - exact).norm(dim=-1) <= within).all()
    assert len(ours.trace) == int(ours.iterations.max()) + 1
    assert torch.equal(ours.trace[-1], ours.x)
    places = torch.arange(len(A))
    assert torch.equal(ours.trace[ours.iterations, places], ours.x)


@pytest.mark.parametrize("limits", [(1, 1, 1 << 21), (3, 7, 1 << 21), (16, 128, 5)])
def test_chunks_change_no_bit(kernels, rng, monkeypatch, limits):
    A, b = problem(rng)
    solver = solvers.get("chebyshev", backend="fused")
    expected = solver.solve(A, b, record=True)
    for name, value in zip(("FIRST_CHUNK", "LAST_CHUNK", "CHUNK_ENTRIES"), limits, strict=True):
        monkeypatch.setattr(chunks, name, value)
    ours = solver.solve(A, b, record=True)
    for part in ("x", "status", "iterations", "trace"):
        assert torch.equal(getattr(ours, part), getattr(expected, part)), part


@pytest.mark.parametrize("name", ["chebyshev", "newton-schulz"])
def test_a_problem_does_not_depend_on_its_batch(kernels, rng, name):
    A, b = problem(rng)
    solver = solvers.get(name, backend="fused")
    together = solver.solve(A, b)
    for i in (0, 9, 22):
        alone = solver.solve(A[i], b[i])
        assert torch.equal(alone.x, together.x[i])
        assert int(alone.iterations) == int(together.iterations[i])


@pytest.mark.parametrize("cap", [0, 1, 5, 17])
def test_the_cap_holds(kernels, rng, cap):
    A, b = problem(rng, condition=1e3)
    ours, eager = (
        solvers.get("chebyshev", backend=backend, max_iterations=cap).solve(A, b, record=True)
        for backend in ("fused", "eager")
    )
    for result in (ours, eager):
        assert (result.status == Status.MAX_ITERATIONS).all()
        assert (result.iterations == cap).all()
        assert len(result.trace) == cap + 1
    assert ((ours.trace - eager.trace).abs() <= 30 * 16 * (1 + cap) * U * (1 + eager.trace.abs())).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_newton_schulz_step_and_its_defect(kernels, rng, shape):
    A = normal(rng, *shape)
    X = (A.mT / torch.linalg.matrix_norm(A)[:, None, None] ** 2).contiguous()
    following, defect = newton_schulz_step(A, X)
    expected = exact_step(A, X)
    size = torch.linalg.matrix_norm(expected)[:, None, None]
    assert ((following - expected).abs() <= 30 * sum(shape[1:]) * 3 * U * size).all()
    exact = torch.linalg.matrix_norm(torch.eye(shape[2], dtype=torch.float64) - following @ A)
    assert ((defect - exact).abs() <= 30 * sum(shape[1:]) * U * (1 + exact)).all()
    for level, threads in itertools.product(kernels.levels(), [1, 3]):
        out = torch.full_like(X, float("nan")), torch.full_like(defect, float("nan"))
        kernels.newton_schulz(A, X, *out, threads, level)
        assert torch.equal(out[0], following)
        assert torch.equal(out[1], defect)
    for lay in (strided, misaligned):
        assert all(map(torch.equal, newton_schulz_step(lay(A), lay(X)), (following, defect)))
