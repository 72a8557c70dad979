"""Iterates of gradient descent, each problem read once.

The gradient is Aᵀ(A x − b), or G x − c where G = AᵀA and c = Aᵀb. `solvers.gradient_descent.iterates` is the public
function, and has the reference. Results do not depend on the number of threads, the instruction set, or the batch
around a problem. On a GPU the residual form sums over several lanes, and rounds differently.
"""

import torch

from solvers.fused import fresh, launch, plain


@torch.library.custom_op("precisionlab::gradient_descent", mutates_args=(), device_types=("cpu", "cuda"))
def gradient_descent(
    A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor, step_size: torch.Tensor, steps: int, gram: bool = False
) -> torch.Tensor:
    """Iterates of gradient descent, (steps + 1, B, n), from x0 (B, n), by the η of each problem, (B,); float64."""
    # By AᵀA, with gram, it is cheaper, and less accurate by a factor κ.
    out = fresh(x0, steps + 1, *x0.shape)
    launch("gradient_descent", plain(A), plain(b), plain(x0), plain(step_size), out, steps, gram)
    return out


@gradient_descent.register_fake
def _(
    A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor, step_size: torch.Tensor, steps: int, gram: bool = False
) -> torch.Tensor:
    del A, b, step_size, gram
    return x0.new_empty(steps + 1, *x0.shape)
