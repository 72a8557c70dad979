"""The solvers and the problems that the suite runs over."""

from dataclasses import dataclass

import solvers

DIRECT = ["reference", "qr", "svd", "cholesky"]
STABLE = ["reference", "qr", "svd"]
"""Backward stable: LAPACK's ratios hold for them."""
ITERATIVE = ["gradient-descent", "chebyshev", "cgls", "lsqr", "lsmr", "newton-schulz"]


@dataclass(frozen=True)
class Case:
    """A solver and the largest κ at which it must converge in float64 and float32."""

    name: str
    float64: float
    float32: float


# Where a method must still give its documented accuracy: κ < 1/u or 1/√u, or what its iteration cap allows.
CASES = [
    Case("reference", 1e14, 1e6),
    Case("qr", 1e12, 1e4),
    Case("svd", 1e12, 1e4),
    Case("cholesky", 1e6, 1e3),
    Case("gradient-descent", 10.0, 10.0),
    Case("chebyshev", 100.0, 100.0),
    Case("cgls", 1e6, 1e3),
    Case("lsqr", 1e6, 1e3),
    Case("lsmr", 1e6, 1e3),
    Case("newton-schulz", 1e6, 1e3),
]

assert [case.name for case in CASES] == solvers.names()
