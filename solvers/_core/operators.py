"""A matrix known by its products alone, where a method asks for nothing else.

The Krylov methods form A v and Aᵀu and never look at an entry. `cgls`, `lsqr` and `lsmr` therefore also take a
`scipy.sparse.linalg.LinearOperator`: one problem, real, float64, with b and x0 NumPy vectors.

What needs entries is lost: the rank is not judged, and the size of A is estimated. Power iteration from below gives
‖A‖₂ to within a small factor, which serves for scaling by a power of two and stands for ‖A‖_F in the stopping rules,
making them stricter by at most √n and that factor.
"""

from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_POWER_STEPS = 10
Vector = npt.NDArray[np.float64]


class Operator:
    """One A in the place of a batch of matrices, (1, m, n): its products and its size.

    Args:
        products: the operator.
        exponent: what it is multiplied by: 2^exponent.
        norm: of the operator with that factor.
    """

    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, products: "LinearOperator[Any]", *, exponent: int = 0, norm: float = 1.0) -> None:
        self._products, self._exponent, self.norm = products, exponent, norm
        self.shape = (1, *products.shape)

    def matvec(self, x: torch.Tensor) -> torch.Tensor:
        """A x, the same for every row.

        Args:
            x: (B, n), the rows being one and the same.

        Returns:
            (B, m).
        """
        return self._spread(self._products.matvec(x[0].numpy()), len(x))

    def rmatvec(self, r: torch.Tensor) -> torch.Tensor:
        """Aᵀ r, likewise.

        Args:
            r: (B, m).

        Returns:
            (B, n).
        """
        return self._spread(self._products.rmatvec(r[0].numpy()), len(r))

    def scaled(self) -> tuple["Operator", int]:
        """The operator at size 1.

        Returns:
            A · 2^(−e), its norm estimated at 1/2 to 1, and e.
        """
        e = _exponent_of_norm(self._products)
        unit = Operator(self._products, exponent=-e)
        v = np.asarray(_start(self.shape[-1]))
        size = 0.0
        for _ in range(_POWER_STEPS):
            image = np.ldexp(np.asarray(self._products.matvec(v), dtype=np.float64), -e)
            back = np.ldexp(np.asarray(self._products.rmatvec(image), dtype=np.float64), -e)
            size, length = float(np.linalg.norm(image)), float(np.linalg.norm(back))
            if not np.isfinite(length) or length == 0:
                break
            v = back / length
        unit.norm = size
        return unit, e

    def _spread(self, product: Any, rows: int) -> torch.Tensor:
        values = np.ldexp(np.asarray(product, dtype=np.float64).reshape(-1), self._exponent)
        return torch.from_numpy(values).expand(rows, -1)


Matrix = torch.Tensor | Operator
"""What the methods that need products alone work on."""


def _start(n: int) -> Vector:
    """A vector that is nearly orthogonal to none of the directions that problems single out.

    Args:
        n: its length.

    Returns:
        Length 1, the same at every call.
    """
    v = np.cos(np.arange(1, n + 1, dtype=np.float64) ** 2)
    return cast(Vector, v / np.linalg.norm(v))


def _exponent_of_norm(products: "LinearOperator[Any]") -> int:
    """A power of two near ‖A‖, found without forming a square.

    Args:
        products: the operator.

    Returns:
        e, 0 for an operator that gives nothing to see.
    """
    largest = np.abs(np.asarray(products.matvec(_start(products.shape[1])))).max(initial=0.0)
    return int(np.frexp(largest)[1]) if np.isfinite(largest) else 0


def is_operator(value: object) -> "TypeGuard[LinearOperator[Any]]":
    """Whether an argument is a matrix known by its products.

    Args:
        value: anything.

    Returns:
        True for a `scipy.sparse.linalg.LinearOperator`.
    """
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return False
    from scipy.sparse.linalg import LinearOperator

    return isinstance(value, LinearOperator)


def validated_operator(
    A: "LinearOperator[Any]", b: object, x0: object
) -> tuple[Operator, torch.Tensor, torch.Tensor | None]:
    """The arguments of a solve with an operator.

    Args:
        A: the operator, (m, n), real, float64, m >= n >= 1.
        b: the right-hand side, a NumPy vector, (m,).
        x0: the starting point, a NumPy vector, (n,), or None.

    Returns:
        The operator, b (1, m) and x0 (1, n).

    Raises:
        TypeError: if a dtype is not float64, or b or x0 is no NumPy array.
        ValueError: if shapes do not fit, or an entry is NaN or inf.
    """
    if np.dtype(A.dtype) != np.float64:
        raise TypeError(f"A: got a LinearOperator of dtype {A.dtype}, wants float64")
    m, n = A.shape
    if min(m, n) < 1 or m < n:
        raise ValueError(f"A: got a LinearOperator of shape {(m, n)}, wants (m, n) with m >= n >= 1")
    vectors = []
    for name, value, wants in (("b", b, m), ("x0", x0, n)):
        if value is None and name == "x0":
            continue
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{name}: got {type(value).__name__}, wants a numpy.ndarray beside a LinearOperator")
        if value.dtype != np.float64:
            raise TypeError(f"{name}: got dtype {value.dtype}, wants float64 like A")
        if value.shape != (wants,):
            raise ValueError(f"{name}: got shape {value.shape}, wants {(wants,)} to fit A of shape {(m, n)}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name}: got entries that are NaN or inf, wants finite")
        vectors.append(torch.from_numpy(np.array(value, dtype=np.float64))[None])
    return Operator(A), vectors[0], vectors[1] if len(vectors) > 1 else None
