"""A learned solution made into a solver: min_x ‖b − A x‖₂ by one application of a model.

Problem: a model emits x, within ε of the solution where A and b are as in its training, of entries of order one.
Method: x = 2^f Φ(2^e A, 2^g b): powers of two bring the root mean square of A nearest to 1 and the entries of b below
    4, and x is scaled back, all without rounding error.
Accuracy: ε relative to the size of training's solutions, whatever u is. Only a model trained to the floor answers
    CONVERGED; `solvers.refinement` makes more of one that is not.
Status: CONVERGED where ‖Aᵀr‖ <= tolerance σ₁ (σ₁ ‖x‖ + ‖r‖), MAX_ITERATIONS elsewhere.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on Transformers trained end to end.
"""

from collections.abc import Callable
from typing import ClassVar

import torch

from solvers._core.arrays import require_nonnegative
from solvers._core.rank import judged
from solvers._core.scaling import ldexp, scale
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

Solution = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m)) → an approximation to the solution, (B, n)."""

DEFAULT_TOLERANCE_ULPS = 32
RIGHT_EXPONENT = 2
"""The largest entry of b is brought below 2 to this power."""


class LearnedDirect(Solver):
    """Ask a model for the solution, once.

    Args:
        solution: emits the solution for a batch; it is given tensors of the problem's dtype.
        name: what the solver is called.
        tolerance: of what is called converged; None means 32 u of the problem's dtype.
    """

    condition_power: ClassVar[int] = 2
    promises: frozenset[Promise] = frozenset()

    def __init__(self, solution: Solution, *, name: str = "learned-direct", tolerance: float | None = None) -> None:
        if tolerance is not None:
            require_nonnegative("tolerance", tolerance)
        self._solution, self._name, self.tolerance = solution, name, tolerance

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        del x0
        problem = scale(A, b)
        mean_square = problem.A.double().square().mean(dim=(-2, -1))
        to_unit = torch.where(mean_square > 0, -(mean_square.log2() / 2).round(), 0.0).to(torch.int64)
        unit, right = ldexp(problem.A, to_unit[:, None, None]), problem.b * 2.0**RIGHT_EXPONENT
        x = self._solution(unit, right).to(A.dtype)
        tolerance = self.tolerance
        if tolerance is None:
            tolerance = DEFAULT_TOLERANCE_ULPS * torch.finfo(A.dtype).eps / 2
        residual, largest = right - matvec(unit, x), torch.linalg.svdvals(unit)[:, 0]
        allowed = tolerance * largest * (largest * norm(x) + norm(residual))
        # Where squares overflow both sides are inf, and nothing has been solved.
        small = (norm(rmatvec(unit, residual)) <= allowed) & allowed.isfinite()
        back = ldexp(x, to_unit.unsqueeze(-1) - RIGHT_EXPONENT)
        found = LstsqResult(
            x=back,
            status=torch.where(small, int(Status.CONVERGED), int(Status.MAX_ITERATIONS)),
            iterations=torch.ones(len(A), dtype=torch.int64, device=A.device),
            trace=back.unsqueeze(0) if record else None,
        )
        return judged(A, problem.restored(found))
