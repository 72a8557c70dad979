"""Least-squares solvers that say how precise they are: references, classical methods, error measures and checks.

    solver = solvers.get("qr")
    result = solver.solve(A, b)        # A (..., m, n), b (..., m): torch or NumPy, float32 or float64
    result.x, result.status            # (..., n), and a Status per problem

One table holds every method by name. This package knows nothing of models: a learned solver is handed its step.
"""

import inspect
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from solvers.result import LstsqResult, Status
from solvers.solver import Promise, Solver

if TYPE_CHECKING:
    from solvers import certify as certify
    from solvers import errors as errors
    from solvers import problems as problems
    from solvers import reference as reference
    from solvers import testing as testing

__all__ = ["LstsqResult", "Promise", "Solver", "Status", "get", "names"]

_ROOMS = ("certify", "errors", "problems", "reference", "testing")
"""Modules that `import solvers` is enough for; each is imported when first asked for, with what it needs."""

_REGISTRY = {
    "reference": ("solvers.reference", "Reference"),
    "qr": ("solvers.qr", "QR"),
    "svd": ("solvers.svd", "SVD"),
    "cholesky": ("solvers.cholesky", "Cholesky"),
    "gradient-descent": ("solvers.gradient_descent", "GradientDescent"),
    "chebyshev": ("solvers.chebyshev", "Chebyshev"),
    "cgls": ("solvers.cgls", "CGLS"),
    "lsqr": ("solvers.lsqr", "LSQR"),
    "lsmr": ("solvers.lsmr", "LSMR"),
    "newton-schulz": ("solvers.newton_schulz", "NewtonSchulz"),
}
"""name → (module, class). Modules are imported when first asked for."""


def names() -> list[str]:
    """The registered solvers.

    Returns:
        Their names, references first, then direct, then iterative methods.
    """
    return list(_REGISTRY)


def get(name: str, **options: object) -> Solver:
    """A solver by name.

    Args:
        name: one of `names()`.
        **options: keyword parameters of the solver's class; each class documents its own.

    Returns:
        The solver.

    Raises:
        ValueError: if the name or an option is unknown; the message lists what there is.
    """
    if name not in _REGISTRY:
        raise ValueError(_unknown("solver", name, names()))
    module, cls = _REGISTRY[name]
    solver_class: type[Solver] = getattr(import_module(module), cls)
    allowed = list(inspect.signature(solver_class).parameters)
    for option in options:
        if option not in allowed:
            raise ValueError(_unknown(f"option of solver {name!r}", option, allowed))
    return solver_class(**options)


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return import_module(f"solvers.{name}")
    raise AttributeError(f"module 'solvers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})


def _unknown(kind: str, got: object, allowed: list[str]) -> str:
    """The message for a name that is not in a list: the near miss, if there is one, and the whole list."""
    near = get_close_matches(str(got), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"unknown {kind}: {got!r}{hint} There is: {', '.join(allowed) or 'none'}"
