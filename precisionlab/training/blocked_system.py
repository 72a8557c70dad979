"""The Gauss–Newton system of a large model, without its Jacobian.

Where R residuals times P parameters are too many numbers to hold, the dual system is built from the Jacobian by blocks
of columns, each made, used and dropped:

    G = Σ_b (J_b S_b⁻¹)(J_b S_b⁻¹)ᵀ,    (G + λ I) y = r,    step = S⁻² Jᵀ y,

the last product by one backward pass. G alone is kept, in one square: its upper triangle as it was summed, so that
another λ can be tried, and its factor in the lower one (left-looking Cholesky by blocks).

The Jacobian is that of the model computed in float64, whatever the dtype of its weights.

Error: of the dense system's order, u · cond(G + λ I).
Cost: 8 R² bytes and `BLOCK` numbers of the Jacobian; R² P + R³/3 operations, and a Jacobian whose upper layers are
passed through again for every block of columns.
"""

import torch
from torch.func import jacrev, vmap

from precisionlab.tasks import Example
from precisionlab.training.objective import Objective
from precisionlab.training.scaled_system import PANEL, scales

BLOCK = 2**26
"""Numbers in a block of columns."""
CHUNK = 2**23
"""Numbers in the gradients of the problems that are passed through the model at once."""


class BlockedSystem:
    """The dual Gauss–Newton system of a batch, its columns scaled to unit length.

    Args:
        objective: Knows the model.
        theta: Parameters, (P,).
        example: The batch.
    """

    def __init__(self, objective: Objective, theta: torch.Tensor, example: Example) -> None:
        self._objective, self._theta, self._prompt = objective, theta.double(), example.prompt.double()
        self._right = objective.residual(theta, example)
        count, parameters = len(self._right), objective.parameters
        self._gram = self._theta.new_zeros(count, count)
        self._corners: list[torch.Tensor] | None = None
        self._lengths = self._theta.new_zeros(parameters)
        width = max(1, BLOCK // count)
        blocks = [(first, min(first + width, parameters)) for first in range(0, parameters, width)]
        objective.summed(blocks, self._add, self._gram, self._lengths)

    @property
    def finite(self) -> bool:
        """Whether the system holds neither NaN nor infinity."""
        # Every entry of G is at most the larger of two on its diagonal, and one that is not finite makes those so.
        return bool(self._gram.diagonal().isfinite().all()) and bool(self._right.isfinite().all())

    def solve(self, damping: float) -> torch.Tensor | None:
        """The step S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r: (P,)."""
        return self.step() if self.factorise(damping) else None

    def factorise(self, damping: float) -> bool:
        """Prepare for `step`."""
        self._corners = factorised(self._gram, damping)
        return self._corners is not None

    def step(self, residual: torch.Tensor | None = None) -> torch.Tensor | None:
        """The step of the last `factorise`: (P,)."""
        if self._corners is None:
            return None
        solution = substituted(self._gram, self._corners, self._right if residual is None else residual)
        step = self._backwards(solution) / self._lengths.square()
        return step if bool(step.isfinite().all()) else None

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient of the mean squared error, (P,)."""
        return self._backwards(self._right) * (2 / len(self._right))

    def _add(self, block: tuple[int, int]) -> None:
        """Add the part of the columns from a first one to a last, and keep their lengths."""
        first, last = block
        part = columns(self._objective, self._theta, self._prompt, first, last)
        lengths = torch.linalg.vector_norm(part, dim=0)
        largest = max(float(lengths.max()), float(self._lengths.max()))
        self._lengths[first:last] = scales(lengths, largest)
        part.div_(self._lengths[first:last])
        for row in range(0, len(part), PANEL):
            self._gram[row : row + PANEL, row:].addmm_(part[row : row + PANEL], part[row:].mT)

    def _backwards(self, solution: torch.Tensor) -> torch.Tensor:
        """Jᵀ y."""
        return self._objective.pullback(self._theta, self._prompt, solution)


def columns(objective: Objective, theta: torch.Tensor, prompt: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Some columns of the Jacobian.

    Args:
        objective: Knows the model.
        theta: Parameters, (P,).
        prompt: (B, T, F), of the same dtype.
        first: The first column.
        last: The one after the last.

    Returns:
        (B·outputs, last − first).
    """
    weights = objective.named(theta)
    ends = torch.tensor([weight.numel() for weight in weights.values()]).cumsum(0).tolist()
    # Gradients are computed of the weights that the columns touch, and of no others.
    touched = {
        name: (end - weight.numel(), end)
        for (name, weight), end in zip(weights.items(), ends, strict=True)
        if first < end and end - weight.numel() < last
    }

    def emitted(part: torch.Tensor, one: torch.Tensor) -> torch.Tensor:
        pieces = {}
        for name, (start, end) in touched.items():
            low, high = max(start, first), min(end, last)
            flat = torch.cat([theta[start:low], part[low - first : high - first], theta[high:end]])
            pieces[name] = flat.view(weights[name].shape)
        return objective.predict_named({**weights, **pieces}, one[None]).flatten()

    rows = vmap(jacrev(emitted), in_dims=(None, 0))
    numbers = sum(end - start for start, end in touched.values()) + last - first
    size = max(1, CHUNK // (objective.outputs * numbers))
    block = theta.new_empty(len(prompt), objective.outputs, last - first)
    with torch.no_grad():
        for start in range(0, len(prompt), size):
            block[start : start + size] = rows(theta[first:last], prompt[start : start + size])
    return block.flatten(0, 1)


def factorised(gram: torch.Tensor, damping: float) -> list[torch.Tensor] | None:
    """Cholesky's factor of G + λ I, beside G.

    Args:
        gram: G in the upper triangle, blocks on the diagonal whole there; the blocks below it are overwritten with L's.
        damping: λ.

    Returns:
        L's blocks on the diagonal; None where a pivot is not positive.
    """
    corners: list[torch.Tensor] = []
    for start in range(0, len(gram), PANEL):
        end = min(start + PANEL, len(gram))
        left = gram[start:end, :start]
        corner = gram[start:end, start:end].addmm(left, left.mT, alpha=-1)
        corner.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(corner)
        if failed.item():
            return None
        panel = gram[start:end, end:].mT.addmm(gram[end:, :start], left.mT, alpha=-1)
        gram[end:, start:end] = torch.linalg.solve_triangular(factor.mT, panel, upper=True, left=False)
        corners.append(factor)
    return corners


def substituted(gram: torch.Tensor, corners: list[torch.Tensor], right: torch.Tensor) -> torch.Tensor:
    """Solve L Lᵀ y = r.

    Args:
        gram: L's blocks below the diagonal.
        corners: Those on it.
        right: r, (R,).

    Returns:
        y, (R,).
    """
    y, starts = right.clone(), range(0, len(right), PANEL)
    for start, corner in zip(starts, corners, strict=True):
        end = start + len(corner)
        part = y[start:end] - gram[start:end, :start] @ y[:start]
        y[start:end] = torch.linalg.solve_triangular(corner, part[:, None], upper=False)[:, 0]
    for start, corner in reversed(list(zip(starts, corners, strict=True))):
        end = start + len(corner)
        part = y[start:end] - gram[end:, start:end].mT @ y[end:]
        y[start:end] = torch.linalg.solve_triangular(corner.mT, part[:, None], upper=True)[:, 0]
    return y
