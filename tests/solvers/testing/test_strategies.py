"""What the strategies draw is what they say, comes back from its line of code, and shrinks to something small."""

import warnings

import mpmath
import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from hypothesis.vendor.pretty import pretty

from solvers._core.scaling import scale_columns
from solvers.qr import QR
from solvers.reference import RankDeficientError, solve_exact
from solvers.testing import CHECKS, DEFICIENT_KINDS, FULL_RANK_KINDS, KINDS, Recipe, lstsq_problems
from solvers.testing.battery import Run
from solvers.testing.recipes import _made
from solvers.testing.strategies import regions, simpler

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
    @given(lstsq_problems(kinds=(kind,), max_condition=1e6, max_rows=30, max_unknowns=8))
    def check(problem):
        m, n = problem.A.shape
        seen.append((m, n))
        # A shape or κ that a kind does not have is given to the plainest one.
        assert problem.kind in {kind, "spectrum"}
        assert problem.b.shape == (m,)
        assert n <= 8
        assert n <= m <= 30
        assert problem.A.dtype in {torch.float32, torch.float64}
        assert bool(torch.isfinite(problem.A).all())
        assert bool(torch.isfinite(problem.b).all())
        if problem.kind in DEFICIENT_KINDS:
            assert problem.rank_deficient
            with pytest.raises(RankDeficientError):
                solve_exact(problem.A, problem.b)
        else:
            assert problem.known.rank(problem.A.dtype) == "full"
            assert 1 <= float(problem.condition) <= 1e6 * (1 + 1e6 * m * torch.finfo(problem.A.dtype).eps)
            hi, _ = solve_exact(problem.A, problem.b)
            assert torch.equal(problem.x, torch.from_numpy(hi).to(problem.A.dtype))
            r = problem.b.double() - problem.A.double() @ torch.from_numpy(hi)
            rounding = (
                (m + n) * torch.finfo(torch.float64).eps * (r.norm() + problem.b.double().norm() * problem.condition)
            )
            assert abs(float(r.norm() - problem.residual_norm)) <= float(rounding)

    check()
    assert len(set(seen)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_comes_back_from_its_code(kind):
    @QUIET
    @given(lstsq_problems(kinds=(kind,)))
    def check(problem):
        _made.cache_clear()
        again = eval(problem.code, {"Recipe": Recipe})
        assert again.recipe == problem.recipe
        for name in ("A", "b", "x", "singular_values", "condition", "residual_norm"):
            assert torch.equal(getattr(problem, name), getattr(again, name)), name
        assert problem.code in repr(problem)
        assert problem.kind in repr(problem) == pretty(problem)

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
        (lambda p: p.A.dtype == torch.float32, (1, 1)),
    ],
    ids=["any", "two unknowns", "tall", "ill-conditioned", "residual", "float32"],
)
def test_counterexamples_shrink(feature, shape):
    problem = smallest(feature)
    assert tuple(problem.A.shape) == shape
    assert len(problem.code) < 140


def test_whole_numbers_come_first():
    assert smallest(lambda p: True).kind == "integers"
    assert smallest(lambda p: True).A.tolist() == [[1.0]]


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


def within(region, m, n):
    a, c, top, slope = region.rows
    return region.least <= n <= region.most and a + c * n <= m <= top + slope * n


def test_regions_cover_the_plane():
    found = regions(64, 24)
    for n in range(1, 25):
        for m in range(n, 65):
            count = sum(within(region, m, n) for region in found)
            assert count == 1 or (count == 2 and (m, n) == (4, 1)), (m, n)
    assert {region.most for region in found} == {1, 5, 12, 21, 24}
    assert all(region.most <= 3 for region in regions(5, 3))
    assert {n for region in regions(100, 40) for n in range(region.least, region.most + 1)} == set(range(1, 41))


