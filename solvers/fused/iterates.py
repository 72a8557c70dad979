"""Iterates of gradient descent and Chebyshev's method, each problem read once.

x(t+1) = x(t) − α g(x(t)) [+ β (x(t) − x(t−1))], with g(x) = Aᵀ(A x − b), or G x − c where G = AᵀA, c = Aᵀb.
Results do not depend on the number of threads, the instruction set, or the batch around a problem.
"""

import torch

from solvers.fused import module, plain, threads


@torch.library.custom_op("precisionlab::gradient_descent", mutates_args=())
def gradient_descent(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    step_size: torch.Tensor,
    steps: int,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    """Iterates of gradient descent, min_x ‖b − A x‖₂.

    Args:
        A: matrices, (B, m, n), float64 on the CPU.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        step_size: η of each problem, (B,).
        steps: number of steps.
        gram: whether to iterate with AᵀA: cheaper, and less accurate by a factor κ.
        every: whether every iterate is wanted, or only the last.

    Returns:
        The iterates, (steps + 1, B, n), or the last of them, (1, B, n).
    """
    out = x0.new_empty(steps + 1 if every else 1, *x0.shape)
    none = x0.new_empty(0)
    arguments = (plain(A), plain(b), plain(x0), plain(step_size), none)
    module().iterates(*arguments, out, steps, gram, False, threads())
    return out


@torch.library.custom_op("precisionlab::iterates_with_memory", mutates_args=())
def iterates_with_memory(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    """Iterates of x ← x − α(t) g + β(t) (x − x_before), coefficients shared by the problems.

    Args:
        A: matrices, (B, m, n), float64 on the CPU.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n); also what came before the first.
        alpha: α(t), (steps,).
        beta: β(t), (steps,).
        gram: whether to iterate with AᵀA.
        every: whether every iterate is wanted, or only the last.

    Returns:
        The iterates, (steps + 1, B, n), or the last of them, (1, B, n).
    """
    steps = alpha.shape[0]
    out = x0.new_empty(steps + 1 if every else 1, *x0.shape)
    arguments = (plain(A), plain(b), plain(x0), plain(alpha), plain(beta))
    module().iterates(*arguments, out, steps, gram, True, threads())
    return out


@gradient_descent.register_fake
def _(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    step_size: torch.Tensor,
    steps: int,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    del A, b, step_size, gram
    return x0.new_empty(steps + 1 if every else 1, *x0.shape)


@iterates_with_memory.register_fake
def _(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    del A, b, beta, gram
    return x0.new_empty(alpha.shape[0] + 1 if every else 1, *x0.shape)


def iterates_eager(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
    *,
    gram: bool = False,
) -> torch.Tensor:
    """The reference of both operations, in plain torch.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        alpha: α(t), (steps, 1) or (steps, B).
        beta: β(t), likewise.
        gram: whether to iterate with AᵀA.

    Returns:
        The iterates, (steps + 1, B, n).
    """
    x, previous, iterates = x0, x0, [x0]
    G, c = A.mT @ A, torch.einsum("bmn,bm->bn", A, b)
    for a, m in zip(alpha, beta, strict=True):
        if gram:
            g = torch.einsum("bij,bj->bi", G, x) - c
        else:
            g = torch.einsum("bmn,bm->bn", A, torch.einsum("bmn,bn->bm", A, x) - b)
        x, previous = x - a[:, None] * g + m[:, None] * (x - previous), x
        iterates.append(x)
    return torch.stack(iterates)
