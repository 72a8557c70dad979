"""Batches and loops give the same bits at sizes where problems begin in the middle of a cache line."""

import pytest
import torch

import solvers
from solvers.alignment import (
    LINE,
    aligned_columns,
    aligned_gram,
    aligned_system,
    aligned_vectors,
    padded,
    singular_values,
)
from solvers.scaling import ldexp

SHAPES = [(1, 1), (3, 1), (5, 4), (7, 7), (11, 2), (20, 5), (33, 8), (33, 17), (64, 33)]
DTYPES = [torch.float64, torch.float32]


def random(batch, m, n, dtype, generator):
    draw = (batch, m, n + 1)
    system = torch.randn(*draw, dtype=dtype, generator=generator)
    return system[..., :n].contiguous(), system[..., n].contiguous()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("name", ["qr", "svd", "cholesky"])
def test_a_batch_is_a_loop_to_the_bit_at_any_size(name, m, n, dtype, generator):
    A, b = random(9, m, n, dtype, generator)
    solver = solvers.get(name)
    together = solver.solve(A, b).x
    for part in (1, 2, 3):
        for i in range(0, len(A) - part + 1, part):
            assert torch.equal(solver.solve(A[i : i + part], b[i : i + part]).x, together[i : i + part]), (part, i)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), [*SHAPES, (5, 5), (4, 7)])
def test_singular_values_do_not_depend_on_the_place(m, n, dtype, generator):
    A, _ = random(9, m, n, dtype, generator)
    together, known = singular_values(A), torch.linalg.svdvals(A)
    assert together.shape == known.shape
    assert ((together - known).abs() <= 30 * max(m, n) * torch.finfo(dtype).eps / 2 * known[:, :1]).all()
    assert all(torch.equal(singular_values(A[i : i + 1])[0], together[i]) for i in range(9))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_least_norms_are_a_loop_to_the_bit(dtype, generator):
    A, b = random(9, 4, 7, dtype, generator)
    together = solvers.get("svd").solve(A, b).x
    assert all(torch.equal(solvers.get("svd").solve(A[i], b[i]).x, together[i]) for i in range(9))


@pytest.mark.parametrize("name", ["svd", "cholesky", "qr"])
def test_a_hard_neighbour_changes_no_bit(name, generator):
    A, b = random(6, 20, 5, torch.float64, generator)
    plain = solvers.get(name).solve(A, b).x
    A[1], A[3] = A[1] * 2.0**900, A[3] * 2.0**-900
    A[2, :, 0] *= 2.0**-60
    A[4, :, 1] = A[4, :, 0]
    mixed = solvers.get(name).solve(A, b).x
    for i in (0, 5):
        assert torch.equal(mixed[i], plain[i])
    assert torch.equal(mixed[1] * 2.0**900, plain[1])
    assert torch.equal(mixed[3] * 2.0**-900, plain[3])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_every_problem_begins_a_line_and_is_the_same_problem(m, n, dtype, generator):
    A, b = random(3, m, n, dtype, generator)
    columns, vectors, system = aligned_columns(A), aligned_vectors(b), aligned_system(A, b)
    for laid in (columns, vectors, system):
        assert laid.is_contiguous()
        assert laid[0].numel() * dtype.itemsize % LINE == 0
    assert torch.equal(columns[..., :m].mT, A)
    assert torch.equal(vectors[:, :m], b)
    assert torch.equal(system[..., : n + 1], torch.cat([A, b[..., None]], dim=-1))
    assert float(columns[..., m:].abs().sum() + vectors[:, m:].abs().sum() + system[..., n + 1 :].abs().sum()) == 0
    G = A.mT @ A + torch.eye(n, dtype=dtype)
    wide = aligned_gram(G)
    assert wide.shape[-1] in {n, padded(n, dtype)}
    assert torch.equal(wide[:, :n, :n], G)


def test_scaling_rounds_once_however_far_it_goes():
    values = torch.tensor([1.0 + 2.0**-52, 3.0, -(2.0**-1070), 0.0, 2.0**1023], dtype=torch.float64)
    for e in (-1074, -1073, -1023, -1022, -600, 0, 600, 1022, 1023):
        expected = torch.tensor([_scaled(v, e) for v in values.tolist()], dtype=torch.float64)
        assert torch.equal(ldexp(values, torch.full((5,), e)), expected), e
        # A neighbour that has to go the long way changes nothing.
        far = torch.tensor([e, e, e, e, e, -3000])
        assert torch.equal(ldexp(torch.cat([values, values[:1]]), far)[:5], expected), e


def _scaled(value, e):
    import math

    try:
        return math.ldexp(value, e)
    except OverflowError:
        return math.copysign(math.inf, value)
