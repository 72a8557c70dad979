"""Problems on which a solver here once failed: found by drawing thousands, kept one by one."""

import pytest
import torch

import solvers
from solvers.refinement import Refinement
from solvers.testing import Recipe
from solvers.testing.answers import held, held_condition
from solvers.testing.findings import solved, stacked
from solvers.testing.invariances import scaling
from solvers.testing.iterations import far_start

from .test_shipped import SHIPPED

SUBNORMAL = Recipe(kind="spectrum", m=20, n=6, condition=2.0, residual=1.0, right_exponent=-1038)
SORTED = Recipe(
    kind="recurrence", m=11, n=10, condition=1.0905077326652577, matrix_exponent=2, seed=44, dtype="float32"
)
HIDDEN = Recipe(kind="wilkinson", m=60, n=60, seed=2)
SMALLEST = Recipe(kind="integers", m=1, n=1, dtype="float32")
DUPLICATED = (
    Recipe(kind="duplicated-column", m=18, n=15, residual=64.0, seed=159, dtype="float32"),
    Recipe(kind="duplicated-column", m=10, n=8, residual=9.313225746154785e-10, columns=132, seed=135),
)
FAR_COLUMNS = Recipe(kind="spectrum", m=12, n=4, columns=300)
COLUMNS = Recipe(kind="powers-of-two", m=10, n=8, condition=2.0**45, grade=45, columns=20, seed=249)

ITERATIVE = ("gradient-descent", "chebyshev", "cgls", "lsqr", "lsmr", "newton-schulz")


@pytest.mark.parametrize("name", ["qr", "svd", "cholesky"])
@pytest.mark.parametrize("recipe", [SUBNORMAL, HIDDEN, *DUPLICATED, FAR_COLUMNS], ids=str)
def test_an_answer_and_its_status(name, recipe):
    solver, problem = solvers.get(name), recipe.problem()
    assert held(solver, problem, solved(solver, problem)) <= 1


@pytest.mark.parametrize("name", ["qr", "svd", "cholesky"])
def test_scaled_by_powers_of_two_it_has_the_same_bits(name):
    assert scaling(solvers.get(name), SORTED.problem()) == 0


@pytest.mark.parametrize("recipe", DUPLICATED, ids=str)
def test_dependent_columns_beside_independent_ones(recipe):
    solver, problem = solvers.get("svd"), recipe.problem()
    plain = Recipe(kind="spectrum", m=recipe.m, n=recipe.n, condition=10.0, dtype=recipe.dtype).problem()
    for one, result in zip((plain, problem, plain), stacked(solver, [plain, problem, plain])[0], strict=True):
        assert held(solver, one, result) <= 1


@pytest.mark.parametrize("name", ITERATIVE)
def test_one_unknown_from_far_away(name):
    assert far_start(solvers.get(name), SMALLEST.problem()) <= 1


@pytest.mark.parametrize("mode", ["augmented", "residual"])
def test_refinement_with_columns_of_several_sizes(mode):
    solver, problem = Refinement(mode=mode), COLUMNS.problem()
    result = solved(solver, problem)
    assert held(solver, problem, result) <= 1
    assert held_condition(solver, problem, result) <= 1


@pytest.mark.parametrize("name", [name for name in SHIPPED if name.startswith("learned")])
def test_learned_solvers_judge_the_rank_as_others_do(name):
    solver, problem = SHIPPED[name][0], FAR_COLUMNS.problem()
    assert held(solver, problem, solved(solver, problem)) <= 1
    assert torch.as_tensor(solved(solver, problem).status) != solvers.Status.RANK_DEFICIENT
