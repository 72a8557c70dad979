"""A mesa layer is its formula, to rounding of what it is given, whatever the condition; and so are its gradients."""

from typing import Any

import mpmath
import pytest
import torch

import precisionlab
import solvers
from precisionlab import Experiment, ModelConfig
from precisionlab.models import Mesa, mesa, mesa_double_double
from precisionlab.models.mesa import mesa_by_the_formula
from precisionlab.runs import training
from precisionlab.tasks import InContextLeastSquares
from precisionlab.training import Adam, objective

U = 2.0**-53
NAMES = ("q", "k", "v", "decay", "strength", "ridge", "keys", "values")


def drawn(
    generator: torch.Generator, *, tokens: int, d: int, ridge: float, batch: int = 1, heads: int = 1, values: int = 2
) -> list[torch.Tensor]:
    """All that a layer is given; keys that are positive, and so nearly parallel."""

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    sequence = batch, tokens, heads
    k = torch.nn.functional.normalize(uniform(*sequence, d), dim=-1)
    first = uniform(batch, heads, d)
    return [
        uniform(*sequence, d) - 0.3,
        k,
        uniform(*sequence, values) - 0.5,
        0.8 + 0.2 * uniform(*sequence),
        0.5 + uniform(*sequence),
        ridge * (0.5 + uniform(heads, d)),
        first.unsqueeze(-1) * first.unsqueeze(-2),
        uniform(batch, heads, d, values),
    ]


def exactly(given: list[Any]) -> tuple[list[Any], Any, Any]:
    """The formula in mpmath, for one sequence and head: outputs, and the last states."""
    q, k, v, decay, strength, ridge, H, G = given
    outputs = []
    for t in range(len(q)):
        column = mpmath.matrix(k[t])
        H = decay[t] * H + strength[t] * column * column.T
        G = decay[t] * G + strength[t] * column * mpmath.matrix(v[t]).T
        outputs.append(list(G.T * mpmath.lu_solve(H + mpmath.diag(ridge), mpmath.matrix(q[t]))))
    return outputs, H, G


def numbers(given: list[torch.Tensor]) -> list[Any]:
    """All that a layer is given, of one sequence and head, as mpmath's."""
    parts = [tensor[0, :, 0] for tensor in given[:5]] + [given[5][0], given[6][0, 0], given[7][0, 0]]
    q, k, v, decay, strength, ridge, keys, values = ([mpmath.mpf(1) * mpmath.matrix(p.tolist())] for p in parts)
    rows = [[list(part[0][t, :]) for t in range(part[0].rows)] for part in (q, k, v)]
    return [*rows, *(list(part[0]) for part in (decay, strength, ridge)), keys[0], values[0]]


def largest_error(found: torch.Tensor, exact: Any) -> float:
    """The largest difference, relative to the largest entry."""
    flat = [mpmath.mpf(x) for x in found.detach().flatten().tolist()]
    entries = [x for row in exact for x in row] if isinstance(exact, list) else list(exact)
    return float(max(abs(a - b) for a, b in zip(flat, entries, strict=True)) / max(map(abs, entries)))


@pytest.mark.parametrize("ridge", [1.0, 1e-3, 1e-6, 1e-9])
def test_the_layer_is_exact_to_rounding(ridge: float, generator: torch.Generator) -> None:
    given = drawn(generator, tokens=mesa_double_double.CHUNK + 6, d=6, ridge=ridge)
    with mpmath.workdps(60):
        exact = exactly(numbers(given))
        fast, plain = mesa(*given), mesa_by_the_formula(*given)
        assert [largest_error(a, b) <= 2 * U for a, b in zip(fast, exact, strict=True)] == [True, True, True]
        # Formed in float64, H is off by u for every token, and what is solved for by u times its condition.
        tokens, d = given[0].shape[1], given[0].shape[-1]
        condition = 1 + float(exact[1].T[0, 0] + tokens) / (0.5 * ridge)
        assert largest_error(plain.o, exact[0]) <= 4 * tokens * d * U * condition


def test_what_is_not_refused_is_exact(generator: torch.Generator) -> None:
    refused = []
    for power in range(12, 24):
        given = drawn(generator, tokens=20, d=6, ridge=10.0**-power)
        try:
            o = mesa(*given).o
        except ValueError:
            refused.append(power)
        else:
            with mpmath.workdps(80):
                assert largest_error(o, exactly(numbers(given))[0]) <= 2 * U, power
    assert refused
    assert min(refused) > 12


def test_float64_alone_loses_the_digits(generator: torch.Generator) -> None:
    given = drawn(generator, tokens=3, d=6, ridge=1e-9)
    fast, plain = mesa(*given).o, mesa_by_the_formula(*given).o
    assert (plain - fast).abs().max() > 2.0**20 * U * fast.abs().max()


