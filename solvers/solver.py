"""The one abstraction: a solver takes min_x ‖b − A x‖₂ in batches and says, for each, how it ended.

A method writes `_solve` on flattened torch tensors and nothing else. Validation, NumPy in and out, dtype, device and
the shape of the batch are dealt with here, once, so that no method can get them wrong in a way of its own.

Leading dimensions of `b` and `x0` must equal those of `A`; nothing is broadcast (use `expand`).
"""

import math
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from solvers._core.arrays import validated
from solvers._core.operators import Matrix, is_operator, validated_operator
from solvers._core.triangular import residual_norm
from solvers.result import Array, LstsqResult, Status, to_numpy

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class Promise(StrEnum):
    """What a solver holds to beyond its accuracy; `solvers.testing.check_solver` holds it to that.

    EXACT_SCALING: multiplying A, b and x0 by powers of two multiplies x by one, and changes no other bit.
    EXACT_BATCH: a problem in a batch gets the bits that it gets alone; so with the fused kernels, by construction.
    COLUMNWISE: the error bound holds with columns of A, and unknowns, brought to comparable size by powers of two.
    COMPONENTWISE: |x̂_j − x_j| <= c u |x_j| for every j, whatever κ.
    MONOTONE: ‖x_k − x*‖ never grows, to rounding, from any x0.
    GRADIENT_RATE: ‖x_k − x*‖ <= ((κ² − 1)/(κ² + 1))^k ‖x₀ − x*‖.
    CHEBYSHEV_RATE: ‖x_k − x*‖ <= 2 q^k/(1 + q^2k) ‖x₀ − x*‖ with q = (κ − 1)/(κ + 1).
    KRYLOV_RATE: ‖x_k − x*‖ <= 2 κ² q^k ‖x₀ − x*‖, as follows from the bounds on ‖A(x_k − x*)‖ and ‖Aᵀr_k‖.
    NEWTON_RATE: ‖x_k − x*‖ <= (1 − 1/(κ² √(mn)))^(2^k) ‖x₀ − x*‖, with x₁ the first iterate to be held to it.
    """

    EXACT_SCALING = "exact-scaling"
    EXACT_BATCH = "exact-batch"
    COLUMNWISE = "columnwise"
    COMPONENTWISE = "componentwise"
    MONOTONE = "monotone"
    GRADIENT_RATE = "gradient-rate"
    CHEBYSHEV_RATE = "chebyshev-rate"
    KRYLOV_RATE = "krylov-rate"
    NEWTON_RATE = "newton-rate"


