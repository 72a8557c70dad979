"""Newton–Schulz iterates X ← 2X − (X A) X, each problem read once."""

import torch

from solvers.fused import chosen, fresh, launch, plain


@torch.library.custom_op("precisionlab::newton_schulz", mutates_args=(), device_types=("cpu", "cuda"))
def newton_schulz(A: torch.Tensor, X0: torch.Tensor, steps: int, every: bool = True) -> torch.Tensor:
    """Iterates of Newton–Schulz towards the pseudo-inverse.

    Args:
        A: matrices, (B, m, n), float64.
        X0: where to start, (B, n, m).
        steps: number of steps.
        every: whether every iterate is wanted, or only the last.

    Returns:
        The iterates, (steps + 1, B, n, m), or the last of them, (1, B, n, m).
    """
    out = fresh(X0, steps + 1 if every else 1, *X0.shape)
    launch("schulz", plain(A), plain(X0), out, steps)
    return out


@torch.library.custom_op("precisionlab::newton_schulz_step", mutates_args=(), device_types="cpu")
def newton_schulz_step(A: torch.Tensor, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step, and how far it leads.

    Args:
        A: matrices, (B, m, n), float64.
        X: approximate pseudo-inverses, (B, n, m).

    Returns:
        The next X, (B, n, m), and ‖I − X A‖_F of it, (B,).
    """
    out, defect = fresh(X, *X.shape), X.new_empty(X.shape[0])
    launch("schulz_step", plain(A), plain(X), out.unsqueeze(0), defect)
    return out, defect


@newton_schulz_step.register_fake
def _(A: torch.Tensor, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    del A
    return X.new_empty(X.shape), X.new_empty(X.shape[0])


@newton_schulz.register_fake
def _(A: torch.Tensor, X0: torch.Tensor, steps: int, every: bool = True) -> torch.Tensor:
    del A
    return X0.new_empty(steps + 1 if every else 1, *X0.shape)


def newton_schulz_eager(A: torch.Tensor, X0: torch.Tensor, steps: int) -> torch.Tensor:
    """The reference, in plain torch.

    Args:
        A: matrices, (B, m, n).
        X0: where to start, (B, n, m).
        steps: number of steps.

    Returns:
        The iterates, (steps + 1, B, n, m).
    """
    X, iterates = X0, [X0]
    for _ in range(steps):
        X = 2 * X - (X @ A) @ X
        iterates.append(X)
    return torch.stack(iterates)


def newton_schulz_iterates(A: torch.Tensor, X0: torch.Tensor, steps: int, *, backend: str = "auto") -> torch.Tensor:
    """The first iterates of Newton–Schulz towards the pseudo-inverse, all of them.

    Args:
        A: matrices, (B, m, n).
        X0: where to start, (B, n, m), with ‖I − X0 A‖ < 1 on the range of Aᵀ, as Aᵀ/σ₁² has.
        steps: T.
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit.

    Returns:
        X₀ … X_T, (steps + 1, B, n, m).

    Cost:
        4 m n² operations a step and problem.

    Reference:
        Ben-Israel and Cohen, SIAM J. Numer. Anal. 3 (1966).
    """
    m, n = A.shape[-2:]
    if chosen(backend, A, X0, columns=n, entries=m * n, gpu=("schulz", m, n)):
        out: torch.Tensor = newton_schulz(A, X0, steps)
        return out
    return newton_schulz_eager(A, X0, steps)