def test_every_region_is_reached_in_every_run():
    drawn = []

    class Sees(QR):
        def _solve(self, A, b, x0, record):
            drawn.append(tuple(A.shape[-2:]))
            return super()._solve(A, b, x0, record)

    accuracy = next(check for check in CHECKS if check.name == "accuracy")
    for seed in range(3):
        drawn.clear()
        Run(seed=seed).over(Sees(), [accuracy])
        for region in regions(64, 24):
            assert sum(within(region, m, n) for m, n in drawn) >= 3, region
        assert max(m for m, _ in drawn) > 48


def test_shrinking_reaches_the_simplest_recipe_and_no_further():
    recipe = Recipe(
        kind="kahan", m=40, n=17, condition=2.0**20, residual=1.0, matrix_exponent=-31, seed=201, dtype="float32"
    )
    seen = {recipe}
    while True:
        following = [simple for simple in simpler(recipe) if simple.n >= 6 and simple.m > simple.n]
        if not following:
            break
        recipe = following[0]
        recipe.problem()
        assert recipe not in seen
        seen.add(recipe)
    assert (recipe.m, recipe.n, recipe.condition, recipe.residual) == (7, 6, 1.0, 0.0)
    assert recipe == Recipe(kind="integers", m=7, n=6)


RANKS = [
    (Recipe(kind="wilkinson", m=24, n=24), "full"),
    (Recipe(kind="wilkinson", m=24, n=20, dtype="float32"), "either"),
    (Recipe(kind="wilkinson", m=56, n=56, seed=2), "deficient"),
    (Recipe(kind="wilkinson", m=40, n=32, residual=1.0, seed=1, dtype="float32"), "deficient"),
    (Recipe(kind="kahan", m=12, n=12, condition=2.0**25), "full"),
    (Recipe(kind="kahan", m=12, n=12, condition=2.0**70, seed=5), "deficient"),
    (Recipe(kind="hilbert", m=8, n=8), "full"),
    (Recipe(kind="hilbert", m=20, n=20), "deficient"),
    (Recipe(kind="lauchli", m=5, n=4, grade=45), "either"),
    (Recipe(kind="lauchli", m=5, n=4, grade=70), "deficient"),
    (Recipe(kind="spectrum", m=12, n=4, columns=300), "full"),
    (Recipe(kind="spectrum", m=4, n=9, condition=100.0), "full"),
    (Recipe(kind="zero-column", m=5, n=3), "deficient"),
]


@pytest.mark.parametrize(("recipe", "rank"), RANKS, ids=lambda value: str(value)[:60])
def test_rank_is_judged_by_the_ratio_that_mpmath_finds(recipe, rank):
    problem = recipe.problem()
    assert problem.known.rank(problem.A.dtype) == rank
    scaled, _ = scale_columns(problem.A.double()[None])
    with mpmath.workdps(60):
        s = mpmath.svd_r(mpmath.matrix((scaled[0] if recipe.m >= recipe.n else problem.A).tolist()), compute_uv=False)
        ratio = s[len(s) - 1] / s[0]
    if not problem.rank_deficient:
        assert float(ratio) <= problem.known.ratio * (1 + 2.0**-20)
    assert problem.known.ratio <= max(1e-19, float(ratio) * 2**4)


def test_wide_problems_have_the_solution_of_least_norm():
    problem = Recipe(kind="spectrum", m=4, n=9, condition=100.0, seed=1).problem()
    residual = problem.b - problem.A @ problem.x
    u = torch.finfo(torch.float64).eps / 2
    assert float(residual.norm()) <= 13 * u * float(problem.x.norm())
    across = torch.linalg.svd(problem.A).Vh[4:] @ problem.x
    assert float(across.norm()) <= 13 * u * 100 * float(problem.x.norm())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_condition": 0.5}, "max_condition: got 0.5"),
        ({"kinds": ("random",)}, "kinds: got 'random'"),
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
        ({"kind": "random", "m": 2, "n": 1}, "kind: got 'random'"),
        ({"kind": "integers", "m": 1, "n": 2}, "m: got 1"),
        ({"kind": "spectrum", "m": 0, "n": 2}, "m: got 0"),
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