class Solver(ABC):
    """A method for min_x ‖b − A x‖₂.

    Options are keyword-only parameters of the constructor; a solver is immutable and holds no state between solves.
    """

    underdetermined: ClassVar[bool] = False
    """Whether m < n is allowed, answered by the minimum-norm solution."""

    condition_power: ClassVar[int] = 1
    """p in the documented forward error of a CONVERGED answer, c(m, n) · u · (κ^p + κ²‖r‖/(‖A‖‖x‖)): 1 for a method
    that keeps to A, 2 for one whose arithmetic passes through AᵀA or whose updates fall below the last bit of x, and 0
    for one that is correct to its last bits whatever κ and r. A `tolerance` above u takes the place of u."""

    error_constant: ClassVar[float | None] = None
    """c₀ in the documented forward error, c(m, n) = c₀ √(m + n), as measured times four; None for what LAPACK's tests
    allow, c(m, n) = 60 max(m, n). `solvers.testing.accuracy` has the formula."""

    @property
    def promises(self) -> frozenset[Promise]:
        """What the solver holds to beyond its accuracy; nothing unless it says so."""
        return frozenset()

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in the registry, or of the learned solver."""

    @abstractmethod
    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        """Solve B >= 1 problems: A (B, m, n), b (B, m), x0 (B, n) or None; finite, of one dtype, not to be written to.

        The answer is flat too: residual_norm, condition where the method has them, trace (T+1, B, n) with `record`.
        """

    def solve(self, A: Array, b: Array, *, x0: Array | None = None, record: bool = False) -> LstsqResult:
        """Solve min_x ‖b − A x‖₂ for each problem of a batch.

        Args:
            A: matrices, (..., m, n), float32 or float64, torch or NumPy; m >= n unless the class says otherwise.
            b: right-hand sides, (..., m), of the same family, dtype and device.
            x0: starting points, (..., n); a direct method checks and ignores them.
            record: whether the iterates are kept, in `trace`.

        Returns:
            The result; its arrays are of the family, dtype and device of the input and share no memory with it.

        Raises:
            TypeError: if an argument is of the wrong family or dtype.
            ValueError: if shapes do not fit, a dimension is empty, or an entry is NaN or inf.

        Error:
            Stated by each method. A non-finite x is reported as BREAKDOWN (or RANK_DEFICIENT), never as CONVERGED.
        """  # noqa: DOC502 - raised by the validation that this calls
        tensors = validated(A, b, x0, underdetermined=self.underdetermined)
        *batch, m, n = tensors["A"].shape
        as_numpy = not isinstance(A, torch.Tensor)
        # A solve is plain arithmetic in the dtype it was given: no graph, and no autocast to something shorter.
        with torch.no_grad(), torch.autocast(tensors["A"].device.type, enabled=False):
            if not tensors["A"].numel():
                flat = tensors["A"].new_empty(0, m, n)
                return _finished(flat, flat[..., 0], _no_answers(flat, record), batch, as_numpy=as_numpy)
            matrix, right = tensors["A"].reshape(-1, m, n), tensors["b"].reshape(-1, m)
            start = tensors["x0"].reshape(-1, n) if "x0" in tensors else None
            result = self._solve(matrix, right, start, record)
            return _finished(matrix, right, result, batch, as_numpy=as_numpy)


class ProductSolver(Solver):
    """A method that asks of A for products alone, and so takes one that is known by nothing else."""

    @abstractmethod
    def _solve(self, A: Matrix, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        """As `Solver._solve`, or for one operator A, (1, m, n); with the residual norm."""

    def solve(
        self, A: "Array | LinearOperator[Any]", b: Array, *, x0: Array | None = None, record: bool = False
    ) -> LstsqResult:
        """Solve min_x ‖b − A x‖₂ for each problem of a batch, or for one A known by its products.

        Args:
            A: as `Solver.solve` has it, or a `scipy.sparse.linalg.LinearOperator`, (m, n), real, float64.
            b: right-hand sides, (..., m); beside an operator a NumPy vector, (m,), float64.
            x0: starting points, (..., n); beside an operator a NumPy vector, (n,).
            record: whether the iterates are kept, in `trace`.

        Returns:
            The result; NumPy arrays for an operator.

        Raises:
            TypeError: if an argument is of the wrong family or dtype.
            ValueError: if shapes do not fit, a dimension is empty, or an entry is NaN or inf.

        Error:
            Stated by each method. The rank of an operator is not judged.
        """  # noqa: DOC502 - raised by the validation that this calls
        if not is_operator(A):
            return super().solve(cast(Array, A), b, x0=x0, record=record)
        operator, right, start = validated_operator(A, b, x0)
        with torch.no_grad():
            return _finished(operator, right, self._solve(operator, right, start, record), [], as_numpy=True)


def _no_answers(A: torch.Tensor, record: bool) -> LstsqResult:
    """The result for a batch of no problems, A (0, m, n)."""
    x, none = A.new_zeros(0, A.shape[-1]), A.new_zeros(0, dtype=torch.int64)
    empty, trace = A.new_zeros(0), x[None] if record else None
    return LstsqResult(x=x, status=none, iterations=none, residual_norm=empty, condition=empty, trace=trace)


def _finished(A: Matrix, b: torch.Tensor, result: LstsqResult, batch: list[int], *, as_numpy: bool) -> LstsqResult:
    """A flat result in the caller's family and batch shape: no silent NaN in it, and with a residual norm."""
    x, status = torch.as_tensor(result.x), torch.as_tensor(result.status, dtype=torch.int64)
    residual = residual_norm(A, b, x) if result.residual_norm is None else torch.as_tensor(result.residual_norm)
    if not math.isfinite(float(x.sum())):
        finite = torch.isfinite(x).all(dim=-1)
        status = torch.where(finite | (status == Status.RANK_DEFICIENT), status, int(Status.BREAKDOWN))
        residual = torch.where(finite, residual, torch.inf)

    def shaped(array: Array, *behind: int, before: tuple[int, ...] = ()) -> Array:
        tensor = torch.as_tensor(array).reshape((*before, *batch, *behind))
        return to_numpy(tensor) if as_numpy else tensor

    n, condition, trace = x.shape[-1], result.condition, result.trace
    return LstsqResult(
        x=shaped(x, n),
        status=shaped(status),
        iterations=shaped(torch.as_tensor(result.iterations, dtype=torch.int64)),
        residual_norm=shaped(residual),
        condition=None if condition is None else shaped(condition),
        trace=None if trace is None else shaped(trace, n, before=(len(trace),)),
    )
