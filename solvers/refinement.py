"""Iterative refinement around any solver: residuals in twice the precision buy back what κ took.

Problem: min_x ‖b − A x‖₂, whose solution a backward stable method gets to u κ (1 + κ‖r‖/(‖A‖‖x‖)) only.
Iteration (mode "augmented", Björck): r and x together solve r + A x = b, Aᵀr = 0. With f = b − r − A x and g = −Aᵀr in
    twice the working precision, the correction solves δr + A δx = f, Aᵀδr = g: from A = Q R, Rᵀ z = g, d = Qᵀf − z,
    δx = R⁻¹d, δr = f − Q d. Both r and x are kept as pairs of numbers.
    Mode "residual": x ← x + solve(A, b − A x), the residual in twice the working precision and the corrections by the
    solver itself. It asks nothing of A's factors, and gains where the problem is nearly consistent.
Convergence: linear, with the factor c u κ (augmented), whatever the residual.
Stopping: a correction, not the first, is below u/2 of x in norm: x is at rest. Or one is not half of the one
    before; x then stands if it has moved from the first answer by 8 times the last correction or more, which makes it
    the better one, and is otherwise the first answer again.
Error: where x comes to rest, 2 u ‖x‖ (in float64 without exception to κ = 1e8, whatever the residual). Elsewhere no
    more than the first answer's, or the solver's documented error. Where κ u > 1/(8 max(m, n)) the factors are as good
    as none: nothing is corrected.
Status: the inner solver's; what it does not call CONVERGED is not refined. `condition` is its own, or that of R in the
    columns that the inner solver's error is in: columns are scaled here, which mends no first answer that stands.
Precision: double-double for float64 problems; corrections are computed in the problem's dtype.

Reference: Björck, Iterative refinement of linear least squares solutions I, BIT 7 (1967); Demmel, Hida, Riedy and Li,
Extra-precise iterative refinement for overdetermined least squares problems, ACM TOMS 35 (2009).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch

from solvers._core import double_double as dd
from solvers._core.arrays import require_choice, require_count
from solvers._core.double_double import DD
from solvers._core.loop import RUNNING, iterate
from solvers._core.rank import condition_of, rank_limit, standing_condition
from solvers._core.scaling import exponent, ldexp, scale_columns
from solvers._core.triangular import back_substitute, forward_substitute, matvec, norm, rmatvec
from solvers.qr import QR
from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

Mode = Literal["augmented", "residual"]

Correction = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""(f (B, m), g (B, n)) → (δx (B, n), δr (B, m)) with about δr + A δx = f and Aᵀδr = g."""

_MOVED = 8.0
_MARGIN = 4.0
"""How far below the limit of the rank rule κ must be, for corrections to shrink."""


class Refining(NamedTuple):
    """Answers under refinement, in float64: r and x solve the augmented system."""

    x: torch.Tensor
    x_low: torch.Tensor  # what x lost to rounding
    r: torch.Tensor
    r_low: torch.Tensor
    first: torch.Tensor  # the answer that the refinement began with
    change: torch.Tensor  # the last correction's norm
    taken: torch.Tensor
    settled: torch.Tensor


def unrefined(x: torch.Tensor, rows: int) -> Refining:
    """Where refinement begins: r = 0, so that the first correction is that of the residual of x.

    Args:
        x: first answers, (B, n).
        rows: m.

    Returns:
        The state before the first correction.
    """
    x = x.double()
    nothing = torch.zeros_like(x[:, 0])
    r, count = x.new_zeros(len(x), rows), nothing.to(torch.int64)
    return Refining(x, torch.zeros_like(x), r, r, x, nothing, count, nothing > 0)


def refined(
    s: Refining, A: torch.Tensor, b: torch.Tensor, correction: Correction, *, unit: float, most: int
) -> Refining:
    """One correction on, for problems of columns and right-hand sides of size about 1.

    Args:
        s: where the refinement stands.
        A: matrices, (B, m, n), float64.
        b: right-hand sides, (B, m), float64.
        correction: solves the augmented system about.
        unit: u; a correction of half of it, relative to x, is rest.
        most: corrections, the last of which settles it.

    Returns:
        The next state; with `settled` x is final.
    """
    x, r = DD(s.x, s.x_low), DD(s.r, s.r_low)
    f = dd.subtract(dd.subtract(dd.from_double(b), r), dd.matvec(A, x)).hi
    dx, dr = (part.double() for part in correction(f, -dd.matvec(A.mT, r).hi))
    change, usable = norm(dx), torch.isfinite(dx).all(dim=-1) & torch.isfinite(dr).all(dim=-1)
    x, r = _added(x, torch.where(usable[:, None], dx, 0.0)), _added(r, torch.where(usable[:, None], dr, 0.0))
    # The first correction sees no r, of which the error may be the larger part: the second may be larger.
    first, second = s.taken == 0, s.taken == 1
    stalls = ~(first | second | (change < s.change / 2))
    rest = ~first & (change <= unit / 2 * norm(x.hi))
    settled = rest | stalls | (s.taken + 1 >= most) | ~usable
    # An x that moved by more than it is unsure of is nearer to the solution than where it came from.
    better = usable & (rest | (_MOVED * change <= norm(x.hi - s.first)))
    back = settled & ~better
    return Refining(
        x=torch.where(back[:, None], s.first, x.hi),
        x_low=torch.where(back[:, None], 0.0, x.lo),
        r=r.hi,
        r_low=r.lo,
        first=s.first,
        change=change,
        taken=s.taken + 1,
        settled=settled,
    )


