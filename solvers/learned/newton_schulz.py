"""A learned Newton–Schulz step made into a solver: min_x ‖b − A x‖₂ in about 2 log₂ κ steps.

Problem: a model emits X' ≈ X (2I − A X) for any A (m, n) and X (n, m); the solver finds X ≈ A⁺ with it, and x.
Scaling: columns of A and b are scaled by powers of two to length about one; x is scaled back exactly. So scale alone
    costs no precision, and units of the unknowns no steps. At each step A and X are balanced by a power of two,
    (2^p A, 2^−p X) with ‖2^p A‖ ≈ ‖2^−p X‖: the step commutes with that, and the model reads numbers of one size.
Start: X₀ = Aᵀ/s with σ₁² <= s = ‖(AᵀA)²‖_F^½ <= n^¼ σ₁². The eigenvalues of X₀ A lie in (0, 1], whence the exact
    iteration converges for every A of full rank, 1 − λ being squared at each step.
Stopping: the change of X is X' − X = (I − X A) X. X has converged when ‖I − X A‖_F is below ½ and has stopped falling
    by half a step: what is left is rounding. It has broken down when a norm that can only fall rises tenfold above √n.
Refinement: with r and x together, r + A x = b and Aᵀr = 0 are corrected by f = b − r − A x and g = −Aᵀr, both from
    double-double arithmetic: δx = X (f − Xᵀg), δr = d − Xᵀ(Aᵀd − g) with d = f − A δx. Both are kept as pairs.
    Corrections are taken until two in a row have not halved the smallest, at most ten. If they end far from rest, that
    of one residual, x ← x + X (b − A x), stands. Where even the smallest of them exceeded the accuracy below, X is not
    what its defect says it is: MAX_ITERATIONS.
Limiting accuracy: u ‖x‖, whatever the residual, while a step X of the model is as exact as float64 allows and κ is at
    most about 1e9; beyond, c u κ (1 + κ‖r‖/(‖A‖‖x‖)).
Iterations: steps and refinements together; a step is one application of the model.
Precision: all float64 but for what the model emits, whatever that is; the answer to a float32 problem is rounded once.

Reference: Söderström and Stewart, SIAM J. Numer. Anal. 11 (1974); Björck, Iterative refinement of linear least squares
solutions I, BIT 7 (1967).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from solvers._core import double_double as dd
from solvers._core.arrays import require_count
from solvers._core.double_double import DD
from solvers._core.loop import RUNNING, frobenius, iterate
from solvers._core.rank import condition_of, deficient_factor, triangular_factor
from solvers._core.scaling import exponent, ldexp
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.result import LstsqResult, Status
from solvers.solver import Solver

MatrixStep = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), X (B, n, m)) → an approximation to X (2I − A X), (B, n, m)."""

CONVERGED_DEFECT = 0.5
BROKEN_DEFECT = 10.0
MOST_REFINEMENTS = 10
PATIENCE = 2
"""Corrections in a row that do not halve the smallest so far; a refinement far from normal grows before it falls."""


