"""The learned gradient, refined, reaches a floor below true gradient descent's own, whatever the scale of A and b.

That is the refinement's doing; what the model itself reaches is in `test_alone`.
"""

import pytest
import torch

import precisionlab
from solvers import errors, gradient_descent, reference
from solvers.problems import LstsqProblem, random_problem

STEPS = 600


def floor(problem: LstsqProblem, x: torch.Tensor) -> float:
    """Median mean squared error, relative to that of zero: it does not depend on the scale of x."""
    hi, lo = reference.solve_exact(problem.A, problem.b)
    return float(errors.forward_error(x, (torch.as_tensor(hi), torch.as_tensor(lo))).square().median())


def descended(problem: LstsqProblem) -> torch.Tensor:
    step = gradient_descent.best_step(problem.A)
    return gradient_descent.iterates(problem.A, problem.b, torch.zeros_like(problem.x), step, STEPS)[-1]


@pytest.mark.parametrize("residual", [0.0, 1.0])
@pytest.mark.parametrize(("matrix", "right"), [(1.0, 1.0), (1e-150, 1e-150), (1e150, 1e150), (1e150, 1e-150)])
def test_the_floor_is_below_gradient_descents(matrix: float, right: float, residual: float) -> None:
    generator = torch.Generator().manual_seed(11)
    plain = random_problem(20, 5, condition=5.0, residual=residual, batch=(100,), generator=generator)
    moved = LstsqProblem(**{**vars(plain), "A": plain.A * matrix, "b": plain.b * right})
    solver = precisionlab.load_solver("linear-attention/explicit-gradient", max_iterations=STEPS, tolerance=0.0)
    learned = floor(moved, solver.solve(moved.A, moved.b).x)
    true = floor(plain, descended(plain))  # at scale 1: at others its own squares would overflow
    print(f"scales {matrix:.0e}, {right:.0e}, residual {residual}: learned {learned:.1e}, true {true:.1e}")
    assert learned <= 10 * true


def test_without_refinement_it_is_not() -> None:
    generator = torch.Generator().manual_seed(11)
    problem = random_problem(20, 5, condition=5.0, batch=(100,), generator=generator)
    solver = precisionlab.load_solver(
        "linear-attention/explicit-gradient", max_iterations=STEPS, tolerance=0.0, refinement=None
    )
    learned = floor(problem, solver.solve(problem.A, problem.b).x)
    true = floor(problem, descended(problem))
    print(f"unrefined {learned:.1e}, true {true:.1e}")
    assert 10 * true <= learned <= (16 * 2.0**-53 * 5.0**2) ** 2
