"""What the kernel benchmark measures: each operation by every path, with the bytes and operations that it needs.

Bytes are what must cross to memory when each input is read once and each output written once; operations count a fused
multiply-add as two. The counts are derived in kernels/README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from solvers import gradient_descent
from solvers.fused import attention, convolution, householder

U = torch.finfo(torch.float64).eps / 2
Path = Callable[[], tuple[torch.Tensor, ...]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One operation at one size.

    Args:
        operation: its name.
        size: its dimensions, for people.
        paths: name → what computes it; "fused" first, all of the same mathematics.
        bytes: what must cross to memory.
        operations: multiplications and additions.
        agreement: the largest difference between paths that rounding explains, relative to the largest entry.
    """

    operation: str
    size: str
    paths: dict[str, Path]
    bytes: float
    operations: float
    agreement: float


def _compiled_gram(A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor, eta: float, steps: int) -> Path:
    """Gradient descent in the Gram form, its step through torch.compile.

    Args:
        A: (B, m, n).
        b: (B, m).
        x0: (B, n).
        eta: η.
        steps: T.

    Returns:
        The path.
    """

    @torch.compile
    def step(G: torch.Tensor, c: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x - eta * ((G * x[:, None, :]).sum(-1) - c)

    def path() -> tuple[torch.Tensor, ...]:
        G, c, x = A.mT @ A, (A.mT @ b[..., None])[..., 0], x0
        out = torch.empty(steps + 1, *x0.shape, dtype=A.dtype)
        out[0] = x
        for k in range(steps):
            x = step(G, c, x)
            out[k + 1] = x
        return (out,)

    return path


def iterates(form: str, batch: int, m: int, n: int, steps: int, *, compiled: bool) -> Case:
    """Gradient descent, every iterate written.

    Args:
        form: "residual" or "gram".
        batch: B.
        m: rows.
        n: columns.
        steps: T.
        compiled: whether to measure torch.compile too, which takes half a minute to compile.

    Returns:
        The case.
    """
    rng = torch.Generator().manual_seed(0)
    A = torch.randn(batch, m, n, dtype=torch.float64, generator=rng) / m**0.5
    b = torch.randn(batch, m, dtype=torch.float64, generator=rng)
    x0, eta = torch.zeros(batch, n, dtype=torch.float64), 0.1

    def by(backend: str) -> Path:
        return lambda: (gradient_descent.iterates(A, b, x0, eta, steps, backend=backend, form=form),)  # type: ignore[arg-type]

    paths = {"fused": by("fused"), "eager": by("eager")}
    if compiled and form == "gram":
        paths["torch.compile"] = _compiled_gram(A, b, x0, eta, steps)
    step = 2 * n * n + 2 * n if form == "gram" else 4 * m * n + 2 * n
    once = m * n * (n + 1) + 2 * m * n if form == "gram" else 0
    return Case(
        operation=f"iterates, {form} form",
        size=f"B={batch} N={m} D={n} T={steps}",
        paths=paths,
        bytes=8.0 * batch * (m * n + m + n + (steps + 1) * n),
        operations=float(batch) * (steps * step + once),
        agreement=30 * steps * (m + n) * U,
    )


def direct(batch: int, m: int, n: int) -> Case:
    """Direct least squares of the accuracy of QR.

    Args:
        batch: B.
        m: rows.
        n: columns.

    Returns:
        The case.
    """
    rng = torch.Generator().manual_seed(0)
    A = torch.randn(batch, m, n, dtype=torch.float64, generator=rng)
    b = torch.randn(batch, m, dtype=torch.float64, generator=rng)

    def driver(name: str) -> Path:
        return lambda: (torch.linalg.lstsq(A, b[..., None], driver=name).solution[..., 0],)

    def by_qr() -> tuple[torch.Tensor, ...]:
        Q, R = torch.linalg.qr(A)
        return (torch.linalg.solve_triangular(R, Q.mT @ b[..., None], upper=True)[..., 0],)

    drivers = {name: driver(name) for name in ("gels", "gelsy", "gelsd", "gelss")}
    return Case(
        operation="direct least squares",
        size=f"B={batch} N={m} D={n}",
        paths={"fused": lambda: (householder.householder(A, b)[0],), "qr + solve_triangular": by_qr, **drivers},
        bytes=8.0 * batch * (m * n + m + n + n * n + 2),
        operations=float(batch) * (2 * m * n * n - 2 * n**3 / 3 + 4 * m * n),
        agreement=30 * m * n * U * float(torch.linalg.cond(A).max()) ** 2,
    )


def _forward_and_backward(function: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> Path:
    """A path through an operation and back.

    Args:
        function: the operation.
        leaves: what its gradients are taken of.

    Returns:
        The path: output and gradients.
    """

    def path() -> tuple[torch.Tensor, ...]:
        y = function()
        return (y.detach(), *torch.autograd.grad(y, leaves, torch.ones_like(y)))

    return path


def linear_attention(batch: int, tokens: int, width: int, *, causal: bool) -> Case:
    """Linear attention with one head, forward and backward.

    Args:
        batch: B.
        tokens: L.
        width: w.
        causal: whether a token sees only those up to its own.

    Returns:
        The case.
    """
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(batch, 1, tokens, width, dtype=torch.float64, generator=rng) for _ in range(3))
    leaves = [t.requires_grad_() for t in (q, k, v)]

    def by(backend: str) -> Path:
        return _forward_and_backward(lambda: attention.attend(q, k, v, causal=causal, backend=backend), leaves)

    values = batch * tokens * width
    return Case(
        operation=f"{'causal ' if causal else ''}linear attention, forward and backward",
        size=f"B={batch} L={tokens} w={width}",
        paths={"fused": by("fused"), "eager": by("eager")},
        bytes=8.0 * values * (4 + 7),
        operations=14.0 * values * tokens,
        agreement=30 * (tokens + width) * U,
    )


def gated_convolution(batch: int, tokens: int, width: int) -> Case:
    """Gated convolution with a filter as long as the sequence, forward and backward.

    Args:
        batch: B.
        tokens: L.
        width: w.

    Returns:
        The case.
    """
    rng = torch.Generator().manual_seed(0)
    shapes = [(batch, tokens, width), (batch, tokens, width), (tokens, width), (width,)]
    u, gate, weights, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=rng).requires_grad_() for shape in shapes
    )
    leaves = [u, gate, weights, bias]

    def by_fft() -> torch.Tensor:
        n = 2 * tokens
        spectrum = torch.fft.rfft(u, n=n, dim=1) * torch.fft.rfft(weights, n=n, dim=0)
        y: torch.Tensor = gate * (torch.fft.irfft(spectrum, n=n, dim=1)[:, :tokens] + bias)
        return y

    def by(backend: str) -> Path:
        return _forward_and_backward(lambda: convolution.convolve(u, gate, weights, bias, backend=backend), leaves)

    values = batch * tokens * width
    return Case(
        operation="gated convolution, forward and backward",
        size=f"B={batch} L={tokens} w={width}",
        paths={"fused": by("fused"), "eager": by("eager"), "eager, FFT": _forward_and_backward(by_fft, leaves)},
        bytes=8.0 * values * (3 + 5),
        operations=4.0 * values * (tokens + 1),
        agreement=30 * (batch * tokens) ** 0.5 * tokens * U,
    )


def all_cases(scale: float, *, compiled: bool) -> list[Case]:
    """Every case.

    Args:
        scale: by what to multiply the batch sizes.
        compiled: whether to measure torch.compile too.

    Returns:
        The cases.
    """
    many, some, few = (max(1, round(scale * full)) for full in (16384, 1024, 2048))
    return [
        iterates("residual", many, 20, 5, 100, compiled=compiled),
        iterates("gram", many, 20, 5, 100, compiled=compiled),
        iterates("residual", few, 64, 16, 100, compiled=compiled),
        iterates("gram", few, 64, 16, 100, compiled=False),
        direct(many, 20, 5),
        linear_attention(some, 21, 64, causal=False),
        linear_attention(some, 21, 64, causal=True),
        gated_convolution(some, 21, 64),
    ]
