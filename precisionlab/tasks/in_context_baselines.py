"""What algorithms that are not learned predict from the points of a prompt: fits, (A, b) ↦ x̂.

Each is a `Fit`, for `InContextLeastSquares.predictions` and `Ode.predictions`: from A (B, i, n) and b (B, i) it makes x̂
(B, n), in the arithmetic of A. Least squares is `precisionlab.tasks.exact_least_squares.solve`.

Reference: Akyürek et al., ICLR 2023, arXiv 2211.15661, on which of them a trained model agrees with.
"""

import torch

from precisionlab.tasks.explicit_gradient import gradient
from precisionlab.tasks.in_context_least_squares import Fit


def ridge(penalty: float) -> Fit:
    """Ridge regression, argmin_x ‖b − A x‖² + λ ‖x‖², by QR of A above √λ I.

    Args:
        penalty: λ, above 0.

    Returns:
        The fit.

    Raises:
        ValueError: If the penalty is not a positive number.
    """
    if not 0 < penalty < float("inf"):
        raise ValueError(f"penalty: got {penalty}, want a positive number")

    def fit(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        n = A.shape[-1]
        below = penalty**0.5 * torch.eye(n, dtype=A.dtype, device=A.device).expand(len(A), n, n)
        Q, R = torch.linalg.qr(torch.cat([A, below], dim=-2))
        right = Q[:, : A.shape[-2]].mT @ b.unsqueeze(-1)
        x: torch.Tensor = torch.linalg.solve_triangular(R, right, upper=True).squeeze(-1)
        return x

    return fit


def descent(steps: int, step_size: float) -> Fit:
    """Steps of gradient descent on ½‖A x − b‖²/i from zero, i being the number of points.

    Args:
        steps: k, at least 1.
        step_size: η, above 0.

    Returns:
        The fit.

    Raises:
        ValueError: If a setting is out of range.
    """
    if steps < 1:
        raise ValueError(f"steps: got {steps}, want 1 or more")
    if not 0 < step_size < float("inf"):
        raise ValueError(f"step_size: got {step_size}, want a positive number")

    def fit(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x = torch.zeros_like(A[:, 0])
        for _ in range(steps):
            x = x - step_size * gradient(A, b, x)
        return x

    return fit