class LearnedNewtonSchulz(Solver):
    """Newton–Schulz iteration by a learned step, with refinement.

    Args:
        step: emits the next X for a batch, in any precision; it is given float64 tensors.
        name: what the solver is called.
        max_iterations: cap on applications of the step and refinements together.
        balance: whether the step is given A and X of one size.
        refine: whether x is refined; without it x is X b.
    """

    def __init__(
        self,
        step: MatrixStep,
        *,
        name: str = "learned-newton-schulz",
        max_iterations: int = 200,
        balance: bool = True,
        refine: bool = True,
    ) -> None:
        require_count("max_iterations", max_iterations)
        self._step, self._name = step, name
        self.max_iterations, self.balance, self.refine = max_iterations, balance, refine

    @property
    def name(self) -> str:
        """What the solver is called."""
        return self._name

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem = _Equilibrated.of(A, b, x0)
        x, status = problem.x0, torch.full(A.shape[:1], int(Status.RANK_DEFICIENT), device=A.device)
        iterations = torch.zeros_like(status)
        R = triangular_factor(A)
        condition = condition_of(R)
        solvable = torch.nonzero(~deficient_factor(R, A.shape[-2], condition)).squeeze(-1)
        trace = x[None] if record else None
        if len(solvable):
            part = iterate(
                _start(problem, solvable),
                self._advance,
                self._verdict,
                max_iterations=self.max_iterations,
                record=record,
            )
            x = x.index_copy(0, solvable, torch.as_tensor(part.x))
            status[solvable], iterations[solvable] = torch.as_tensor(part.status), torch.as_tensor(part.iterations)
            if part.trace is not None:
                steps = torch.as_tensor(part.trace)
                trace = problem.x0.expand(len(steps), -1, -1).index_copy(1, solvable, steps)
        return LstsqResult(
            x=problem.unscale(x).to(A.dtype),
            status=status,
            iterations=iterations,
            condition=condition,
            trace=None if trace is None else problem.unscale(trace).to(A.dtype),
        )

    def _advance(self, s: "_State") -> "_State":
        """One application of the step where X has not converged, one refinement where it has."""
        growing, refining = torch.nonzero(~s.refining).squeeze(-1), torch.nonzero(s.refining).squeeze(-1)
        if not len(refining):
            return self._grown(s)
        if not len(growing):
            return _refined(s)
        parts = self._grown(s.take(growing)), _refined(s.take(refining))
        order = torch.cat([growing, refining]).argsort()
        return _State(*(torch.cat(pair)[order] for pair in zip(*parts, strict=True)))

    def _grown(self, s: "_State") -> "_State":
        half = (frobenius(s.X).log2() - frobenius(s.A).log2()) / 2
        shift = half.nan_to_num(0.0, 0.0, 0.0).round().to(torch.int64)[:, None, None] * int(self.balance)
        X = ldexp(self._step(ldexp(s.A, shift), ldexp(s.X, -shift)), shift)
        defect = _defect(X, s.A)
        converged = (s.defect < CONVERGED_DEFECT) & (defect >= s.defect / 2)
        # The last step of a converged X brought nothing but its own rounding.
        X = torch.where(converged[:, None, None], s.X, X)
        x = s.offset + matvec(X, s.right)
        return s._replace(x=x, X=X, defect=torch.where(converged, s.defect, defect), refining=converged)

    def _verdict(self, s: "_State") -> torch.Tensor:
        done = s.settled if self.refine else s.refining
        verdict = torch.where(done, int(Status.CONVERGED), RUNNING)
        verdict = torch.where(s.astray, int(Status.MAX_ITERATIONS), verdict)
        broken = ~(s.defect <= BROKEN_DEFECT * s.A.shape[-1] ** 0.5) | ~torch.isfinite(norm(s.x))
        return torch.where(broken, int(Status.BREAKDOWN), verdict)


