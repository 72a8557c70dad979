"""In-context ordinary differential equations: see how an unknown operator answers forcings, predict its next answer.

The operator of a prompt has three random coefficients and a time τ at which its answer is seen:

    u'(t) = a₁ f(t) + a₃ u(t) + a₄ on [−1, 1],   u(0) = u₀;       (f, u₀) ↦ u(τ)
    a₁ ~ U(1 − s/2, 1 + s/2),   a₃, a₄ ~ U(−s, s),   τ ~ U(−1, 1)

f is a Gaussian process with covariance exp(−(t − t')²/2ℓ²), and u₀ ~ U(−s₀, s₀); each of the L points of a prompt has
its own. (The coefficients are numbered as in the paper; its a₂ multiplies f u, which is not linear in f.)

Collocation. f is known at its sensors, the M + 1 Chebyshev points t_j = cos(jπ/M), M even. So is u, by the polynomial p
of degree M that satisfies the equation at all of them but t_{M/2} = 0, where it has the initial value instead. With the
differentiation matrix D, e the unit vector of that middle point and E = I − e eᵀ, the values u of p at the points obey

    H u = a₁ E f + a₄ E 1 + u₀ e,        H = E (D − a₃ I) + e eᵀ

and with the row p(τ) that evaluates p at τ, and y = H⁻ᵀ p(τ)ᵀ,

    u(τ) = p(τ) u = [f, u₀, 1] · x,      x = (a₁ E y,  eᵀ y,  a₄ 1ᵀ E y).

What the operator does is one vector x of n = M + 3 unknowns, and the points of a prompt are rows [f_i, u₀_i, 1] with
right-hand sides u_i(τ): to learn the operator is to solve least squares, A x = b, consistent and with L − 1 ≥ n rows.

    prompt  [f₁, u₀₁, 1, u₁(τ)], …, [f_L, u₀_L, 1, 0]        target  u_L(τ)

Smooth forcings make A nearly rank deficient: at ℓ = 1 its singular values fall below rounding after some fifteen. x is
then hardly determined, u_L(τ) well, since the last forcing lies in the same space as the others. Errors are measured
against the prediction of least squares, solved in double-double, for the prompt as it is after rounding. Rounding the
prompt moves that prediction by u times a factor that is about √n for most prompts but, with hardly more rows than
unknowns, has the tail of a Cauchy distribution: compare medians, as the paper does, and not means.

Shifts: ℓ, s and s₀ are `forcing_length_scale`, `operator_scale` and `initial_scale`. For a short ℓ (below about 4/M) p
is no longer near the solution of the differential equation; the task, to learn x, is as exact as ever.

Reference: Liu et al., ICLR 2025, arXiv 2503.12295, on in-context ODEs (25 points, 21 sensors); Trefethen, Spectral
Methods in MATLAB (2000), chapters 6 and 13.
"""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field, PositiveFloat

from precisionlab.tasks import collocation
from precisionlab.tasks.exact_least_squares import solve_exactly
from precisionlab.tasks.in_context_least_squares import Fit
from precisionlab.tasks.layout import rows_of
from precisionlab.tasks.task import Example, FromPair, task
from solvers._core import double_double as dd
from solvers._core.double_double import DD


class Operator(NamedTuple):
    """The coefficients of a batch of equations, and where their answers are seen; (B,) each, float64.

    Args:
        forcing: a₁.
        growth: a₃.
        source: a₄.
        time: τ.
    """

    forcing: torch.Tensor
    growth: torch.Tensor
    source: torch.Tensor
    time: torch.Tensor


class Observed(NamedTuple):
    """What a prompt says.

    Args:
        A: Rows [f_i, u₀_i, 1] of the points whose answers are seen, (B, L−1, n).
        b: Their answers, (B, L−1).
        query: The row of the last point, (B, n).
    """

    A: torch.Tensor
    b: torch.Tensor
    query: torch.Tensor


def response(operator: Operator, sensors: int) -> torch.Tensor:
    """The functional x by which an operator answers.

    Args:
        operator: Coefficients and times.
        sensors: Chebyshev points, M + 1, odd.

    Returns:
        x, (B, M+3), float64: u(τ) = [f, u₀, 1] · x.

    Error:
        About M² u relative, that of a solve with D.

    Cost:
        An LU factorisation of M + 1 unknowns an operator.

    Reference:
        Trefethen (2000), chapter 13.
    """
    degree, middle = sensors - 1, sensors // 2
    H = collocation.derivative(degree) - operator.growth[:, None, None] * torch.eye(sensors, dtype=torch.float64)
    H[:, middle] = 0.0
    H[:, middle, middle] = 1.0
    at = collocation.interpolation(degree, operator.time)
    y: torch.Tensor = torch.linalg.solve(H.mT, at.unsqueeze(-1)).squeeze(-1)
    initial = y[:, middle : middle + 1].clone()
    y[:, middle] = 0.0
    source = operator.source.unsqueeze(-1) * y.sum(dim=-1, keepdim=True)
    return torch.cat([operator.forcing.unsqueeze(-1) * y, initial, source], dim=-1)


