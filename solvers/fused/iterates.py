"""Iterates of gradient descent and Chebyshev's method, each problem read once.

The gradient is Aᵀ(A x − b), or G x − c where G = AᵀA and c = Aᵀb. `solvers.gradient_descent.iterates`
is the public function of gradient descent and has its reference; Chebyshev's are here.
Results do not depend on the number of threads, the instruction set, or the batch around a problem. On a GPU the
residual form sums over several lanes, and rounds differently.
"""

import torch

from solvers.fused import chosen, fresh, launch, plain


@torch.library.custom_op("precisionlab::gradient_descent", mutates_args=(), device_types=("cpu", "cuda"))
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
        A: matrices, (B, m, n), float64.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        step_size: η of each problem, (B,).
        steps: number of steps.
        gram: whether to iterate with AᵀA: cheaper, and less accurate by a factor κ.
        every: whether every iterate is wanted, or only the last.

    Returns:
        The iterates, (steps + 1, B, n), or the last of them, (1, B, n).
    """
    out = fresh(x0, steps + 1 if every else 1, *x0.shape)
    none = x0.new_empty(0)
    arguments = (plain(A), plain(b), plain(x0), plain(step_size), none)
    launch("iterates", *arguments, out, steps, gram, False)
    return out


@torch.library.custom_op("precisionlab::chebyshev", mutates_args=(), device_types=("cpu", "cuda"))
def chebyshev(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    theta: torch.Tensor,
    delta: torch.Tensor,
    steps: int,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    """Iterates of Chebyshev's method, min_x ‖b − A x‖₂.

    Args:
        A: matrices, (B, m, n), float64.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        theta: the middle of the spectrum of AᵀA, (B,).
        delta: half its width, (B,).
        steps: number of steps.
        gram: whether to iterate with AᵀA: cheaper, and less accurate.
        every: whether every iterate is wanted, or only the last.

    Returns:
        The iterates, (steps + 1, B, n), or the last of them, (1, B, n).
    """
    out = fresh(x0, steps + 1 if every else 1, *x0.shape)
    arguments = (plain(A), plain(b), plain(x0), plain(theta), plain(delta))
    launch("iterates", *arguments, out, steps, gram, True)
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


@chebyshev.register_fake
def _(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    theta: torch.Tensor,
    delta: torch.Tensor,
    steps: int,
    gram: bool = False,
    every: bool = True,
) -> torch.Tensor:
    del A, b, theta, delta, gram
    return x0.new_empty(steps + 1 if every else 1, *x0.shape)


def chebyshev_eager(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    theta: torch.Tensor,
    delta: torch.Tensor,
    steps: int,
    gram: bool = False,
) -> torch.Tensor:
    """The reference of `chebyshev`, in plain torch.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        theta: the middle of the spectrum of AᵀA, (B,).
        delta: half its width, (B,).
        steps: number of steps.
        gram: whether to iterate with AᵀA.

    Returns:
        The iterates, (steps + 1, B, n).
    """
    x, d, rho, iterates = x0, torch.zeros_like(x0), torch.zeros_like(theta), [x0]
    G, c = (A.mT @ A, A.mT @ b[..., None]) if gram else (A, b[..., None])
    for t in range(steps):
        g = (G @ x[..., None] - c if gram else A.mT @ (A @ x[..., None] - c))[..., 0]
        denominator = 2 * theta - rho * delta if t else theta
        rho_next = delta / denominator
        d = (rho_next * rho)[:, None] * d - ((2 if t else 1) / denominator)[:, None] * g
        x, rho = x + d, rho_next
        iterates.append(x)
    return torch.stack(iterates)


def chebyshev_iterates(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    smallest: torch.Tensor,
    largest: torch.Tensor,
    steps: int,
    *,
    backend: str = "auto",
    form: str = "residual",
) -> torch.Tensor:
    """The first iterates of Chebyshev's method for min_x ‖b − A x‖₂, all of them.

    Args:
        A: matrices, (B, m, n).
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        smallest: a lower bound of the singular values, (B,), above 0.
        largest: an upper bound of them, (B,).
        steps: T.
        backend: "auto", "fused" or "eager"; they agree to rounding, not to the bit.
        form: "residual" or "gram".

    Returns:
        x₀ … x_T, (steps + 1, B, n).

    Raises:
        ValueError: if the form or backend is unknown.

    Cost:
        4 m n operations a step and problem in the residual form, 2 n² in the Gram form.

    Reference:
        Saad, Iterative Methods for Sparse Linear Systems, 2nd ed. (2003), algorithm 12.1.
    """
    if form not in {"residual", "gram"}:
        raise ValueError(f"form: got {form!r}, wants 'residual' or 'gram'")
    high, low = largest * largest, smallest * smallest
    bounds = (high + low) / 2, (high - low) / 2
    m, n = A.shape[-2:]
    gpu = ("iterates", m, n, form == "gram")
    if chosen(backend, A, b, x0, *bounds, columns=n, entries=m * n, gpu=gpu):
        out: torch.Tensor = chebyshev(A, b, x0, *bounds, steps, form == "gram")
        return out
    return chebyshev_eager(A, b, x0, *bounds, steps, form == "gram")
