"""Solvers with one defect each in what goes in and what comes out, whatever their arithmetic."""

from dataclasses import replace

import numpy as np
import torch

from solvers import LstsqResult
from solvers.qr import QR

from .defects import planted


@planted("types", "another dtype comes back")
class PromotesFloat32:
    name = "promotes"

    def solve(self, A, b, *, x0=None, record=False):
        result = QR().solve(A, b, x0=x0, record=record)
        return replace(result, x=result.x.double() if isinstance(A, torch.Tensor) else result.x.astype(np.float64))


@planted("types", "another family comes back")
class AlwaysTorch:
    name = "always-torch"

    def solve(self, A, b, *, x0=None, record=False):
        result = QR().solve(A, b, x0=x0)
        return LstsqResult(*[], **{k: torch.as_tensor(getattr(result, k)) for k in ("x", "status", "iterations")})


@planted("types", "the shape of the batch is lost")
class OneStatusForAll:
    name = "one-status"

    def solve(self, A, b, *, x0=None, record=False):
        result = QR().solve(A, b, x0=x0, record=record)
        return replace(result, status=result.status.max()) if result.status.size else result

    def __getattr__(self, name):
        raise AttributeError(name)


@planted("empty batch", "an exception where a status is due")
class LoopsOverBatch:
    name = "loops"

    def solve(self, A, b, *, x0=None, record=False):
        if A.ndim == 2:
            return QR().solve(A, b, x0=x0, record=record)
        one = QR().solve(A, b, x0=x0, record=record)
        _ = torch.stack([torch.as_tensor(x) for x in one.x])
        return one


@planted("validation", "accepts NaN in A")
class AcceptsNaN:
    name = "accepts-nan"

    def solve(self, A, b, *, x0=None, record=False):
        if isinstance(A, torch.Tensor) and A.is_floating_point():
            A = torch.nan_to_num(A)
        return QR().solve(A, b, x0=x0, record=record)


@planted("validation", "accepts b broadcast over a batch")
class Broadcasts:
    name = "broadcasts"

    def solve(self, A, b, *, x0=None, record=False):
        if isinstance(b, torch.Tensor) and isinstance(A, torch.Tensor) and b.ndim == 1 and A.ndim == 3:
            b = b.expand(A.shape[0], -1)
        return QR().solve(A, b, x0=x0, record=record)


@planted("validation", "the message names no argument")
class VagueMessages:
    name = "vague"

    def solve(self, A, b, *, x0=None, record=False):
        try:
            return QR().solve(A, b, x0=x0, record=record)
        except (ValueError, TypeError) as error:
            raise ValueError("invalid input") from error


@planted("validation", "input is not validated")
class Unvalidated:
    name = "unvalidated"

    def solve(self, A, b, *, x0=None, record=False):
        try:
            return QR().solve(A, b, x0=x0, record=record)
        except (ValueError, TypeError) as error:
            raise RuntimeError("expected m1 and m2 to have the same dtype") from error