def covariance_root(sensors: int, length_scale: float) -> torch.Tensor:
    """The symmetric square root of the covariance of a forcing at its sensors.

    Args:
        sensors: Chebyshev points, M + 1.
        length_scale: ℓ.

    Returns:
        K^½, (M+1, M+1), float64; eigenvalues of K that rounding made negative count as zero.
    """
    t = collocation.points(sensors - 1)
    K = torch.exp(-(((t - t[:, None]) / length_scale) ** 2) / 2)
    eigenvalues, V = torch.linalg.eigh(K)
    root: torch.Tensor = V * eigenvalues.clamp_min(0.0).sqrt() @ V.mT
    return root


@task("ode")
class Ode(FromPair):
    """Predict the answer of an unknown operator to a forcing.

    Args:
        sensors: Chebyshev points at which a forcing is seen, M + 1; odd.
        points: Points of a prompt, L, the last being the query.
        forcing_length_scale: ℓ.
        operator_scale: s.
        initial_scale: s₀.
    """

    sensors: Annotated[int, Field(ge=3, le=2**9)] = 21
    points: Annotated[int, Field(gt=0, le=2**12)] = 25
    forcing_length_scale: PositiveFloat = 1.0
    operator_scale: Annotated[float, Field(ge=0)] = 0.1
    initial_scale: Annotated[float, Field(ge=0)] = 1.0

    def __post_init__(self) -> None:
        if not self.sensors % 2:
            raise ValueError(f"sensors must be odd, so that one stands at 0, got {self.sensors}")
        if self.points <= self.unknowns:
            raise ValueError(f"points must be more than sensors + 2, got points={self.points}, sensors={self.sensors}")

    @property
    def unknowns(self) -> int:
        """Unknowns of the least-squares problem, n: the weights of the sensors, of u₀ and of 1."""
        return self.sensors + 2

    @property
    def summary(self) -> str:
        """What is asked for."""
        return f"an unknown operator's next answer ({self.sensors} sensors, {self.points} points)"

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch of operators, and for each its points; all is made in float64 and rounded once."""
        rows = self.rows(batch, generator=generator).to(dtype).double()
        answers = rows @ response(self.operators(batch, generator=generator), self.sensors).unsqueeze(-1)
        b = answers.squeeze(-1).to(dtype)
        seen = torch.cat([b[:, :-1], torch.zeros_like(b[:, -1:])], dim=1)
        return Example(rows_of(rows.to(dtype), seen), b[:, -1:])

    def rows(self, batch: int, *, generator: torch.Generator) -> torch.Tensor:
        """Draw forcings and initial values."""
        normal = torch.randn(batch, self.points, self.sensors, dtype=torch.float64, generator=generator)
        forcings = normal @ covariance_root(self.sensors, self.forcing_length_scale)
        initial = self.initial_scale * _uniform(batch, self.points, 1, generator=generator)
        return torch.cat([forcings, initial, torch.ones_like(initial)], dim=-1)

    def operators(self, batch: int, *, generator: torch.Generator) -> Operator:
        """Draw operators."""
        forcing, growth, source, time = _uniform(4, batch, generator=generator)
        s = self.operator_scale
        return Operator(forcing=1 + s / 2 * forcing, growth=s * growth, source=s * source, time=time)

    def read(self, prompt: torch.Tensor) -> Observed:
        """What a prompt says."""
        return Observed(prompt[:, :-1, :-1], prompt[:, :-1, -1], prompt[:, -1, :-1])

    def predictions(self, prompt: torch.Tensor, fit: Fit) -> torch.Tensor:
        """What a fit to the points of a prompt predicts."""
        A, b, query = self.read(prompt)
        return (query * fit(A, b)).sum(dim=-1, keepdim=True)

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The prediction of least squares, in double-double arithmetic: (B, 1)."""
        A, b, query = self.read(prompt.double())
        predicted = dd.dot(solve_exactly(A, b), dd.from_double(query))
        return DD(predicted.hi.unsqueeze(-1), predicted.lo.unsqueeze(-1))


def _uniform(*shape: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform numbers from −1 to 1."""
    return 2 * torch.rand(*shape, dtype=torch.float64, generator=generator) - 1
