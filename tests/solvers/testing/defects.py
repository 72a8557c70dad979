"""Solvers with one defect each, and the words that the battery should find for it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from solvers import Promise, Status
from solvers.cgls import CGLS
from solvers.cholesky import Cholesky
from solvers.gradient_descent import GradientDescent
from solvers.lsqr import LSQR
from solvers.qr import QR
from solvers.svd import SVD


@dataclass(frozen=True)
class Defect:
    """A solver, the check that should fail, and a phrase of the cause."""

    solver: Any
    check: str
    phrase: str
    max_condition: float = 1e8


DEFECTS: list[Defect] = []


def planted(check: str, phrase: str, *, max_condition: float = 1e8, **options: Any):
    """Enter a solver's class in the table."""

    def enter(cls):
        DEFECTS.append(Defect(cls(**options), check, phrase, max_condition))
        return cls

    return enter


@planted("accuracy", "as float32 inside would have")
class Float32Inside(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A.float(), b.float(), x0, record)
        trace = None if result.trace is None else result.trace.to(A.dtype)
        return replace(result, x=result.x.to(A.dtype), trace=trace, residual_norm=None, condition=None)


@planted("accuracy", "as float32 inside would have")
class Float32Residual(QR):
    """Only the right-hand side passes through float32."""

    def _solve(self, A, b, x0, record):
        return super()._solve(A, b.float().to(b.dtype), x0, record)


@planted("sweep", "as normal equations have")
class NormalEquationsSoldAsQR(Cholesky):
    condition_power = 1


@planted("accuracy", "a dropped row")
class DroppedRow(QR):
    def _solve(self, A, b, x0, record):
        keep = max(A.shape[-1], A.shape[-2] - 1)
        return super()._solve(A[:, :keep].contiguous(), b[:, :keep].contiguous(), x0, record)


@planted("accuracy", "transposed arguments")
class Transposed(QR):
    def _solve(self, A, b, x0, record):
        square = A.shape[-2] == A.shape[-1]
        return super()._solve(A.mT.contiguous() if square else A, b, x0, record)


@planted("accuracy", "the sign is wrong")
class WrongSign(QR):
    def _solve(self, A, b, x0, record):
        return super()._solve(A, -b, x0, record)


@planted("accuracy", "x is zero")
class Zero(QR):
    def _solve(self, A, b, x0, record):
        return super()._solve(A, 0 * b, x0, record)


@planted("accuracy", "reverse order")
class Reversed(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, x=result.x.flip(-1), trace=None if result.trace is None else result.trace.flip(-1))


@planted("accuracy", "wrong for m = n")
class WrongForSquare(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, x=result.x * 1.25, trace=None) if A.shape[-2] == A.shape[-1] else result


@planted("shapes", "wrong for n = 1")
class WrongForOneUnknown(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, x=result.x * 1.25, trace=None) if A.shape[-1] == 1 else result


@planted("order", "the rows are not treated alike")
class TrustsFirstRow(QR):
    """Scales by a pivot that it never looks for."""

    def _solve(self, A, b, x0, record):
        first = A[:, 0, 0].abs() > A[:, :, 0].abs().amin(dim=-1)
        result = super()._solve(A, b, x0, record)
        return replace(result, x=torch.where(first[:, None], result.x, result.x * 1.25), trace=None)


@planted("statuses", "no max_iterations")
class GivesUpWithoutCap(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, status=torch.where(b[:, 0] < 0, int(Status.MAX_ITERATIONS), result.status))


@planted("accuracy", "a silent NaN")
class SilentNaN:
    """Divides 0 by 0 where an entry of b is zero."""

    name = "silent-nan"

    def solve(self, A, b, *, x0=None, record=False):
        result = QR().solve(A, b, x0=x0, record=record)
        x = result.x * (b / b)[..., :1]
        return replace(result, x=x, trace=None if result.trace is None else x[None])


@planted("accuracy", "a status that is always CONVERGED", max_iterations=20)
class AlwaysConverged(GradientDescent):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, status=torch.zeros_like(result.status))


@planted("accuracy", "as a loose stopping rule")
class LooseStoppingRule(CGLS):
    def _solve(self, A, b, x0, record):
        return CGLS(max_iterations=self.max_iterations, tolerance=1e-5)._solve(A, b, x0, record)


@planted("extreme scales", "as an absolute threshold")
class AbsoluteThreshold(QR):
    def _solve(self, A, b, x0, record):
        return super()._solve(torch.where(A.abs() < 1e-20, 0.0, A), b, x0, record)


@planted("extreme scales", "as squares that overflow")
class SquaresOverflow(QR):
    def _solve(self, A, b, x0, record):
        size = A.square().sum(dim=(-2, -1)).sqrt().clamp(min=torch.finfo(A.dtype).tiny)
        return super()._solve(A / size[:, None, None], b / size[:, None], x0, record)


@planted("extreme scales", "as an absolute threshold")
class Regularised(SVD):
    def _solve(self, A, b, x0, record):
        U, s, Vh = torch.linalg.svd(A, full_matrices=False)
        weights = (U.mT @ b[..., None])[..., 0] * s / (s.square() + 1e-18)
        x = (Vh.mT @ weights[..., None])[..., 0]
        return replace(super()._solve(A, b, x0, record), x=x, trace=x[None] if record else None)


