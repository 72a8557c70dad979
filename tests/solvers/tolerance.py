"""The one place that tolerances come from: c(m, n) · u · κ^p."""

import torch

from solvers.solver import Solver


def unit(dtype: torch.dtype) -> float:
    """u of a dtype."""
    return torch.finfo(dtype).eps / 2


def tolerance(m: int, n: int, dtype: torch.dtype, *, condition: float = 1.0, power: float = 1.0) -> float:
    """What a backward stable computation with an m×n matrix may leave, relatively.

    The constant is the m·n that a rounding-error analysis gives, and no less than 10 so that it also holds for 1×1.
    """
    return max(10, m * n) * unit(dtype) * condition**power


def forward(solver: Solver, m: int, n: int, dtype: torch.dtype, condition: float, rho: float = 0.0) -> float:
    """A solver's documented forward error; rho is ‖r‖/(‖A‖‖x‖)."""
    return tolerance(m, n, dtype, condition=condition, power=solver.condition_power) * (1 + condition * rho)
