"""What a solver documents, and whether an answer keeps to it.

Documented: a CONVERGED x is off by at most

    ‖x − x*‖ <= c(m, n) · max(u, τ) · (κ^p ‖x*‖ + κ² ‖r‖/‖A‖),    c(m, n) = c₀ √(m + n),

with κ = σ₁/σₙ, r the residual at the solution x*, p the solver's `condition_power`, c₀ its `error_constant` and τ the
`tolerance` of its stopping rule, where it has one. p = 1 is what a backward stable method gives, p = 2 what passing
through AᵀA costs; for p = 0, a solver that is correct to its last bits whatever κ is, the term in ‖r‖ is dropped. A
solver that states no constant is allowed what LAPACK's tests allow, c(m, n) = 60 max(m, n), a ratio of 30 to max(m, n)
eps. √(m + n) is how rounding errors add up that are as often up as down; c₀ is measured.

With `Promise.COLUMNWISE` x, κ and A are those of the problem whose columns have been brought to one size by powers of
two; with `Promise.COMPONENTWISE` the bound is c(m, n) u |x_j| for every j. Below the range of normal numbers comes what
rounding the answer there costs. Where the bound is not below ‖x*‖ it says nothing, and `condition` has to say so.

Measured: against the exact solution, in `solvers.testing.exact`.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), theorem 20.1; LAPACK, TESTING/LIN.
"""

import math
from typing import Any

import numpy as np
import torch

from solvers.result import Array
from solvers.solver import Promise
from solvers.testing.exact import Exact
from solvers.testing.recipes import GeneratedProblem

LAPACK_LIMIT = 30
"""The ratio at which LAPACK's tests fail."""


def constant(solver: Any, m: int, n: int) -> float:
    """c(m, n), in units of u."""
    stated = getattr(solver, "error_constant", None)
    return 2.0 * LAPACK_LIMIT * max(m, n) if stated is None else float(stated) * math.sqrt(m + n)


def condition_power(solver: Any) -> int:
    """The p that a solver documents; 1 for one that says nothing."""
    return int(getattr(solver, "condition_power", 1))


def documented_unit(solver: Any, dtype: torch.dtype) -> float:
    """The larger of u and the tolerance that a solver documents; a `tolerance` of None means u."""
    return max(torch.finfo(dtype).eps / 2, float(getattr(solver, "tolerance", None) or 0.0))


def error_bound(
    solver: Any, m: int, n: int, dtype: torch.dtype, *, condition: float = 1.0, relative_residual: float = 0.0
) -> float:
    """The relative error that a solver documents for an answer that has CONVERGED.

    Args:
        solver: any solver; `condition_power`, `error_constant` and `tolerance` are read where it has them.
        m: rows.
        n: unknowns.
        dtype: of the problem.
        condition: κ; with columns at one size for a solver that promises COLUMNWISE.
        relative_residual: ‖r‖/(‖A‖‖x*‖).

    Returns:
        The bound on ‖x − x*‖/‖x*‖; at 1 and above it says nothing.

    Reference:
        Higham (2002), theorem 20.1.
    """
    power = condition_power(solver)
    slope = condition**2 * relative_residual if power else 0.0
    return constant(solver, m, n) * documented_unit(solver, dtype) * (condition**power + slope)


def promises(solver: Any) -> frozenset[Promise]:
    """What a solver promises beyond its accuracy; nothing unless it says so."""
    said: frozenset[Promise] = getattr(solver, "promises", frozenset())
    return said


def view(solver: Any, problem: GeneratedProblem) -> Exact:
    """The problem as a solver's documented error measures it."""
    chosen = problem.known.columnwise if Promise.COLUMNWISE in promises(solver) else problem.known.standing
    assert chosen is not None, "the columns are dependent"
    return chosen


def allowed_error(solver: Any, problem: GeneratedProblem) -> float:
    """The documented bound on ‖x − x*‖."""
    known = view(solver, problem)
    power, dtype = condition_power(solver), problem.A.dtype
    slope = known.spread**2 * known.slope if power else 0.0
    bound = constant(solver, *known.A.shape) * documented_unit(solver, dtype)
    bound *= known.spread**power * known.size + slope
    return bound + float(np.linalg.norm(_underflow(solver, known, dtype)))


def _underflow(solver: Any, known: Exact, dtype: torch.dtype) -> Any:
    """What rounding below the normal numbers costs each component: once for a method that scales, else on the way."""
    times = 1.0
    if Promise.EXACT_SCALING not in promises(solver):
        times = constant(solver, *known.A.shape) * (1 + known.spread)
    with np.errstate(over="ignore", under="ignore"):
        return times * np.ldexp(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps, -known.units)


def measured_error(solver: Any, problem: GeneratedProblem, x: Array) -> float:
    """How far an answer is from the solution."""
    known = view(solver, problem)
    if Promise.COMPONENTWISE not in promises(solver):
        return ratio(known.error(x), allowed_error(solver, problem))
    unit = constant(solver, *known.A.shape) * documented_unit(solver, problem.A.dtype)
    limits = unit * np.abs(known.hi) + _underflow(solver, known, problem.A.dtype)
    return max(ratio(abs(float(e)), float(limit)) for e, limit in zip(known.off(x), limits, strict=True))


def ratio(error: float, allowed: float) -> float:
    """An error in units of what is allowed, both at least 0; 0 for 0/0."""
    if error == 0:
        return 0.0
    return error / allowed if allowed else float("inf")


def vouched(solver: Any, problem: GeneratedProblem) -> bool:
    """Whether the documented bound says anything about the answer: whether it is below ‖x*‖."""
    known = view(solver, problem)
    return allowed_error(solver, problem) < known.size or not known.size


def meaningful(solver: Any, problem: GeneratedProblem) -> bool:
    """Whether the documented accuracy leaves a solution without residual any correct digit."""
    known = view(solver, problem)
    unit, power = documented_unit(solver, problem.A.dtype), max(1, condition_power(solver))
    return constant(solver, *known.A.shape) * unit * known.spread**power < 1


def describe_bound(solver: Any, problem: GeneratedProblem) -> str:
    """The documented bound in words."""
    unit, power = documented_unit(solver, problem.A.dtype), condition_power(solver)
    name = "u" if unit == torch.finfo(problem.A.dtype).eps / 2 else f"τ = {unit:.1e}"
    c = f"{constant(solver, *problem.A.shape):.3g} {name}"
    if Promise.COMPONENTWISE in promises(solver):
        return f"{c} |x_j| for each j"
    rest = " + κ²‖r‖/‖A‖" if power else ""
    kappa = {0: "", 1: "κ"}.get(power, f"κ^{power}")
    columns = " with columns of one size" if Promise.COLUMNWISE in promises(solver) else ""
    return f"{c} ({kappa}‖x*‖{rest}), κ = {view(solver, problem).spread:.2g}{columns}"
