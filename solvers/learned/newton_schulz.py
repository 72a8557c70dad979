"""A learned Newton–Schulz step made into a solver: min_x ‖b − A x‖₂ in about 2 log₂ κ steps.

Problem: a model emits X' ≈ X (2I − A X) for any A (m, n) and X (n, m); the solver finds X ≈ A⁺ with it, and x.
Scaling: columns of A, and b, by powers of two to length about one: units of the unknowns cost no steps. At each step A
    and X are balanced by a power of two, (2^p A, 2^−p X) with ‖2^p A‖ ≈ ‖2^−p X‖: the step commutes with that, and the
    model reads numbers of one size.
Start: X₀ = Aᵀ/s with σ₁² <= s = ‖(AᵀA)²‖_F^½ <= n^¼ σ₁². The eigenvalues of X₀ A lie in (0, 1], whence the exact
    iteration converges for every A of full rank, 1 − λ being squared at each step. x = x0 + X (b − A x0).
Acceleration: as in `solvers.newton_schulz`; the singular values are in hand, of the R that judges the rank.
Stopping: the change of X is X' − X = (I − X A) X. X has converged when ‖I − X A‖_F is below ½ and has stopped falling
    by half a step: what is left is rounding. It has broken down when a norm that can only fall rises tenfold above √n.
Refinement: as in `solvers.refinement`, with X for the factors of A: δx = X (f − Xᵀg), δr = d − Xᵀ(Aᵀd − g),
    d = f − A δx.
Limiting accuracy: u ‖x‖, whatever the residual, while a step X of the model is as exact as float64 allows and κ is at
    most about 1e9. Alone, and beyond: c u κ (1 + κ‖r‖/(‖A‖‖x‖)), as of a backward stable method.
Status: as in `solvers.learned.base`, with that bound; an x that it does not hold of is MAX_ITERATIONS.
Iterations: steps and corrections together; a step is one application of the model.
Precision: all float64 but for what the model emits, whatever that is; the answer to a float32 problem is rounded once.

Reference: Söderström and Stewart, SIAM J. Numer. Anal. 11 (1974); Björck, Iterative refinement of linear least squares
solutions I, BIT 7 (1967).
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch

from solvers._core.loop import RUNNING, frobenius, merged, taken
from solvers._core.scaling import exponent, ldexp
from solvers._core.triangular import matvec, rmatvec
from solvers.learned.base import LearnedSolver, Problem, State, factored
from solvers.newton_schulz import Spectrum
from solvers.refinement import Refining, refined, unrefined
from solvers.result import Status
from solvers.solver import Promise

CONVERGED_DEFECT = 0.5
BROKEN_DEFECT = 10.0
_FAR = 10_000
"""Beyond every exponent."""


class _Growth(NamedTuple):
    X: torch.Tensor
    spectrum: Spectrum
    right: torch.Tensor  # b − A x0
    defect: torch.Tensor  # ‖I − X A‖_F
    grown: torch.Tensor  # X has converged
    refining: Refining


@dataclass(frozen=True, eq=False, kw_only=True)
class LearnedNewtonSchulz(LearnedSolver):
    """Newton–Schulz iteration by a learned step, with refinement.

    Args:
        step: (A (B, m, n), X (B, n, m)), float64, → an approximation to X (2I − A X), (B, n, m).
        name: what the solver is called.
        max_iterations: cap on applications of the step and corrections together.
        tolerance: None: X is at rest by a rule of the method's own.
        refinement: the most corrections to x; None is the model alone, x = x0 + X (b − A x0).
        balance: whether the step is given A and X of one size.
        accelerate: whether X is multiplied before each step by what brings its eigenvalues together fastest.
    """

    condition_power: ClassVar[int] = 1
    promises: ClassVar[frozenset[Promise]] = frozenset({Promise.EXACT_SCALING, Promise.COLUMNWISE})
    refinable: ClassVar[bool] = True

    name: str = "learned-newton-schulz"
    max_iterations: int = 200
    tolerance: float | None = field(default=None, init=False)
    refinement: int | None = 10
    balance: bool = True
    accelerate: bool = False

    def _problem(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None) -> Problem:
        columns, matrix = _to_length_one(A.double(), -2)
        right, _ = _to_length_one(b.double(), -1)
        start = torch.zeros_like(matrix[:, 0]) if x0 is None else x0.double()
        # b and A x0 share one exponent, so that neither overflows beside the other.
        image = torch.where(start == 0, -_FAR, exponent(start.unsqueeze(-1), -1) + columns).amax(dim=-1)
        right = torch.maximum(torch.where((b == 0).all(dim=-1), -_FAR, right), image)
        right = torch.where(right <= -_FAR, 0, right).unsqueeze(-1)
        R, s = factored(matrix)
        return Problem(
            A=matrix,
            b=ldexp(b.double(), -right),
            start=ldexp(start, columns - right),
            R=R,
            largest=s[:, 0],
            smallest=s[:, -1],
            unit=torch.full_like(s[:, 0], torch.finfo(A.dtype).eps / 2),
            to_model=torch.zeros_like(right[:, 0]),
            back=right - columns,
        )

    def _memory(self, problem: Problem) -> Any:
        A = problem.A
        square = A.mT @ A
        bound = frobenius(square @ square).sqrt()
        bound = torch.where(bound > 0, bound, 1.0)
        X = A.mT / bound[:, None, None]
        spectrum = Spectrum(problem.smallest.square() / bound, problem.largest.square() / bound)
        none = torch.zeros_like(bound, dtype=torch.bool)
        right = problem.b - matvec(A, problem.start)
        return _Growth(X, spectrum, right, _defect(X, A), none, unrefined(problem.start, A.shape[-2]))

    def _advance(self, s: State) -> tuple[torch.Tensor, Any]:
        """One application of the step where X has not converged, one correction where it has."""
        memory, x = s.memory, s.x
        for refining, advance in ((False, self._grown), (True, self._refined)):
            where = torch.nonzero(s.memory.grown == refining).squeeze(-1)
            if len(where):
                part, update = advance(taken(s, where))
                x, memory = x.index_copy(0, where, part), merged(memory, where, update)
        return x, memory

    def _grown(self, s: State) -> tuple[torch.Tensor, _Growth]:
        A, m = s.problem.A, s.memory
        half = (frobenius(m.X).log2() - frobenius(A).log2()) / 2
        shift = half.nan_to_num(0.0, 0.0, 0.0).round().to(torch.int64)[:, None, None] * int(self.balance)
        X = m.X * m.spectrum.factor()[:, None, None] if self.accelerate else m.X
        X = ldexp(self.step(ldexp(A, shift), ldexp(X, -shift)).double(), shift)
        defect = _defect(X, A)
        rests = (m.defect < CONVERGED_DEFECT) & (defect >= m.defect / 2)
        # The last step of a converged X brought nothing but its own rounding.
        X = torch.where(rests[:, None, None], m.X, X)
        x = torch.where((rests & (s.age > 0))[:, None], s.x, s.problem.start + matvec(X, m.right))
        defect = torch.where(rests, m.defect, defect)
        spectrum, grown = m.spectrum, rests
        if self.accelerate:
            spectrum = spectrum.stepped()
            grown = rests | spectrum.met(defect)
        refining = unrefined(x, A.shape[-2])
        return x, m._replace(X=X, spectrum=spectrum, defect=defect, grown=grown, refining=refining)

    def _refined(self, s: State) -> tuple[torch.Tensor, _Growth]:
        A, X = s.problem.A, s.memory.X

        def correction(f: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            dx = matvec(X, f - rmatvec(X, g))
            d = f - matvec(A, dx)
            return dx, d - rmatvec(X, rmatvec(A, d) - g)

        unit, most = torch.finfo(torch.float64).eps / 2, self.refinement or 0
        refining = refined(s.memory.refining, A, s.problem.b, correction, unit=unit, most=most)
        return refining.x, s.memory._replace(refining=refining)

    def _ruling(self, s: State) -> torch.Tensor:
        m = s.memory
        settled = m.grown if self.refinement is None else m.refining.settled
        ruling = torch.where(settled, int(Status.MAX_ITERATIONS), RUNNING)
        where = torch.nonzero(settled).squeeze(-1)
        if len(where):
            vouched = where[self._vouched(taken(s.problem, where), s.x[where])]
            ruling[vouched] = int(Status.CONVERGED)
        broken = ~(m.defect <= BROKEN_DEFECT * s.problem.A.shape[-1] ** 0.5)
        return torch.where(broken, int(Status.BREAKDOWN), ruling)


def _defect(X: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    difference: torch.Tensor = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device) - X @ A
    return frobenius(difference)


def _to_length_one(values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of any size times powers of two, and those that take them back; 0 stays."""
    coarse = exponent(values, dim)
    length = torch.linalg.vector_norm(ldexp(values, -coarse.unsqueeze(dim)), dim=dim)
    e = coarse + torch.where(length > 0, length.log2().round(), 0.0).to(torch.int64)
    return e, ldexp(values, -e.unsqueeze(dim))
