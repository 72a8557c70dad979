"""A matrix known by its products alone, where a method asks for nothing else.

The Krylov methods form A v and Aᵀu and never look at an entry. `cgls`, `lsqr` and `lsmr` therefore also take a
`scipy.sparse.linalg.LinearOperator`: one problem, real, float64, with b and x0 NumPy vectors.

Before anything else the operator is tried on seeded normal vectors. ⟨u, A v⟩ = ⟨Aᵀu, v⟩ has to hold for two pairs, or
`rmatvec` is not the adjoint of `matvec` and every stopping rule would be about another problem. It has to hold to half
the digits: products that pass through an inverse, or cancel, may lose as many.

What needs entries is lost: the rank is not judged, and the size of A is estimated, by ‖A v‖ after twelve power steps
from a normal v. That never exceeds ‖A‖₂, and is below ‖A‖₂/2 with a probability of less than 2e-8 √n. It serves for
scaling by a power of two and stands for ‖A‖_F in the stopping rules, making them stricter by at most 2√n.

Reference: Kuczyński and Woźniakowski, Estimating the largest eigenvalue by the power and Lanczos algorithms with a
random start, SIAM J. Matrix Anal. Appl. 13 (1992), theorem 4.1, for AᵀA and a relative error of 3/4.
"""

from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_POWER_STEPS = 12
_PAIRS = 2
_FAR = 900
"""Exponents beyond which half of a power of two goes to the vector, so that its product is a normal number."""
Vector = npt.NDArray[np.float64]


class Operator:
    """One A in the place of a batch of matrices, (1, m, n): its products and its size.

    Args:
        products: the operator.
        exponent: what it is multiplied by: 2^exponent.
        norm: ‖A‖₂ of the operator with that factor, or a little less.
    """

    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, products: "LinearOperator[Any]", *, exponent: int = 0, norm: float = 1.0) -> None:
        self._products, self._exponent, self.norm = products, exponent, norm
        self.shape = (1, *products.shape)

    def matvec(self, x: torch.Tensor) -> torch.Tensor:
        """A x, (B, m), for x (B, n) whose rows are one and the same."""
        return torch.from_numpy(self.product("matvec", x[0].numpy())).expand(len(x), -1)

    def rmatvec(self, r: torch.Tensor) -> torch.Tensor:
        """Aᵀ r, (B, n), for r (B, m), likewise."""
        return torch.from_numpy(self.product("rmatvec", r[0].numpy())).expand(len(r), -1)

    def product(self, side: str, vector: Vector) -> Vector:
        """A times a vector, for side "matvec", or Aᵀ times one, for "rmatvec"; a ValueError where either fails."""
        before = self._exponent // 2 if abs(self._exponent) > _FAR else 0
        try:
            values = np.asarray(getattr(self._products, side)(np.ldexp(vector, before)))
        except (ValueError, NotImplementedError) as error:
            wants = "(n,) → (m,)" if side == "matvec" else "(m,) → (n,)"
            raise ValueError(f"A: its {side} fails ({error or type(error).__name__}), wants {wants}") from error
        if values.dtype.kind not in "fiub":
            raise ValueError(f"A: its {side} gives {values.dtype}, wants float64")
        with np.errstate(over="ignore"):
            return np.ldexp(values.astype(np.float64).reshape(-1), self._exponent - before)

    def scaled(self) -> tuple["Operator", int]:
        """A · 2^(−e), whose norm is estimated at 1/2 to 1 or is 0, and e; a ValueError where its adjoint is none."""
        generator = np.random.default_rng(0)
        m, n = self.shape[1:]
        e = self._size(generator.standard_normal(n))
        unit = Operator(self._products, exponent=-e)
        for _ in range(_PAIRS):
            unit._try_adjoint(generator.standard_normal(m), generator.standard_normal(n))
        norm = unit._largest(generator.standard_normal(n))
        more = int(np.frexp(norm)[1]) if np.isfinite(norm) else 0
        return Operator(self._products, exponent=-e - more, norm=float(np.ldexp(norm, -more))), e + more

    def _size(self, v: Vector) -> int:
        """The power of two just above ‖A v‖_∞, found where that is in range; 0 where there is nothing to see."""
        for shift in (0, -_FAR, _FAR):
            largest = np.abs(self.product("matvec", np.ldexp(v, shift))).max()
            if np.isfinite(largest) and largest > 0:
                return int(np.frexp(largest)[1]) - shift
        return 0

    def _try_adjoint(self, u: Vector, v: Vector) -> None:
        """Refuse an rmatvec for which ⟨u, A v⟩ and ⟨Aᵀu, v⟩ differ by more than half their digits."""
        image, back = self.product("matvec", v), self.product("rmatvec", u)
        with np.errstate(over="ignore", invalid="ignore"):
            forth, other = float(u @ image), float(back @ v)
            size = np.linalg.norm(u) * np.linalg.norm(image) + np.linalg.norm(back) * np.linalg.norm(v)
        if abs(forth - other) > np.finfo(np.float64).eps ** 0.5 * size:
            got = f"⟨u, A v⟩ = {forth:.3g} and ⟨Aᵀu, v⟩ = {other:.3g} for normal u and v and ‖A‖ near 1"
            raise ValueError(f"A: its rmatvec is not the adjoint of its matvec: got {got}, wants them equal")

    def _largest(self, v: Vector) -> float:
        """‖A v‖ for a v of length 1, after some power steps; not finite where a product is not."""
        size = 0.0
        for _ in range(_POWER_STEPS):
            length = float(np.linalg.norm(v))
            if length == 0 or not np.isfinite(length):
                return size if length == 0 else length
            image = self.product("matvec", v / length)
            size, v = float(np.linalg.norm(image)), self.product("rmatvec", image)
        return size


Matrix = torch.Tensor | Operator
"""What the methods that need products alone work on."""


def is_operator(value: object) -> "TypeGuard[LinearOperator[Any]]":
    """Whether an argument is a matrix known by its products: a `scipy.sparse.linalg.LinearOperator`."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return False
    from scipy.sparse.linalg import LinearOperator

    return isinstance(value, LinearOperator)


def validated_operator(
    A: "LinearOperator[Any]", b: object, x0: object
) -> tuple[Operator, torch.Tensor, torch.Tensor | None]:
    """The arguments of a solve with an operator, (m, n), real, float64: it, b (1, m) and x0 (1, n); or an error."""
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