@planted("scaling", "no power of two")
class ScaledByTen(QR):
    """Brings A to size 1 by a division that rounds."""

    def _solve(self, A, b, x0, record):
        size = 10.0 ** torch.log10(A.abs().amax(dim=(-2, -1)).clamp(min=1e-300)).round()
        return super()._solve(A / size[:, None, None], b / size[:, None], x0, record)


@planted("rank", "unreported rank deficiency")
class UnreportedDeficiency(SVD):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, status=torch.zeros_like(result.status))


@planted("sweep", "false rank deficiency")
class FalseDeficiency(QR):
    """Calls a column dependent that is only in small units."""

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        s = torch.linalg.svdvals(A.double())
        small = s[:, -1] <= 1e-3 * s[:, 0]
        return replace(result, status=torch.where(small, int(Status.RANK_DEFICIENT), result.status))


@planted("sweep", "an exception where a status is due")
class RaisesOnHardProblems(QR):
    def _solve(self, A, b, x0, record):
        s = torch.linalg.svdvals(A.double())
        if bool((s[:, -1] <= 1e-3 * s[:, 0]).any()):
            raise RuntimeError("did not converge")
        return super()._solve(A, b, x0, record)


@planted("convergence", "stopping rule asks for more than rounding allows", max_iterations=50)
class NeverSatisfied(CGLS):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        status = torch.where(result.status == Status.CONVERGED, int(Status.MAX_ITERATIONS), result.status)
        return replace(result, status=status)


@planted("batch", "wrong as entry 1: entries of a batch are mixed up")
class SecondEntryWrong(QR):
    def _solve(self, A, b, x0, record):
        b = torch.cat([b[:1], b[:1], b[2:]]) if len(b) > 1 else b
        return super()._solve(A, b, x0, record)


@planted("batch", "depends on the size of the batch")
class BatchDependentRounding(QR):
    promises = frozenset({Promise.EXACT_BATCH})

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, x=result.x * (1 + 2 * torch.finfo(A.dtype).eps * (len(b) > 1)), trace=None)


@planted("repetition", "nondeterministic")
class Nondeterministic(QR):
    _generator = np.random.default_rng(0)

    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        jitter = torch.from_numpy(self._generator.integers(0, 3, tuple(result.x.shape)))
        return replace(result, x=result.x * (1 + jitter.to(A.dtype) * torch.finfo(A.dtype).eps), trace=None)


@planted("repetition", "recording the iterates changes the computation")
class RecordingChanges(QR):
    def _solve(self, A, b, x0, record):
        return super()._solve(A, b * (1 + record * torch.finfo(b.dtype).eps), x0, record)


@planted("inputs", "input overwritten")
class OverwritesInput(QR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        b -= (A @ result.x[..., None])[..., 0]
        return result


@planted("inputs", "shares memory")
class SharesMemory:
    name = "shares-memory"

    def solve(self, A, b, *, x0=None, record=False):
        result = QR().solve(A, b, x0=x0, record=record)
        if x0 is None or A.ndim > 2:
            return result
        return replace(result, trace=x0[None])


@planted("layout", "strides are ignored")
class IgnoresStrides:
    name = "ignores-strides"

    def solve(self, A, b, *, x0=None, record=False):
        if isinstance(A, torch.Tensor) and A.ndim == 2 and A.dtype.is_floating_point:
            A = torch.as_strided(A, tuple(A.shape), (A.shape[1], 1))
        return QR().solve(A, b, x0=x0, record=record)


@planted("trace", "does not include the start")
class TraceWithoutStart(LSQR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        return replace(result, trace=result.trace[1:] if record and len(result.trace) > 1 else result.trace)


@planted("trace", "a better one on the way")
class BestOnTheWay(CGLS):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, True)
        last = result.trace[-1] if len(result.trace) < 3 else result.trace[-2]
        return replace(result, x=last, trace=result.trace if record else None)


@planted("start", "ignores x0 while recording it")
class IgnoresStart(LSQR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, None, record)
        if record and x0 is not None:
            result.trace[0] = x0
        return result


@planted("cap", "iteration cap ignored")
class IgnoresCap(CGLS):
    def _solve(self, A, b, x0, record):
        return CGLS()._solve(A, b, x0, record)


@planted("cap", "x is a later iterate than the count says")
class LiesAboutCap(CGLS):
    def _solve(self, A, b, x0, record):
        result = CGLS()._solve(A, b, x0, record)
        return replace(result, iterations=result.iterations.clamp(max=self.max_iterations))


@planted("rate", "slower than the documented rate", max_condition=8.0, max_iterations=200)
class SmallSteps(GradientDescent):
    def _solve(self, A, b, x0, record):
        size = torch.linalg.matrix_norm(A.double()).square()
        step = float(0.25 / size.max().clamp(min=1e-300))
        return GradientDescent(step_size=step, max_iterations=self.max_iterations)._solve(A, b, x0, record)


@planted("rate", "the error grows on the way")
class Overshoots(LSQR):
    def _solve(self, A, b, x0, record):
        result = super()._solve(A, b, x0, record)
        if record and len(result.trace) > 2:
            result.trace[1] = 2.5 * result.trace[1] - 1.5 * result.trace[0]
        return result
