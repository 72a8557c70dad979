"""Gradient descent: the iteration that the learned solvers are taught.

Problem: min_x ‖b − A x‖₂.
Iteration: x ← x − η Aᵀ(A x − b)   (form "residual"), or x ← x − η (G x − c), G = AᵀA, c = Aᵀb   (form "gram").
    The step η multiplies the gradient Aᵀ(A x − b) of ½‖b − A x‖²; there is no 1/m in it.
Convergence: for 0 < η < 2/σ₁², ‖x_k − x*‖ <= max(|1 − η σ₁²|, |1 − η σₙ²|)^k ‖x₀ − x*‖. The best step is
    η = 2/(σ₁² + σₙ²), with factor (κ² − 1)/(κ² + 1): about κ² ln(1/u)/2 iterations to the floor.
Limiting accuracy: about ¼ κ² u ‖x‖ in the residual form and twice that in the Gram form, at the best step; c u κ² with
    c = 1.9 √(m + n) at most in 1,400 problems of up to 220×24, κ to 8. Both end when η‖g‖ falls below the last bit of
    x, where an error along vₙ may still be κ² u; the Gram form also rounds G.
Stopping: R1, R2 or R3 of `solvers._core.loop`, R3 after 10 iterations; form "gram", which has no r, stops by R3 or
    where ‖g‖ <= τ ‖A‖_F (‖A‖_F ‖x‖ + ‖b‖). R4 where the step is the solver's own: the iterates then end in a cycle,
    mostly of two, up to ¼ κ² u ‖x‖ wide.
Rank: a deficient A is flagged; the iterates then converge to the minimiser nearest to x0.

Reference: Cauchy (1847); Nocedal and Wright, Numerical Optimization, 2nd ed. (2006), section 3.3; Higham, Accuracy and
Stability of Numerical Algorithms, 2nd ed. (2002), chapter 17, for the limiting accuracy of stationary iterations.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast, get_args

import torch

from solvers import fused
from solvers._core.arrays import require_choice, require_count, require_nonnegative
from solvers._core.loop import Held, iterate, ruled, watched
from solvers._core.scaling import ldexp
from solvers._core.triangular import matvec, norm, rmatvec
from solvers.fused import BACKENDS, Backend
from solvers.result import LstsqResult
from solvers.solver import Promise, Solver

Form = Literal["residual", "gram"]
_PATIENCE = 10


def iterates(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    step_size: float | torch.Tensor,
    steps: int,
    *,
    backend: Backend = "auto",
    form: Form = "residual",
) -> torch.Tensor:
    """The first iterates of gradient descent, all of them.

    Args:
        A: matrices, (..., m, n), float32 or float64.
        b: right-hand sides, (..., m).
        x0: starting points, (..., n).
        step_size: η, a number or one a problem, (...); it multiplies Aᵀ(A x − b).
        steps: T, the number of steps, at least 0.
        backend: "eager" is plain torch; "fused" one kernel for all steps; "auto" takes the kernel where it can run.
        form: "residual" or "gram"; the two round differently.

    Returns:
        x₀ … x_T, (steps + 1, ..., n).

    Raises:
        ValueError: if the form or backend is unknown, or shapes do not fit.
        RuntimeError: if backend "fused" is asked for and cannot run on these tensors.

    Error:
        See the top of this file. Backends agree to rounding, not to the bit.

    Cost:
        4 m n operations a step and problem in the residual form, 2 n² in the Gram form.

    Reference:
        Nocedal and Wright, Numerical Optimization, 2nd ed. (2006), section 3.3.
    """  # noqa: DOC502 - the RuntimeError is raised by the choice of backend that this calls
    require_choice("form", form, get_args(Form))
    require_choice("backend", backend, BACKENDS)
    require_count("steps", steps)
    batch, (m, n) = A.shape[:-2], A.shape[-2:]
    for name, tensor, wants in (("b", b, (*batch, m)), ("x0", x0, (*batch, n))):
        if tuple(tensor.shape) != tuple(wants):
            raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, wants {tuple(wants)} to fit A")
    step = (step_size,) if isinstance(step_size, torch.Tensor) else ()
    gpu = ("gradient_descent", m, n, form == "gram")
    if fused.chosen(backend, A, b, x0, *step, columns=n, entries=m * n, gpu=gpu):
        from solvers.fused.iterates import gradient_descent

        eta = torch.as_tensor(step_size, dtype=A.dtype, device=A.device).expand(batch).reshape(-1)
        flat = gradient_descent(A.reshape(-1, m, n), b.reshape(-1, m), x0.reshape(-1, n), eta, steps, form == "gram")
        out: torch.Tensor = flat.reshape(steps + 1, *x0.shape)
        return out
    return iterates_eager(A, b, x0, step_size, steps, form=form)


def iterates_eager(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    step_size: float | torch.Tensor,
    steps: int,
    *,
    form: Form = "residual",
) -> torch.Tensor:
    """The reference for every faster backend: the formula, in torch.

    Args:
        A: matrices, (..., m, n).
        b: right-hand sides, (..., m).
        x0: starting points, (..., n).
        step_size: η, a number or one a problem, (...).
        steps: T.
        form: "residual" or "gram".

    Returns:
        x₀ … x_T, (steps + 1, ..., n).
    """
    eta = torch.as_tensor(step_size, dtype=A.dtype, device=A.device)
    eta = eta[..., None, None] if eta.ndim else eta
    x, b = x0[..., None], b[..., None]
    out = torch.empty(steps + 1, *x0.shape, dtype=A.dtype, device=A.device)
    out[0] = x0
    G, c = (A.mT @ A, A.mT @ b) if form == "gram" else (A, b)
    for k in range(steps):
        gradient = G @ x - c if form == "gram" else A.mT @ (A @ x - b)
        x = x - eta * gradient
        out[k + 1] = x[..., 0]
    return out


class _State(NamedTuple):
    x: torch.Tensor
    g: torch.Tensor  # Aᵀ(b − A x), the direction of descent
    r_norm: torch.Tensor
    best: torch.Tensor  # the smallest ‖g‖ so far
    idle: torch.Tensor  # iterations since then
    kept: torch.Tensor  # an earlier iterate, for rule R4
    age: torch.Tensor
    back: torch.Tensor  # whether x has returned to it
    contracts: torch.Tensor  # by more than rounding
    eta: torch.Tensor
    problem: Held  # in the Gram form AᵀA x = Aᵀb, with the norms of A and b


@dataclass(frozen=True, kw_only=True)
class GradientDescent(Solver):
    """Gradient descent until the floor.

    Args:
        max_iterations: the cap, a problem.
        tolerance: τ of the stopping rules; None for u, the unit roundoff of the problem's dtype.
        step_size: η; None for 2/(σ₁² + σₙ²), from the singular values of each A.
        form: "residual", or "gram": cheaper for m > n, and less accurate.
    """

    name: ClassVar[str] = "gradient-descent"
    condition_power: ClassVar[int] = 2
    error_constant: ClassVar[float] = 8.0
    max_iterations: int = 10_000
    tolerance: float | None = None
    step_size: float | None = None
    form: Form = "residual"

    def __post_init__(self) -> None:
        require_count("max_iterations", self.max_iterations)
        require_nonnegative("tolerance", self.tolerance)
        require_nonnegative("step_size", self.step_size, positive=True)
        require_choice("form", self.form, get_args(Form))

    @property
    def promises(self) -> frozenset[Promise]:
        """The rate, where the step is the solver's own."""
        own = {Promise.MONOTONE, Promise.GRADIENT_RATE} if self.step_size is None else set()
        return frozenset({Promise.EXACT_SCALING, *own})

    def _solve(self, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, record: bool) -> LstsqResult:
        problem, x = Held.of(A, b, x0)
        matrix = cast(torch.Tensor, problem.A)
        tolerance = torch.finfo(A.dtype).eps / 2 if self.tolerance is None else self.tolerance
        zero = torch.zeros_like(problem.matrix_exponent)
        if self.step_size is None:
            low, high = extreme_singular_values(matrix)
            eta, contracts = _best(low, high), (low / torch.where(high == 0, 1.0, high)).square() > problem.noise
        else:
            given = torch.full_like(b[:, 0], self.step_size)
            eta, contracts = ldexp(given, 2 * problem.matrix_exponent), zero.bool()
        by_gram = self.form == "gram"
        iterated = problem._replace(A=matrix.mT @ matrix, b=rmatvec(matrix, problem.b)) if by_gram else problem

        def descent(held: Held, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            r = held.b - matvec(held.A, x)
            return r if by_gram else rmatvec(held.A, r), norm(r)

        def step(s: _State) -> _State:
            x = s.x + s.eta[:, None] * s.g
            g, r_norm = descent(s.problem, x)
            g_norm = norm(g)
            idle, best = torch.where(g_norm < s.best, 0, s.idle + 1), torch.minimum(g_norm, s.best)
            kept, age, back = watched(x, s.kept, s.age)
            return s._replace(x=x, g=g, r_norm=r_norm, best=best, idle=idle, kept=kept, age=age, back=back)

        def verdict(s: _State) -> torch.Tensor:
            held, g_norm, x_norm = s.problem, norm(s.g), norm(s.x)
            if by_gram:
                met = held.at_rest(g_norm, x_norm, tolerance)
            else:
                met = held.paige_saunders(s.r_norm, g_norm, x_norm, tolerance)
            rest = (s.idle >= _PATIENCE) & held.at_rest(g_norm, x_norm, problem.noise)
            return ruled((met | rest | (s.back & s.contracts)) & held.readable(s.x), g_norm, x_norm)

        g, r_norm = descent(iterated, x)
        start = _State(
            x=x,
            g=g,
            r_norm=r_norm,
            best=norm(g),
            idle=zero,
            kept=x,
            age=zero,
            back=zero.bool(),
            contracts=contracts,
            eta=eta,
            problem=iterated,
        )
        result = iterate(start, step, verdict, max_iterations=self.max_iterations, record=record)
        return problem.judged(A, result)


def best_step(A: torch.Tensor) -> torch.Tensor:
    """η = 2/(σ₁² + σₙ²), σₙ being the smallest singular value that is not rounding.

    Args:
        A: matrices of size 1, (B, m, n).

    Returns:
        (B,); 1 for a zero matrix, which any step solves.
    """
    return _best(*extreme_singular_values(A))


def _best(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    total = low**2 + high**2
    return torch.where(total == 0, 1.0, 2.0 / torch.where(total == 0, 1.0, total))


def extreme_singular_values(A: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest singular value that is not rounding, and the largest, (B,) each.

    Args:
        A: matrices of size 1, (B, m, n).

    Returns:
        σₙ and σ₁.
    """
    s = torch.linalg.svdvals(A)
    high = s[:, 0]
    genuine = s > max(A.shape[-2:]) * torch.finfo(A.dtype).eps * high[:, None]
    low = torch.where(genuine, s, high[:, None]).amin(dim=-1)
    return low, high
