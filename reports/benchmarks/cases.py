"""What the kernel benchmark measures: each operation by every path, with the bytes and operations that it needs.

Bytes are what must cross to memory when each input is read once and each output written once; operations count a fused
multiply-add as two. The counts are derived in kernels/README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from precisionlab.models.fused import convolution
from precisionlab.report.report import PAPER_SHAPE, PROBLEMS, Problems, subjects_of
from solvers import gradient_descent
from solvers.fused.householder import solve_by_householder
from solvers.fused.schulz import newton_schulz_step
from solvers.newton_schulz import exact_step

U = torch.finfo(torch.float64).eps / 2
MIXED = "forward and backward"
Path = Callable[[], tuple[torch.Tensor, ...]]


def _normal(device: str, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    # Drawn on the CPU, so that every device gets the same problems.
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, dtype=torch.float64, generator=rng).to(device) for shape in shapes]


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
        out = x0.new_empty(steps + 1, *x0.shape)
        out[0] = x
        for k in range(steps):
            x = step(G, c, x)
            out[k + 1] = x
        return (out,)

    return path


def iterates(form: str, batch: int, m: int, n: int, steps: int, *, compiled: bool, device: str = "cpu") -> Case:
    """Gradient descent, every iterate written.

    Args:
        form: "residual" or "gram".
        batch: B.
        m: rows.
        n: columns.
        steps: T.
        compiled: whether to measure torch.compile too, which takes half a minute to compile.
        device: where.

    Returns:
        The case.
    """
    A, b = _normal(device, (batch, m, n), (batch, m))
    A /= m**0.5
    x0, eta = torch.zeros_like(A[:, 0]), 0.1

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


def schulz(batch: int, m: int, n: int) -> Case:
    """A Newton–Schulz step and its ‖I − X A‖_F, on the CPU.

    Args:
        batch: B.
        m: rows.
        n: columns.

    Returns:
        The case.
    """
    (A,) = _normal("cpu", (batch, m, n))
    X = A.mT / torch.linalg.matrix_norm(A)[:, None, None] ** 2

    def eager() -> tuple[torch.Tensor, ...]:
        Y = exact_step(A, X)
        return Y, torch.linalg.matrix_norm(torch.eye(n, dtype=torch.float64) - Y @ A)

    return Case(
        operation="Newton–Schulz step",
        size=f"B={batch} N={m} D={n}",
        paths={"fused": lambda: newton_schulz_step(A, X), "eager": eager},
        bytes=8.0 * batch * (3 * m * n + 1),
        operations=6.0 * batch * m * n * n,
        agreement=90 * (m + n) * U,
    )


def demo(count: int, steps: int) -> Case:
    """The reference trajectory of a report: gradient descent on its problems, step sizes included, on the CPU.

    Args:
        count: problems; `make demo` has 4,096.
        steps: T; `make demo` has 200.

    Returns:
        The case, its first path being what `precisionlab report` runs.
    """
    m, n = PAPER_SHAPE
    drawn = Problems.drawn(count, m, n)
    A, b, x0 = drawn.A, drawn.b, drawn.x0
    (subject,) = subjects_of("gradient-descent", steps)
    descend = subject.iterates

    def eager() -> tuple[torch.Tensor, ...]:
        return (gradient_descent.iterates_eager(A, b, x0, gradient_descent.best_step(A), steps),)

    return Case(
        operation="report: gradient descent",
        size=f"B={count} N={m} D={n} T={steps}",
        paths={"fused": lambda: (descend(A, b, x0),), "eager": eager},
        bytes=8.0 * count * (m * n + m + n + (steps + 1) * n),
        operations=float(count) * steps * (4 * m * n + 2 * n),
        agreement=30 * steps * (m + n) * U,
    )


def direct(batch: int, m: int, n: int, *, device: str = "cpu") -> Case:
    """Direct least squares of the accuracy of QR.

    Args:
        batch: B.
        m: rows.
        n: columns.
        device: where; torch.linalg has one driver on a GPU.

    Returns:
        The case.
    """
    A, b = _normal(device, (batch, m, n), (batch, m))

    def driver(name: str) -> Path:
        return lambda: (torch.linalg.lstsq(A, b[..., None], driver=name).solution[..., 0],)

    def by_qr() -> tuple[torch.Tensor, ...]:
        Q, R = torch.linalg.qr(A)
        return (torch.linalg.solve_triangular(R, Q.mT @ b[..., None], upper=True)[..., 0],)

    names = ("gels", "gelsy", "gelsd", "gelss") if device == "cpu" else ("gels",)
    drivers = {name: driver(name) for name in names}
    condition = max(float(torch.linalg.cond(part).max()) for part in torch.split(A, 1 << 16))
    return Case(
        operation="direct least squares",
        size=f"B={batch} N={m} D={n}",
        paths={"fused": lambda: (solve_by_householder(A, b)[0],), "qr + solve_triangular": by_qr, **drivers},
        bytes=8.0 * batch * (m * n + m + n + n * n + 6),
        operations=float(batch) * (2 * m * n * n - 2 * n**3 / 3 + 4 * m * n),
        agreement=30 * m * n * U * condition**2,
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


def gated_convolution(batch: int, tokens: int, width: int, *, device: str = "cpu") -> Case:
    """Gated convolution with a filter as long as the sequence, forward and backward.

    Args:
        batch: B.
        tokens: L.
        width: w.
        device: where.

    Returns:
        The case.
    """
    shapes = (batch, tokens, width), (batch, tokens, width), (tokens, width), (width,)
    leaves = [t.requires_grad_() for t in _normal(device, *shapes)]
    u, gate, weights, bias = leaves

    def by_fft() -> torch.Tensor:
        n = 2 * tokens
        spectrum = torch.fft.rfft(u, n=n, dim=1) * torch.fft.rfft(weights, n=n, dim=0)
        y: torch.Tensor = gate * (torch.fft.irfft(spectrum, n=n, dim=1)[:, :tokens] + bias)
        return y

    def by(backend: str) -> Path:
        return _forward_and_backward(lambda: convolution.convolve(u, gate, weights, bias, backend=backend), leaves)

    values = batch * tokens * width
    return Case(
        operation=f"gated convolution, {MIXED}",
        size=f"B={batch} L={tokens} w={width}",
        paths={"fused": by("fused"), "eager": by("eager"), "eager, FFT": _forward_and_backward(by_fft, leaves)},
        bytes=8.0 * values * (3 + 5),
        operations=4.0 * values * (tokens + 1),
        agreement=30 * (batch * tokens) ** 0.5 * tokens * U,
    )


def all_cases(scale: float, *, compiled: bool, device: str = "cpu") -> list[tuple[str, Callable[[], Case]]]:
    """Every case, to be made one at a time: on a GPU each takes gigabytes.

    Args:
        scale: by what to multiply the batch sizes.
        compiled: whether to measure torch.compile too.
        device: where; a GPU gets larger batches.

    Returns:
        The operation of each case, and what makes it.
    """
    full = (16384, 1024, 2048) if device == "cpu" else (1 << 20, 1 << 14, 1 << 16)
    many, some, few = (max(1, round(scale * size)) for size in full)
    cases: list[tuple[str, Callable[[], Case]]] = [
        ("iterates, residual form", lambda: iterates("residual", many, 20, 5, 100, compiled=compiled, device=device)),
        ("iterates, gram form", lambda: iterates("gram", many, 20, 5, 100, compiled=compiled, device=device)),
        ("iterates, residual form", lambda: iterates("residual", few, 64, 16, 100, compiled=compiled, device=device)),
        ("iterates, gram form", lambda: iterates("gram", few, 64, 16, 100, compiled=compiled, device=device)),
        ("direct least squares", lambda: direct(many, 20, 5, device=device)),
        (f"gated convolution, {MIXED}", lambda: gated_convolution(some, 21, 64, device=device)),
    ]
    if device != "cpu":
        del cases[3]  # no CUDA kernel holds the Gram matrix of 16 columns in a thread
        return cases
    cases.append(("Newton–Schulz step", lambda: schulz(many, 20, 5)))
    return [*cases, ("report: gradient descent", lambda: demo(max(1, round(scale * PROBLEMS)), 200))]
