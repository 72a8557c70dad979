"""Solvers with one defect each that few problems show, by size, scale or neighbours; or that is not in x at all."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator

from solvers import LstsqResult, Promise, Solver, Status
from solvers._core.rank import triangular_factor
from solvers.cgls import CGLS
from solvers.qr import QR
from solvers.reference import RankDeficientError, solve_exact
from solvers.svd import SVD

from .defects import planted


class Twice(QR):
    """Twice the solution, where the problem is such."""

    def such(self, A, b):
        raise NotImplementedError

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        factor = torch.where(torch.as_tensor(self.such(A, b)), 2.0, 1.0).reshape(-1, 1)
        return replace(result, x=result.x * factor.to(A.dtype), trace=None)


@planted("accuracy", "wrong for n = 6 to")
class FromSixUnknowns(Twice):
    def such(self, A, b):
        return A.shape[-1] >= 6


@planted("accuracy", "wrong for m = 13 to 64")
class FromThirteenRows(Twice):
    def such(self, A, b):
        return A.shape[-2] >= 13


@planted("accuracy", "wrong for n = 17 to 24")
class BeyondSixteenUnknowns(Twice):
    def such(self, A, b):
        return A.shape[-1] > 16


@planted("accuracy", "wrong for m = 35, 37, …, 63")
class OddRowsBeyondThirtyThree(Twice):
    def such(self, A, b):
        return A.shape[-2] > 33 and A.shape[-2] % 2 == 1


@planted("tall", "right for few rows, wrong for many")
class Thousands(Twice):
    def such(self, A, b):
        return A.shape[-2] > 1000


@planted("accuracy", "wrong for m = n")
class LargeSquares(Twice):
    def such(self, A, b):
        return A.shape[-2] == A.shape[-1] > 8


@planted("accuracy", "a dropped row")
class BlocksOfSixteenRows(QR):
    """Leaves out what remains beyond whole blocks of sixteen rows."""

    def _solve(self, A, b, x0, record):
        m, n = A.shape[-2:]
        keep = max(n, m - m % 16) if m > 16 else m
        return super()._solve(A[:, :keep].contiguous(), b[:, :keep].contiguous(), x0, record)


@planted("batch", "entries of a batch are mixed up or share state")
class BesideDeficient(Twice):
    def such(self, A, b):
        status = QR._solve(self, A, b, None, False).status
        return (status == Status.RANK_DEFICIENT).any() & (status == Status.CONVERGED)


@planted("batch", "entries of a batch are mixed up or share state")
class StatusOfTheWorst(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, status=result.status.amax().expand(len(A)).clone())


@planted("batch", "entries of a batch are mixed up or share state")
class NaNSpreads(QR):
    """A sum over the batch, which one neighbour that overflows makes NaN."""

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, x=result.x + 0 * result.x.sum(), trace=None)


@planted("extreme scales", "as squares that overflow")
class NearOverflow(Twice):
    def such(self, A, b):
        return A.abs().amax(dim=(-2, -1)).double() > 2.0**1000


@planted("extreme scales", "underflow")
class FlushesSubnormalRightHandSides(QR):
    def _solve(self, A, b, x0, record):
        return super()._solve(A, torch.where(b.abs() < torch.finfo(b.dtype).tiny, 0.0, b), x0, record)


@planted("extreme scales", "underflow")
class FlushesSubnormalMatrices(SVD):
    def _solve(self, A, b, x0, record):
        return super()._solve(torch.where(A.abs() < torch.finfo(A.dtype).tiny, 0.0, A), b, x0, record)


class Exactly(Solver):
    """Solutions rounded once; what planted defects start from that are about the last bits."""

    name = "exactly"
    condition_power = 0
    error_constant = 1.0
    promises = frozenset({Promise.COMPONENTWISE})

    def rounded(self, hi, lo):
        return hi

    def _solve(self, A, b, x0, record):
        x = torch.full_like(A[:, 0], float("nan"))
        status = torch.full((len(A),), int(Status.RANK_DEFICIENT))
        for i in range(len(A)):
            try:
                hi, lo = map(torch.from_numpy, solve_exact(A[i], b[i]))
            except RankDeficientError:
                continue
            x[i], status[i] = self.rounded(hi, lo).to(A.dtype), int(Status.CONVERGED)
        return LstsqResult(x=x, status=status, iterations=torch.zeros_like(status), trace=x[None] if record else None)


@planted("accuracy", "the small components of x are wrong")
class NormwiseSoldAsComponentwise(Exactly):
    def rounded(self, hi, lo):
        return hi + torch.finfo(hi.dtype).eps / 4 * hi.norm()


@planted("columns", "right with columns of one size")
class OneScaleSoldAsColumnwise(QR):
    """Backward stable as A stands, so that columns in small units lose their digits."""

    promises = frozenset({Promise.COLUMNWISE})

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        size = result.x.abs().amax(dim=-1, keepdim=True)
        return replace(result, x=result.x + size * torch.finfo(A.dtype).eps, trace=None)


@planted("columns", "right with columns of one size")
class RankAsItStands(QR):
    """Calls a column dependent that is only in small units."""

    promises = frozenset({Promise.COLUMNWISE})

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        s = torch.linalg.svdvals(A)
        short = s[:, -1] <= max(A.shape[-2:]) * torch.finfo(A.dtype).eps * s[:, 0]
        return replace(result, status=torch.where(short, int(Status.RANK_DEFICIENT), result.status))


@planted("hidden rank", "unreported rank deficiency")
class RankByPivots(QR):
    """Looks at the diagonal of R, which neither Kahan's matrix nor Wilkinson's betrays."""

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        pivots = triangular_factor(A).diagonal(dim1=-2, dim2=-1).abs()
        short = pivots.amin(dim=-1) <= max(A.shape[-2:]) * torch.finfo(A.dtype).eps * pivots.amax(dim=-1)
        return replace(result, status=torch.where(short, int(Status.RANK_DEFICIENT), int(Status.CONVERGED)))


@planted("rank", "unreported rank deficiency")
class RankOfFewUnknowns(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, status=torch.zeros_like(result.status)) if A.shape[-1] > 6 else result


@planted("statuses", "a breakdown where digits are left")
class BreaksDownOnLargeSystems(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        broken = (result.status == Status.CONVERGED) & (A.shape[-1] >= 7) & (torch.linalg.cond(A.double()) > 1e3)
        return replace(result, status=torch.where(broken, int(Status.BREAKDOWN), result.status))


class Says(QR):
    """What `Solver.solve` returns, altered."""

    def altered(self, A, b, result):
        raise NotImplementedError

    def solve(self, A, b, *, x0=None, record=False):
        return self.altered(A, b, super().solve(A, b, x0=x0, record=record))


@planted("residual norm", "not that of the x beside it")
class StaleResidual(Says):
    """The residual of x = 0."""

    def altered(self, A, b, result):
        return replace(result, residual_norm=(b * b).sum(-1) ** 0.5)


@planted("condition", "another matrix, or its estimate is fooled")
class ConditionOfOne(Says):
    def altered(self, A, b, result):
        return replace(result, condition=result.residual_norm * 0 + 1)


@planted("condition", "the result does not say so")
class SilentWhereNoDigitIsLeft(Says):
    """Documents no digit, and says that κ is 1."""

    error_constant = 1e18

    def altered(self, A, b, result):
        return replace(result, condition=result.residual_norm * 0 + 1)


@planted("shapes", "a few digits are lost", error_constant=5.0)
@dataclass(frozen=True, kw_only=True)
class LooseByTwentyEps(QR):
    error_constant: float = 5.0

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        signs = 1.0 - 2.0 * torch.arange(A.shape[-1]).remainder(2)
        return replace(result, x=result.x * (1 + 20 * torch.finfo(A.dtype).eps * signs).to(A.dtype), trace=None)


@planted("shapes", "off by the same factor", error_constant=5.0)
@dataclass(frozen=True, kw_only=True)
class TooLargeByThirtyEps(QR):
    error_constant: float = 5.0

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        factor = 1 + 30 * torch.finfo(A.dtype).eps * (A.shape[-1] > 2)
        return replace(result, x=result.x * factor, trace=None)


@planted("shapes", "a few digits are lost", error_constant=5.0)
@dataclass(frozen=True, kw_only=True)
class ShortFloat32(QR):
    """Answers in float32 have 19 bits."""

    error_constant: float = 5.0

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        if A.dtype == torch.float64:
            return result
        coarse = result.x * 2.0**5
        return replace(result, x=(result.x + coarse) - coarse, trace=None)


@planted("far start", "loose stopping rule")
class UpdatedResiduals(CGLS):
    """What cancels beside a large x0 stays in x."""

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, None, record)
        if x0 is None:
            return result
        noise = torch.finfo(A.dtype).eps * x0.abs()
        return replace(result, x=result.x + noise, iterations=result.iterations + 1, trace=None)


@planted("operators", "taken on trust")
class TrustsAdjoints(CGLS):
    def solve(self, A, b, *, x0=None, record=False):
        try:
            return super().solve(A, b, x0=x0, record=record)
        except ValueError:
            if not isinstance(A, LinearOperator):
                raise
            done = np.zeros((), dtype=np.int64)
            return LstsqResult(x=np.zeros(A.shape[1]), status=done, iterations=done)


@planted("memory", "memory of the order m n²")
class SpreadsProducts(QR):
    def _solve(self, A, b, x0, record):
        gram = (A.unsqueeze(-1) * A.unsqueeze(-2)).sum(dim=-3)
        return super()._solve(A + 0 * gram[:, :1, :1], b, x0, record)


@planted("accuracy", "as integers that overflow")
class WholeNumbersInThirtyTwoBits(QR):
    def _solve(self, A, b, x0, record):
        whole = (A.round() == A).all(dim=-1).all(dim=-1)[:, None, None]
        return super()._solve(torch.where(whole, A.to(torch.int32).to(A.dtype), A), b, x0, record)


@planted("order", "the rows are not treated alike")
class SmallRowsFirst(Twice):
    """Wrong where many rows come sorted, the smallest first."""

    def such(self, A, b):
        sizes = A.abs().amax(dim=-1)
        return (sizes[:, 1:] >= sizes[:, :-1]).all(dim=-1) & (A.shape[-2] > 12)


@planted("wide", "x solves")
class NotOfLeastNorm(SVD):
    """A solution of m < n, but not the shortest."""

    def _solve(self, A, b, x0, record):
        m, n = A.shape[-2:]
        if m >= n:
            return super()._solve(A, b, x0, record)
        result = super()._solve(A[:, :, :m].contiguous(), b, x0, record)
        x = torch.cat([result.x, result.x.new_zeros(len(A), n - m)], dim=-1)
        return replace(result, x=x, trace=x[None] if record else None)


@planted("wide", "rank judged by the number of unknowns")
class WideIsDeficient(SVD):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        wide = A.shape[-2] < A.shape[-1]
        return replace(result, status=torch.full_like(result.status, int(Status.RANK_DEFICIENT))) if wide else result


@planted("repetition", "nondeterministic: a random generator, or state kept between solves")
class KeepsState(QR):
    """Remembers the last large system, and starts from what it was."""

    _calls = np.zeros(1)

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        self._calls += A.shape[-1] > 5
        return replace(result, x=result.x * (1 + float(self._calls[0] % 2) * torch.finfo(A.dtype).eps), trace=None)
