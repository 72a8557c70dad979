"""Chebyshev: read a problem, two iterates and a weight, emit the next iterate of Chebyshev's method.

    prompt  [a₁, b₁, x, y, ω], …, [a_N, b_N, x, y, ω]        target  y + ω (x − y + (2/N) Aᵀ(b − A x))

y is the iterate before x, and (2/N) Aᵀ(A x − b) the gradient of the mean square of b − A x. The weight changes from
step to step and comes with the prompt, and the step size is a matter of scaling A and b: what is learned is the method,
for every κ, and not one of its steps. The target is of degree four in the prompt, ω times a sum of degree three, and so
needs a second layer: linear attention's own degree is three.

Reference: Golub and Varga, Chebyshev semi-iterative methods, Numer. Math. 3 (1961).
"""

from typing import ClassVar

import torch

from precisionlab.tasks.drawing import Rows, Unknowns, want_problem
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.learned.iterates import LearnedChebyshev, exact_chebyshev


def step(
    A: torch.Tensor,
    b: torch.Tensor,
    x: torch.Tensor,
    before: torch.Tensor,
    weight: torch.Tensor,
    *,
    divisor: float = 1.0,
) -> torch.Tensor:
    """The step as the formula has it.

    Args:
        A: Matrices, (..., N, n).
        b: Right-hand sides, (..., N).
        x: Iterates, (..., n).
        before: The iterates before, (..., n).
        weight: ω, (...).
        divisor: What the gradient is divided by.

    Returns:
        The next iterates, (..., n).
    """
    residual = b - (A @ x.unsqueeze(-1)).squeeze(-1)
    descent = x - before + (A.mT @ residual.unsqueeze(-1)).squeeze(-1) / divisor
    return before + weight.unsqueeze(-1) * descent


def prompt(
    A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Write a problem, two iterates and a weight as tokens.

    Args:
        A: Matrices, (B, N, n).
        b: Right-hand sides, (B, N).
        x: Iterates, (B, n).
        before: The iterates before, (B, n).
        weight: ω, (B,).

    Returns:
        Tokens, (B, N, 3n+2): token i is [a_i, b_i, x, before, ω].
    """
    common = torch.cat([x, before, weight.unsqueeze(-1)], dim=-1).unsqueeze(-2).expand(-1, A.shape[-2], -1)
    return torch.cat([A, b.unsqueeze(-1), common], dim=-1)


@task("chebyshev")
class Chebyshev(FromPair):
    """Emit the next iterate of Chebyshev's method.

    Args:
        n: Unknowns.
        rows: Rows of A in training, N.
    """

    n: Unknowns = 5
    rows: Rows = 20
    solver_class: ClassVar[type[LearnedChebyshev]] = LearnedChebyshev

    def __post_init__(self) -> None:
        want_problem(rows=self.rows, n=self.n)

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"the next iterate of Chebyshev's method (n = {self.n}, N = {self.rows})"

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""
        return exact_chebyshev

    def step(self, model: torch.nn.Module) -> "EmittedChebyshev":
        """What the solver is handed."""
        return EmittedChebyshev(model, n=self.n)

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch: A, b, x, y, ω ~ N(0, 1); a polynomial that is right for every ω is right for Chebyshev's."""
        A = torch.randn(batch, self.rows, self.n, dtype=dtype, generator=generator)
        b = torch.randn(batch, self.rows, dtype=dtype, generator=generator)
        x, before = torch.randn(2, batch, self.n, dtype=dtype, generator=generator)
        weight = torch.randn(batch, dtype=dtype, generator=generator)
        return Example(prompt(A, b, x, before, weight), step(A, b, x, before, weight, divisor=self.rows / 2))

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The step in double-double arithmetic."""
        tokens, n = prompt.double(), self.n
        A, b, common = tokens[..., :n], tokens[..., n], tokens[:, 0, n + 1 :]
        x, before = dd.from_double(common[:, :n]), dd.from_double(common[:, n : 2 * n])
        weight = dd.from_double(common[:, 2 * n :].expand(-1, n))
        gradient = dd.matvec(A.mT, dd.subtract(dd.from_double(b), dd.matvec(A, x)))
        descent = dd.divide(gradient, dd.from_double(torch.full_like(x.hi, self.rows / 2)))
        return dd.add(before, dd.multiply(weight, dd.add(dd.subtract(x, before), descent)))


class EmittedChebyshev:
    """A model's next iterate for any problem: any number of rows, no more unknowns than trained.

    The model divides a sum over tokens by half their number. So rows of zeros are added up to twice a power of four,
    and A and b multiplied by its root, a power of two: nothing is rounded.

    Args:
        model: Prompts (B, N, 3n+2) → (B, n).
        n: Unknowns of the model's prompts.
    """

    def __init__(self, model: torch.nn.Module, *, n: int) -> None:
        self._model, self._n = model, n
        self._dtype = next(model.parameters()).dtype

    def __call__(
        self, A: torch.Tensor, b: torch.Tensor, x: torch.Tensor, before: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Emit the next iterate: (B, n)."""
        _, m, n = A.shape
        if n > self._n:
            raise ValueError(f"A: got {n} unknowns, want at most {self._n}: the model was trained on that many")
        root = 1 << -(-((m + 1) // 2 - 1).bit_length() // 2)
        pad = torch.nn.functional.pad
        wide = pad(A * root, (0, self._n - n, 0, 2 * root * root - m))
        right = pad(b * root, (0, 2 * root * root - m))
        x, before = (pad(part, (0, self._n - n)) for part in (x, before))
        tokens = prompt(wide, right, x, before, weight).to(self._dtype)
        emitted: torch.Tensor = self._model(tokens)[:, :n]
        return emitted.to(A.dtype)