def _added(a: DD, change: torch.Tensor) -> DD:
    total = dd.two_sum(a.hi, change)
    return dd.quick_two_sum(total.hi, total.lo + a.lo)


class _State(NamedTuple):
    x: torch.Tensor
    refining: Refining
    usable: torch.Tensor
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
        for documented in ("condition_power", "error_constant"):  # that of a first answer that stands
            object.__setattr__(self, documented, getattr(self.solver, documented))

    @property
    def promises(self) -> frozenset[Promise]:
        """Of what the inner solver promises, what scaling by powers of two keeps."""
        return self.solver.promises & {Promise.EXACT_SCALING, Promise.COLUMNWISE}

    @property
    def tolerance(self) -> float | None:
        """That of the inner solver's stopping rule, for where its answer stands."""
        return getattr(self.solver, "tolerance", None)

    @property
    def name(self) -> str:
        """The inner solver's name, marked."""
        return f"{self.solver.name}+refinement"

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        first = self.solver.solve(A, b, x0=x0)
        x, status = torch.as_tensor(first.x), torch.as_tensor(first.status)
        # Columns of one size: exact, and the factors then neither over- nor underflow.
        scaled, columns = scale_columns(A)
        right = exponent(b, -1).unsqueeze(-1)
        back, rhs = right - columns, ldexp(b, -right)
        Q, R = torch.linalg.qr(scaled)
        condition = condition_of(R)
        start = ldexp(x, -back)
        usable = (status == int(Status.CONVERGED)) & torch.isfinite(start).all(dim=-1)
        m, n = A.shape[-2:]
        usable = usable & (_MARGIN * condition <= rank_limit(m, n, A.dtype))
        start = torch.where(usable[:, None], start, 0.0)
        state = _State(start, unrefined(start, m), usable, scaled, rhs, Q, R)
        result = iterate(state, self._step, _verdict, max_iterations=self.max_iterations, record=record)
        moved, trace = ldexp(torch.as_tensor(result.x), back), None
        if result.trace is not None:
            trace = torch.where(usable[:, None], ldexp(torch.as_tensor(result.trace), back), x)
        if Promise.COLUMNWISE not in self.promises:
            condition = standing_condition(R, columns)
        return LstsqResult(
            x=torch.where(usable[:, None], moved, x),
            status=status,
            iterations=result.iterations,
            condition=condition if first.condition is None else first.condition,
            trace=trace,
        )

    def _step(self, s: _State) -> _State:
        correction = _augmented(s) if self.mode == "augmented" else _residual(s, self.solver)
        unit, most = torch.finfo(s.x.dtype).eps / 2, self.max_iterations
        refining = refined(s.refining, s.A.double(), s.b.double(), correction, unit=unit, most=most)
        return s._replace(x=refining.x.to(s.x.dtype), refining=refining)


def _augmented(s: _State) -> Correction:
    def correction(f: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f, g = f.to(s.x.dtype), g.to(s.x.dtype)
        d = rmatvec(s.Q, f) - forward_substitute(s.R, g)
        return back_substitute(s.R, d), f - matvec(s.Q, d)

    return correction


def _residual(s: _State, solver: Solver) -> Correction:
    def correction(f: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        del g  # zero: r stays so
        e = exponent(f, -1).unsqueeze(-1)  # a tiny residual would underflow in the solver
        dx = torch.as_tensor(solver.solve(s.A, ldexp(f, -e).to(s.x.dtype)).x)
        return ldexp(dx, e), torch.zeros_like(f)

    return correction


def _verdict(s: _State) -> torch.Tensor:
    return torch.where(s.refining.settled | ~s.usable, int(Status.CONVERGED), RUNNING)