class _Equilibrated(NamedTuple):
    """Problems whose columns and right-hand side have length about one, in float64."""

    A: torch.Tensor
    b: torch.Tensor
    x0: torch.Tensor
    back: torch.Tensor  # x in the caller's units is x · 2^back, (B, n)

    @classmethod
    def of(cls, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> "_Equilibrated":
        columns, unit = _to_length_one(A.double(), -2)
        start = torch.zeros_like(unit[:, 0]) if x0 is None else x0.double()
        right = _length_exponent(b.double(), -1)
        if x0 is not None:
            # b and A x0 share one exponent, so that neither overflows beside the other.
            image = torch.where(start == 0, -10_000, exponent(start.unsqueeze(-1), -1) + columns).amax(dim=-1)
            right = torch.where((b == 0).all(dim=-1), image, torch.maximum(right, image))
            right = torch.where(right <= -10_000, 0, right)
        back = right.unsqueeze(-1) - columns
        return cls(A=unit, b=ldexp(b.double(), -right.unsqueeze(-1)), x0=ldexp(start, -back), back=back)

    def unscale(self, x: torch.Tensor) -> torch.Tensor:
        """Iterates in the caller's units."""
        return ldexp(x, self.back)


class _State(NamedTuple):
    x: torch.Tensor
    x_low: torch.Tensor  # what x lost to rounding
    r: torch.Tensor
    r_low: torch.Tensor  # what r lost
    X: torch.Tensor
    defect: torch.Tensor  # ‖I − X A‖_F
    refining: torch.Tensor
    settled: torch.Tensor
    astray: torch.Tensor  # settled, and yet not a solution
    taken: torch.Tensor  # refinements so far
    idle: torch.Tensor  # of them, the last that did not halve the smallest correction
    smallest: torch.Tensor  # correction so far
    plain: torch.Tensor  # x after one residual refinement, to fall back on
    offset: torch.Tensor  # x0: x = x0 + X (b − A x0)
    right: torch.Tensor  # b − A x0
    A: torch.Tensor
    b: torch.Tensor

    def take(self, chosen: torch.Tensor) -> "_State":
        """The chosen problems of the batch."""
        return _State(*(part[chosen] for part in self))


def _start(problem: _Equilibrated, chosen: torch.Tensor) -> _State:
    A, b, x0 = problem.A[chosen], problem.b[chosen], problem.x0[chosen]
    bound = frobenius(_product(_product(A.mT, A), _product(A.mT, A))).sqrt()
    X = A.mT / bound[:, None, None]
    nothing, no = torch.zeros_like(bound), torch.zeros_like(bound, dtype=torch.bool)
    return _State(
        x=x0,
        x_low=torch.zeros_like(x0),
        r=torch.zeros_like(b),
        r_low=torch.zeros_like(b),
        X=X,
        defect=_defect(X, A),
        refining=no,
        settled=no,
        astray=no,
        taken=nothing,
        idle=nothing,
        smallest=torch.full_like(bound, float("inf")),
        plain=x0,
        offset=x0,
        right=_residual(A, b, DD(x0, torch.zeros_like(x0))),
        A=A,
        b=b,
    )


def _refined(s: _State) -> _State:
    """One refinement: of x by the residual at first, then of x and r together."""
    first = s.taken == 0
    # At first r is the residual of x and g is not looked at: δx = X r.
    residual = _residual(s.A, s.b, DD(s.x, s.x_low))
    f = torch.where(first[:, None], residual, _augmented_residual(s))
    g = torch.where(first[:, None], 0.0, -dd.matvec(s.A.mT, DD(s.r, s.r_low)).hi)
    dx = matvec(s.X, f - rmatvec(s.X, g))
    dr = f - matvec(s.A, dx)
    dr = dr - rmatvec(s.X, rmatvec(s.A, dr) - g)
    x, x_low = _added(DD(s.x, s.x_low), dx)
    r, r_low = _added(DD(s.r, s.r_low), dr)  # both zero at first
    change, size = norm(dx), norm(x)
    halved = change < s.smallest / 2
    idle = torch.where(first | halved, 0.0, s.idle + 1)
    u = torch.finfo(x.dtype).eps / 2
    small = ~first & (change <= u / 2 * size)
    settled = small | (idle >= PATIENCE) | (s.taken + 1 >= MOST_REFINEMENTS)
    # A refinement that ends far from rest has run off: κ is beyond its reach.
    lost = settled & ~(change <= u**0.25 * size)
    smallest = torch.where(first, s.smallest, torch.minimum(s.smallest, change))
    # Where corrections stay above what x may be off by at κ, X is not what its defect says it is.
    kappa, length = frobenius(s.A) * frobenius(s.X), frobenius(s.A)
    expected = s.A[0].numel() * u * kappa * (norm(s.plain) + kappa * norm(s.b) / length)
    astray = settled & ~(smallest <= expected)
    return s._replace(
        x=torch.where(lost[:, None], s.plain, x),
        x_low=torch.where(lost[:, None], 0.0, x_low),
        r=r,
        r_low=r_low,
        settled=settled,
        taken=s.taken + 1,
        idle=idle,
        smallest=smallest,
        astray=astray,
        plain=torch.where(first[:, None], x, s.plain),
    )


def _added(a: DD, change: torch.Tensor) -> DD:
    total = dd.two_sum(a.hi, change)
    return dd.quick_two_sum(total.hi, total.lo + a.lo)


def _residual(A: torch.Tensor, b: torch.Tensor, x: DD) -> torch.Tensor:
    r, e = dd.residual(A, b, x)
    return ldexp(r.hi, e.unsqueeze(-1))


def _augmented_residual(s: _State) -> torch.Tensor:
    """Residual f = b − r − A x."""
    image = dd.matvec(s.A, DD(s.x, s.x_low))
    return dd.subtract(dd.subtract(dd.from_double(s.b), DD(s.r, s.r_low)), image).hi


def _defect(X: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    return frobenius(torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - _product(X, A))


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """A matrix product whose bits do not depend on the batch: a batch of one takes another routine than one of two."""
    if len(left) == 1:
        return (left.repeat(2, 1, 1) @ right.repeat(2, 1, 1))[:1]
    return left @ right


def _length_exponent(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The power of two nearest to the length of vectors of any size; 0 for the zero vector."""
    coarse = exponent(values, dim)
    length = torch.linalg.vector_norm(ldexp(values, -coarse.unsqueeze(dim)), dim=dim)
    return coarse + torch.where(length > 0, length.log2().round(), 0.0).to(torch.int64)


def _to_length_one(A: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    e = _length_exponent(A, dim)
    return e, ldexp(A, -e.unsqueeze(dim))