@pytest.mark.parametrize("ridge", [1.0, 1e-6])
def test_gradients_are_exact_to_rounding(
    ridge: float, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against central differences in 80 digits, along a random direction of each thing that is given."""
    monkeypatch.setattr(mesa_double_double, "CHUNK", 4)
    given = [tensor.requires_grad_() for tensor in drawn(generator, tokens=9, d=5, ridge=ridge)]
    emitted = mesa(*given)
    cotangents = [torch.randn(part.shape, dtype=torch.float64, generator=generator) for part in emitted]
    cotangents[1] = cotangents[1] + cotangents[1].mT
    gradients = torch.autograd.grad(list(emitted), given, cotangents)
    directions = [torch.randn(tensor.shape, dtype=torch.float64, generator=generator) for tensor in given]
    directions[6] = directions[6] + directions[6].mT
    with mpmath.workdps(80):
        weights = [x for part in cotangents for x in part.flatten().tolist()]
        step = mpmath.mpf(10) ** -30

        def value(place: int, along: Any) -> Any:
            moved = numbers(given)
            change = numbers(directions)[place]
            if place < 3:
                moved[place] = [
                    [a + along * b for a, b in zip(*rows, strict=True)]
                    for rows in zip(moved[place], change, strict=True)
                ]
            elif place < 6:
                moved[place] = [a + along * b for a, b in zip(moved[place], change, strict=True)]
            else:
                moved[place] = moved[place] + along * change
            outputs, H, G = exactly(moved)
            return mpmath.fsum(
                w * x for w, x in zip(weights, [*(x for row in outputs for x in row), *H, *G], strict=True)
            )

        for place, name in enumerate(NAMES):
            slope = (value(place, step) - value(place, -step)) / (2 * step)
            terms = [
                mpmath.mpf(a) * b
                for a, b in zip(*(part[place].flatten().tolist() for part in (gradients, directions)), strict=True)
            ]
            assert abs(mpmath.fsum(terms) - slope) <= 2 * U * mpmath.fsum(map(abs, terms)), name


def test_gradients_pass_the_checks_once_and_twice(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesa_double_double, "CHUNK", 2)
    given = [
        tensor.requires_grad_() for tensor in drawn(generator, tokens=3, d=2, ridge=1.0, batch=2, heads=1, values=1)
    ]
    assert torch.autograd.gradcheck(mesa, given)
    assert torch.autograd.gradgradcheck(mesa, given, fast_mode=True)


def test_a_sequence_can_be_cut_in_two(generator: torch.Generator) -> None:
    given = drawn(generator, tokens=9, d=4, ridge=1.0, batch=2, heads=3)
    whole = mesa(*given)
    first = mesa(*(tensor[:, :4] for tensor in given[:5]), *given[5:])
    rest = mesa(*(tensor[:, 4:] for tensor in given[:5]), given[5], first.keys, first.values)
    condition = (1 + torch.linalg.matrix_norm(whole.keys, 2).max()) / given[5].min()
    joined = torch.cat([first.o, rest.o], dim=1)
    assert (joined - whole.o).abs().max() <= 16 * U * condition * whole.o.abs().max()


def test_it_solves_least_squares(generator: torch.Generator) -> None:
    """One head, decays and strengths of 1: a_i for keys, b_i for values, unit vectors for queries."""
    m, n, damp = 20, 5, 2.0**-10
    A = torch.randn(n, m, 1, n, dtype=torch.float64, generator=generator)[:1].repeat(n, 1, 1, 1)
    b = torch.randn(m, dtype=torch.float64, generator=generator)
    queries = torch.eye(n, dtype=torch.float64)[:, None, None].expand(-1, m, -1, -1)
    ones = torch.ones(n, m, 1, dtype=torch.float64)
    ridge = torch.full((1, n), damp**2, dtype=torch.float64)
    x = mesa(queries, A, b[None, :, None, None].expand(n, -1, -1, -1), ones, ones, ridge).o[:, -1, 0, 0]
    rows = torch.cat([A[0, :, 0], damp * torch.eye(n, dtype=torch.float64)])
    expected = torch.as_tensor(solvers.get("qr").solve(rows, torch.cat([b, torch.zeros(n).to(b)])).x)
    assert (x - expected).norm() <= m * n * U * torch.linalg.cond(rows) ** 2 * expected.norm()


def test_float32_is_rounded_once(generator: torch.Generator) -> None:
    given = [tensor.float() for tensor in drawn(generator, tokens=7, d=4, ridge=1e-6)]
    exact = mesa(*(tensor.double() for tensor in given)).o
    found = mesa(*given).o
    assert found.dtype == torch.float32
    assert torch.equal(found, exact.float())


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        (1, lambda k: k[:, :-1], r"k: got shape \(1, 2, 1, 4\), want \(1, 3, 1, 4\)"),
        (5, lambda ridge: ridge[0], r"ridge: got shape \(4,\), want \(1, 4\)"),
        (5, lambda ridge: -ridge, "ridge: got as little as -"),
        (5, lambda ridge: ridge * 1e-40, "ridge: got as little as .* too small beside the keys"),
    ],
)
def test_what_cannot_be_solved_is_refused(place: int, change: Any, message: str, generator: torch.Generator) -> None:
    given = drawn(generator, tokens=3, d=4, ridge=1.0)
    given[1] = given[1][:, :1].expand(-1, 3, -1, -1)  # parallel
    given[place] = change(given[place])
    with pytest.raises(ValueError, match=message):
        mesa(*given)


def test_what_is_not_finite_is_not_hidden(generator: torch.Generator) -> None:
    given = drawn(generator, tokens=3, d=4, ridge=1.0)
    given[1][0, 1] = torch.nan
    assert torch.isnan(mesa(*given).o[:, 1:]).all()


def test_a_model_of_it_is_trained_and_loaded(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "VALIDATION_PROBLEMS", 16)
    monkeypatch.setattr(training, "TEST_PROBLEMS", 16)
    experiment = Experiment(
        name="mine/mesa",
        task=InContextLeastSquares(n=2),
        model=ModelConfig(mixer=Mesa(heads=2), width=8, layers=1, reads="last"),
        phases=(Adam(steps=2, batch=4),),
    )
    run = precisionlab.train(experiment, run_dir=tmp_path / "run", progress=False)
    again = precisionlab.load(tmp_path / "run")
    assert 'kind = "mesa"' in (tmp_path / "run" / "config.toml").read_text("utf-8")
    prompt = experiment.task.sample(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).prompt
    assert torch.equal(again.model(prompt), run.model(prompt))
