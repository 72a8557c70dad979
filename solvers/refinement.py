"""Iterative refinement around any solver: residuals in twice the precision buy back what κ took.

Problem: min_x ‖b − A x‖₂, whose solution a backward stable method gets to u κ (1 + κ‖r‖/(‖A‖‖x‖)) only.
Iteration (mode "augmented", Björck): r and x together solve r + A x = b, Aᵀr = 0. With f = b − r − A x and g = −Aᵀr in
    twice the working precision, the correction solves δr + A δx = f, Aᵀδr = g: from A = Q R, Rᵀ z = g, d = Qᵀf,
    δx = R⁻¹(d − z), δr = f − Q (d − z).
    Mode "residual": x ← x + solve(A, b − A x), the residual in twice the working precision and the corrections by the
    solver itself. It needs no factors, and gains where the problem is nearly consistent.
Convergence: linear, with the factor c u κ (augmented, Q R from `torch.linalg.qr`), whatever the residual.
Limiting accuracy: u ‖x‖, while u κ is well below 1 (in float64 to κ = 1e8 without exception): what a float64 solver
    gives becomes what float64 can hold.
Stopping: a correction is below eps/2 of x in norm, or no smaller than half the one before, which is then not applied
    unless it is the first. The status is the inner solver's.
Precision: double-double for float64 problems; the same code serves float32.

Reference: Björck, Iterative refinement of linear least squares solutions I, BIT 7 (1967); Demmel, Hida, Riedy and Li,
Extra-precise iterative refinement for overdetermined least squares problems, ACM TOMS 35 (2009).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch

from solvers._core import double_double as dd
from solvers._core.arrays import require_choice, require_count
from solvers._core.double_double import DD
from solvers._core.loop import RUNNING, iterate
from solvers._core.scaling import exponent, ldexp, scale_columns
from solvers._core.triangular import back_substitute, forward_substitute, matvec, norm, rmatvec
from solvers.qr import QR
from solvers.result import LstsqResult, Status
from solvers.solver import Solver

Mode = Literal["augmented", "residual"]


class _State(NamedTuple):
    x: torch.Tensor
    x_low: torch.Tensor  # what x lost to rounding
    r: torch.Tensor
    change: torch.Tensor
    settled: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor
    Q: torch.Tensor
    R: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Refinement(Solver):
    """Another solver's answer, refined.

    Args:
        solver: gives the first x, and in mode "residual" the corrections; Householder QR unless given.
        mode: "augmented" or "residual".
        max_iterations: the cap on corrections.
    """

    solver: Solver = field(default_factory=QR)
    mode: Mode = "augmented"
    max_iterations: int = 20

    def __post_init__(self) -> None:
        require_choice("mode", self.mode, get_args(Mode))
        require_count("max_iterations", self.max_iterations)
        if not isinstance(self.solver, Solver):
            raise TypeError(f"solver: got {type(self.solver).__name__}, wants a Solver")

    @property
    def name(self) -> str:
        """The inner solver's name, marked."""
        return f"{self.solver.name}+refinement"

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        # Columns of one size: exact, and the factors then neither over- nor underflow.
        scaled, columns = scale_columns(A)
        right = exponent(b, -1).unsqueeze(-1)
        back = right - columns
        rhs = ldexp(b, -right)
        first = self.solver.solve(scaled, rhs, x0=None if x0 is None else ldexp(x0, -back))
        x, status = torch.as_tensor(first.x), torch.as_tensor(first.status)
        x = torch.where(torch.isfinite(x), x, 0.0)
        Q, R = torch.linalg.qr(scaled)
        never = status != int(Status.CONVERGED)
        start = _State(
            x=x,
            x_low=torch.zeros_like(x),
            r=rhs - matvec(scaled, x),
            change=torch.full_like(x[:, 0], float("inf")),
            settled=never,
            A=scaled,
            b=rhs,
            Q=Q,
            R=R,
        )
        result = iterate(
            start,
            self._augmented if self.mode == "augmented" else self._residual,
            _verdict,
            max_iterations=self.max_iterations,
            record=record,
        )
        # A refinement that ran out of corrections still has an answer at least as good as the first.
        x = torch.where(never.unsqueeze(-1), torch.as_tensor(first.x), torch.as_tensor(result.x))
        trace = None if result.trace is None else ldexp(torch.as_tensor(result.trace), back)
        return LstsqResult(x=ldexp(x, back), status=status, iterations=result.iterations, trace=trace)

    def _residual(self, s: _State) -> _State:
        r, e = dd.residual(s.A, s.b, DD(s.x.double(), s.x_low.double()))
        # The scaled residual is handed over, so that a tiny one does not underflow in the solver.
        dx = torch.as_tensor(self.solver.solve(s.A, r.hi.to(s.x.dtype)).x)
        return _corrected(s, ldexp(dx, e.unsqueeze(-1)), torch.zeros_like(s.r))

    def _augmented(self, s: _State) -> _State:
        f, g = _augmented_residuals(s)
        z = forward_substitute(s.R, g)
        d = rmatvec(s.Q, f) - z
        return _corrected(s, back_substitute(s.R, d), f - matvec(s.Q, d))


def _augmented_residuals(s: _State) -> tuple[torch.Tensor, torch.Tensor]:
    """Residuals f = b − r − A x and g = −Aᵀr, in double-double, rounded at the end.

    Args:
        s: the state.

    Returns:
        f, (B, m), and g, (B, n), in the dtype of x.
    """
    A, r = s.A.double(), dd.from_double(s.r)
    image = dd.matvec(A, DD(s.x.double(), s.x_low.double()))
    f = dd.subtract(dd.subtract(dd.from_double(s.b), r), image)
    g = dd.matvec(A.mT, r)
    return f.hi.to(s.x.dtype), -g.hi.to(s.x.dtype)


def _corrected(s: _State, dx: torch.Tensor, dr: torch.Tensor) -> _State:
    """The next state, with a correction applied unless it no longer shrinks.

    Args:
        s: the state.
        dx: correction of x, (B, n).
        dr: correction of r, (B, m).

    Returns:
        The next state.
    """
    change = norm(dx)
    eps = torch.finfo(dx.dtype).eps
    grows = ~(change < 0.5 * s.change)
    use = ~grows[:, None] & torch.isfinite(dx)
    # x is kept with the part that rounding takes, or the correction could never fall below the last bit.
    high, low = _add(s.x, s.x_low, torch.where(use, dx, 0.0))
    return s._replace(
        x=high,
        x_low=low,
        r=s.r + torch.where(~grows[:, None] & torch.isfinite(dr), dr, 0.0),
        change=change,
        settled=grows | (change <= eps / 2 * norm(high)),
    )


def _add(high: torch.Tensor, low: torch.Tensor, dx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    total = dd.two_sum(high, dx)
    return dd.quick_two_sum(total.hi, total.lo + low)


def _verdict(s: _State) -> torch.Tensor:
    return torch.where(s.settled, int(Status.CONVERGED), RUNNING)
