"""A Newton–Schulz step X ← 2X − (X A) X with its ‖I − X A‖_F; `solvers.newton_schulz` has the reference."""

import torch

from solvers.fused import fresh, launch, plain


def newton_schulz_step(A: torch.Tensor, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The X that follows, (B, n, m), and ‖I − X A‖_F of it, (B,); float64."""
    out, defect = fresh(X, *X.shape), X.new_empty(X.shape[0])
    launch("newton_schulz", plain(A), plain(X), out, defect)
    return out, defect
