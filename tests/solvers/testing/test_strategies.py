"""What the strategies draw is what they say, comes back from its line of code, and shrinks to something small."""

import warnings

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample

from solvers.reference import RankDeficientError, solve_exact
from solvers.testing import DEFICIENT_KINDS, FULL_RANK_KINDS, KINDS, Recipe, lstsq_problems
from solvers.testing.accuracy import constant
from solvers.testing.strategies import distinguishable

QUIET = settings(
    max_examples=60,
    database=None,
    derandomize=True,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_it_says(kind):
    seen = []

    @QUIET
    @given(lstsq_problems(kinds=(kind,), max_condition=1e6, max_rows=7, max_unknowns=3))
    def check(problem):
        m, n = problem.A.shape
        seen.append((m, n))
        assert problem.kind == kind
        assert problem.b.shape == (m,)
        assert n <= 3
        assert n <= m <= 7
        assert problem.A.dtype in {torch.float32, torch.float64}
        assert bool(torch.isfinite(problem.A).all())
        assert bool(torch.isfinite(problem.b).all())
        assert problem.rank_deficient == (kind in DEFICIENT_KINDS)
        if problem.rank_deficient:
            with pytest.raises(RankDeficientError):
                solve_exact(problem.A, problem.b)
        else:
            eps = torch.finfo(problem.A.dtype).eps
            assert (
                1
                <= float(problem.condition)
                <= min(1e6, distinguishable(m, n, problem.A.dtype)) * (1 + constant(m, n) * eps * 1e6)
            )
            hi, _ = solve_exact(problem.A, problem.b)
            assert torch.equal(problem.x, torch.from_numpy(hi).to(problem.A.dtype))

    check()
    assert len(set(seen)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_comes_back_from_its_code(kind):
    @QUIET
    @given(lstsq_problems(kinds=(kind,)))
    def check(problem):
        again = eval(problem.code, {"Recipe": Recipe})
        assert again.recipe == problem.recipe
        for name in ("A", "b", "x", "singular_values", "condition", "residual_norm"):
            assert torch.equal(getattr(problem, name), getattr(again, name)), name
        assert problem.code in repr(problem)
        assert kind in repr(problem)

    check()


def smallest(condition, **options):
    quiet = settings(QUIET, max_examples=2000)
    return find(lstsq_problems(**options), condition, settings=quiet)


@pytest.mark.parametrize(
    ("feature", "shape"),
    [
        (lambda p: True, (1, 1)),
        (lambda p: p.A.shape[1] >= 2, (2, 2)),
        (lambda p: p.A.shape[0] > p.A.shape[1], (2, 1)),
        (lambda p: float(p.condition) > 1e3, (2, 2)),
        (lambda p: float(p.residual_norm) > 0.1, (2, 1)),
        (lambda p: float(p.A.abs().max()) > 1e200, (1, 1)),
        (lambda p: p.A.dtype == torch.float32, (1, 1)),
    ],
    ids=["any", "two unknowns", "tall", "ill-conditioned", "residual", "huge", "float32"],
)
def test_counterexamples_shrink(feature, shape):
    problem = smallest(feature)
    assert tuple(problem.A.shape) == shape
    assert len(problem.code) < 140


def test_whole_numbers_come_first():
    assert smallest(lambda p: True).kind == "integers"
    assert torch.equal(smallest(lambda p: True).A, torch.ones(1, 1, dtype=torch.float64))


def test_consistent_and_not():
    assert smallest(lambda p: True, consistent=True, kinds=("spectrum",)).recipe.residual == 0.0
    with pytest.raises(NoSuchExample):
        find(
            lstsq_problems(consistent=True, kinds=("spectrum",)),
            lambda p: p.recipe.residual > 0,
            settings=QUIET,
        )
    found = smallest(lambda p: p.A.shape[0] > p.A.shape[1], consistent=False, kinds=("spectrum",))
    assert float(found.residual_norm) > 0


@pytest.mark.parametrize("kind", [kind for kind in FULL_RANK_KINDS if kind not in {"integers", "powers-of-two"}])
def test_condition_numbers_reach_their_limit(kind):
    problem = smallest(lambda p: float(p.condition) >= 1e4, kinds=(kind,), max_condition=1e6, dtypes=(torch.float64,))
    assert float(problem.condition) <= 1e6 * 2


def test_extremes_reach_the_ends_of_the_range():
    for dtype, far in ((torch.float64, 280), (torch.float32, 27)):
        options = {"kinds": ("extreme",), "dtypes": (dtype,), "max_rows": 2}
        assert smallest(lambda p, far=far: float(p.A.abs().max()) > 10.0**far, **options) is not None
        assert smallest(lambda p, far=far: float(p.A.abs().max()) < 10.0**-far, **options) is not None
        assert smallest(lambda p, far=far: float(p.x.abs().max()) > 10.0**far, **options) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_condition": 0.5}, "max_condition: got 0.5"),
        ({"kinds": ("sparse",)}, "kinds: got 'sparse'"),
        ({"kinds": ()}, "kinds, dtypes: got none"),
        ({"dtypes": (torch.float16,)}, "dtypes: got torch.float16"),
        ({"max_unknowns": 0}, "max_unknowns: got 0"),
        ({"min_rows": 5, "max_rows": 4}, "max_rows: got 4"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        lstsq_problems(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "sparse", "m": 2, "n": 1}, "kind: got 'sparse'"),
        ({"kind": "spectrum", "m": 1, "n": 2}, "m: got 1"),
        ({"kind": "integers", "m": 1, "n": 1}, "entries: got 0, wants m (n + 1) = 2"),
        ({"kind": "spectrum", "m": 1, "n": 1, "dtype": "float16"}, "dtype: got 'float16'"),
    ],
)
def test_recipes_are_checked(options, message):
    with pytest.raises(ValueError, match=r".") as caught:
        Recipe(**options)
    assert str(caught.value).startswith(message)


def test_no_warning_and_nothing_global():
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            smallest(lambda p: True, kinds=(kind,))
    assert torch.equal(state, torch.get_rng_state())
