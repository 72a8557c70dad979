"""A Newton–Schulz step X ← 2X − (X A) X with its ‖I − X A‖_F; `solvers.newton_schulz` has the reference."""

import torch

from solvers.fused import fresh, launch, plain


def newton_schulz_step(A: torch.Tensor, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step, and how far it leads.

    Args:
        A: matrices, (B, m, n), float64.
        X: approximate pseudo-inverses, (B, n, m).

    Returns:
        The next X, (B, n, m), and ‖I − X A‖_F of it, (B,).
    """
    out, defect = fresh(X, *X.shape), X.new_empty(X.shape[0])
    launch("newton_schulz", plain(A), plain(X), out, defect)
    return out, defect
