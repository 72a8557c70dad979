"""What a solver documents, and whether an answer keeps to it.

Documented: a CONVERGED x is off by at most

    ‖x − x*‖ <= c(m, n) · max(u, τ) · (κ^p ‖x*‖ + κ² ‖r‖/‖A‖),    c(m, n) = 60 max(m, n),

with κ = σ₁/σₙ of A as it stands, r the residual at the solution x*, p the solver's `condition_power` and τ the
`tolerance` of its stopping rule, where it has one. p = 1 is what a backward stable method gives, and what is held
against a solver that states nothing; p = 2 is what passing through AᵀA costs. For p = 0, a solver that is correct to
its last bits whatever κ is, the term in ‖r‖ is dropped. c is LAPACK's: its tests fail a ratio of 30 to max(m, n) eps.

Measured: against `solvers.reference.solve_exact`, on the problem scaled by powers of two, so that nothing overflows.

Reference: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), theorem 20.1; LAPACK, TESTING/LIN.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from solvers._core.scaling import exponent, ldexp
from solvers.reference import solve_exact
from solvers.result import Array
from solvers.testing.recipes import GeneratedProblem, Recipe

LAPACK_LIMIT = 30
"""The ratio at which LAPACK's tests fail."""

Vector = npt.NDArray[np.float64]


def constant(m: int, n: int) -> float:
    """c(m, n), in units of u.

    Args:
        m: rows.
        n: unknowns.

    Returns:
        LAPACK's limit times max(m, n) times eps/u.
    """
    return 2.0 * LAPACK_LIMIT * max(m, n)


@dataclass(frozen=True, kw_only=True)
class Exact:
    """A problem scaled by powers of two to size 1, and its solution.

    Args:
        A: matrix, (m, n), float64.
        b: right-hand side, (m,).
        hi: the solution, correctly rounded, (n,).
        lo: what rounding took from it, (n,).
        size: ‖x*‖.
        spread: κ.
        slope: ‖r‖/‖A‖.
        shift: the solution of the problem itself is that of the scaled one times 2^shift.
    """

    A: Vector
    b: Vector
    hi: Vector
    lo: Vector
    size: float
    spread: float
    slope: float
    shift: int

    def scaled(self, x: Array) -> Vector:
        """An answer in the units of the scaled problem.

        Args:
            x: answers to the problem itself, (..., n).

        Returns:
            (..., n), float64.
        """
        answer = torch.as_tensor(np.array(x)) if isinstance(x, np.ndarray) else x.detach().cpu()
        return np.asarray(ldexp(answer.double(), torch.tensor(-self.shift)).numpy(), dtype=np.float64)

    def error(self, x: Array) -> float:
        """How far an answer is from the solution.

        Args:
            x: an answer to the problem itself, (n,).

        Returns:
            ‖x − x*‖ in the units of the scaled problem; inf where x is not finite.
        """
        answer = self.scaled(x)
        if not np.isfinite(answer).all():
            return float("inf")
        with np.errstate(over="ignore"):  # an answer that went out of range is off by inf
            return float(np.linalg.norm((answer - self.hi) - self.lo))

    def allowance(self, unit: float, power: int) -> float:
        """The error that a method of unit roundoff or tolerance `unit` may leave.

        Args:
            unit: u, or τ.
            power: p.

        Returns:
            ‖x − x*‖ in the units of the scaled problem.
        """
        slope = self.spread**2 * self.slope if power else 0.0
        return constant(*self.A.shape) * unit * (self.spread**power * self.size + slope)


@lru_cache(maxsize=256)
def _exact(recipe: Recipe) -> Exact:
    return exact_of(recipe.problem())


def exact(problem: GeneratedProblem) -> Exact:
    """The solution of a problem of full rank, remembered for the checks that ask again.

    Args:
        problem: the problem.

    Returns:
        Its solution and what its error is measured by.
    """
    return _exact(problem.recipe)


def exact_of(problem: GeneratedProblem) -> Exact:
    """The solution of a problem of full rank.

    Args:
        problem: the problem.

    Returns:
        Its solution and what its error is measured by.
    """
    e, right = int(exponent(problem.A, (0, 1))), int(exponent(problem.b, 0))
    A = ldexp(problem.A.double(), torch.tensor(-e)).numpy()
    b = ldexp(problem.b.double(), torch.tensor(-right)).numpy()
    hi, lo = solve_exact(A, b)
    s = np.linalg.svd(A, compute_uv=False)
    return Exact(
        A=A,
        b=b,
        hi=hi,
        lo=lo,
        size=float(np.linalg.norm(hi)),
        spread=float(s[0] / s[-1]),
        slope=float(np.linalg.norm(b - A @ hi) / s[0]),
        shift=right - e,
    )


def condition_power(solver: Any) -> int:
    """The p that a solver documents.

    Args:
        solver: any solver.

    Returns:
        0, 1 or 2; 1 for a solver that says nothing.
    """
    return int(getattr(solver, "condition_power", 1))


def documented_unit(solver: Any, dtype: torch.dtype) -> float:
    """The larger of u and the tolerance that a solver documents.

    Args:
        solver: any solver; `tolerance` is read where it has one, and None means u.
        dtype: of the problem.

    Returns:
        max(u, τ).
    """
    tolerance = getattr(solver, "tolerance", None)
    return max(torch.finfo(dtype).eps / 2, float(tolerance or 0.0))


def allowed_error(solver: Any, problem: GeneratedProblem) -> float:
    """The documented bound on ‖x − x*‖.

    Args:
        solver: any solver.
        problem: of full rank.

    Returns:
        In the units of `Exact.error`.
    """
    return exact(problem).allowance(documented_unit(solver, problem.A.dtype), condition_power(solver))


def meaningful(solver: Any, problem: GeneratedProblem) -> bool:
    """Whether the documented accuracy of a solver leaves it any correct digit.

    Args:
        solver: any solver.
        problem: of full rank.

    Returns:
        Whether c(m, n) u κ^p < 1: from there on a solver may say that it cannot.
    """
    m, n = problem.A.shape
    unit = documented_unit(solver, problem.A.dtype)
    power = max(1, condition_power(solver))
    return bool(constant(m, n) * unit * float(problem.condition) ** power < 1)


def describe_bound(solver: Any, problem: GeneratedProblem) -> str:
    """The documented bound in words.

    Args:
        solver: any solver.
        problem: of full rank.

    Returns:
        A formula with its numbers.
    """
    unit, power = documented_unit(solver, problem.A.dtype), condition_power(solver)
    name = "u" if unit == torch.finfo(problem.A.dtype).eps / 2 else f"τ = {unit:.1e}"
    rest = " + κ²‖r‖/‖A‖" if power else ""
    kappa = {0: "", 1: "κ"}.get(power, f"κ^{power}")
    return f"{constant(*problem.A.shape):.0f} {name} ({kappa}‖x*‖{rest}), κ = {float(problem.condition):.2g}"
