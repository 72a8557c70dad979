"""Levenberg–Marquardt with excursions: from the basin to the floor of the arithmetic.

    θ ← θ − S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r,    Jₛ = J S⁻¹,   S = diag(‖J e_j‖)

on a fresh batch at every step, r the residuals and J their Jacobian. A polynomial model can emit a polynomial target
exactly, so r = 0 at a solution and the step converges quadratically near one.

Three choices take it to the floor from nearly every start; docs/precision.md has the measurements.

- Excursions. A model has far more parameters than its task needs, and the set of exact solutions is curved. What is
  left of the error at 1e-14 lies in directions in which the parameters must move by 0.1, and a step that long is off in
  the stiff directions by the square of it: the error rises a thousandfold, a monotone method refuses, and creeps for
  ever. Yet the next step takes the stiff part away, quadratically. So a step that raises the error is not refused at
  once but followed, for at most `excursion` steps; only then is it taken back. (Known as a watchdog in line searches.)
- Damping relative to each parameter's own curvature (Marquardt's scaling, by the present Jacobian and not by its
  largest so far), so that a factor of a product whose other factors vanish can still move.
- Each step is judged on a batch of its own. The batch that made it is nearly interpolated by any step at all.

Cost: with R residuals and P parameters, min(R, P) R P + min(R, P)³/3 operations and 8 R P bytes a step: the system is
solved in its smaller form, the dual (Jₛ Jₛᵀ + λ I) where R < P. Both forms give the same step. Where the Jacobian would
exceed 1 GiB, the dual system is made from blocks of its columns (`blocked_system`): 8 R² bytes and 1 GiB.

Reference: Marquardt, SIAM J. Appl. Math. 11 (1963); Chamberlain, Powell, Lemarechal and Pedersen, The watchdog
technique for forcing convergence in algorithms for constrained optimization, Math. Prog. Study 16 (1982).
"""

from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab import distributed
from precisionlab.config import STRICT
from precisionlab.tasks import Example
from precisionlab.training.blocked_system import BlockedSystem
from precisionlab.training.gradient_signal import GradientSignal, lost
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Outcome, Place, State

SMALLEST_DAMPING = 1e-24
LARGEST_DAMPING = 1e6
PROGRESS = 0.5
"""A step that leaves more than this fraction of the error makes no progress."""
FLOOR_ULPS = 16
"""An error within this many units of roundoff of the target's size is near enough the floor to stop at it."""
RUNAWAY = 1e-2
"""An excursion whose error exceeds this fraction of the target's mean square has left the basin."""
DENSE_JACOBIAN = 2**27
"""Numbers in a Jacobian that is held whole, 1 GiB; a larger one is made by blocks."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GaussNewton:
    """Settings of the Levenberg–Marquardt phase.

    Args:
        steps: The most it may take.
        residuals: Residuals in a step's batch, as a multiple of the number of parameters; about twice the rank of the
            Jacobian is enough, which is well below the number of parameters.
        damping: λ at the start, relative to each parameter's own curvature.
        excursion: Steps that an error above the best may be followed for.
        patience: Steps without progress, near the floor, after which the floor is reached.
        stall: Steps without progress, above it, after which the phase gives up.
        solver: Whether the Jacobian is held whole or made by blocks; "auto" decides by its size.
        unroll: Loops of the model and steps of the task while this phase lasts; None for all.
    """

    kind: Literal["gauss-newton"] = "gauss-newton"
    steps: PositiveInt = 200
    residuals: PositiveFloat = 0.55
    damping: PositiveFloat = 1e-3
    excursion: NonNegativeInt = 3
    patience: PositiveInt = 3
    stall: PositiveInt = 30
    solver: Literal["auto", "dense", "blocked"] = "auto"
    unroll: PositiveInt | None = None

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "GaussNewtonRun":
        """Begin.

        Args:
            objective: What is minimised.
            theta: Where to start from, (P,).
            place: Where in the run.

        Returns:
            The phase at work.
        """
        return GaussNewtonRun(self, objective, theta, place)


class GaussNewtonRun:
    """The Levenberg–Marquardt phase at work."""

    step: int
    outcome: Outcome | None

    def __init__(self, config: GaussNewton, objective: Objective, theta: torch.Tensor, place: Place) -> None:
        self.config, self.objective, self.place = config, objective, place
        self.step, self.outcome = 0, None
        self.theta = theta.clone()
        self._trial = self.theta
        self._depth = 0
        self._damping = config.damping
        self._mse = float("inf")
        self._idle, self._rejected = 0, 0
        self._signal, self._diagnostics = GradientSignal(theta), dict[str, float | None]()
        self._batch = max(1, round(config.residuals * objective.parameters) // objective.outputs)
        u = torch.finfo(objective.dtype).eps / 2
        scale = objective.target_mean_square()
        self._near_floor, self._runaway = (FLOOR_ULPS * u) ** 2 * scale, RUNAWAY * scale

    def advance(self) -> dict[str, Any]:
        """Take one step.

        Returns:
            mse (of the best point), damping, accepted: whether the step led to a new best, rejected: 1 where the batch
            gave no finite system; and of the batch and its step gradient_norm, cosine with the gradient before it, and
            lost, the fraction of the weights that rounding left as they were.
        """
        accepted = self._update()
        self.step += 1
        mse = self.objective.validation_mse(self.theta)
        self._idle = 0 if mse <= PROGRESS * self._mse else self._idle + 1
        self._mse = min(mse, self._mse)
        if self._mse <= self._near_floor and self._idle >= self.config.patience:
            self.outcome = Outcome.REACHED
        elif self._idle >= self.config.stall:
            self.outcome = Outcome.STALLED
        elif self.step >= self.config.steps:
            self.outcome = Outcome.EXHAUSTED
        row = {"mse": mse, "damping": self._damping, "accepted": accepted, "rejected": self._rejected}
        return row | self._diagnostics

    def state(self) -> State:
        """All that `restore` needs.

        Returns:
            Parameters, the excursion under way, damping, and what the stopping rule remembers.
        """
        return {
            "theta": self.theta,
            "trial": self._trial,
            "depth": self._depth,
            "damping": self._damping,
            "mse": self._mse,
            "idle": self._idle,
            "step": self.step,
            **self._signal.state(),
        }

    def restore(self, state: State) -> None:
        """Continue from a state.

        Args:
            state: What `state` returned.
        """
        self.theta = torch.as_tensor(state["theta"]).clone()
        self._trial, self._depth = torch.as_tensor(state["trial"]).clone(), int(state["depth"])
        self._damping, self._mse = float(state["damping"]), float(state["mse"])
        self._idle, self.step = int(state["idle"]), int(state["step"])
        self._signal.restore(state)

    @torch.no_grad()
    def _update(self) -> bool:
        """One step from the trial point; then keep it, follow it, or go back to the best."""
        objective, place = self.objective, (self.place.attempt, self.place.phase, self.step)
        judge = objective.batch(Stream.JUDGING, *place, size=self._batch)
        stepped = self._stepped(objective.batch(Stream.TRAINING, *place, size=self._batch))
        self._rejected = int(stepped is None)
        if stepped is None:
            self._trial, self._depth = self.theta, 0
            return False
        self._trial = stepped
        before, after = (float(distributed.total(objective.loss(theta, judge))) for theta in (self.theta, self._trial))
        if after < before:
            quick = after < 0.3 * before
            if self._depth == 0:
                self._damping *= 0.1 if quick else 0.5
            elif quick:
                self._damping *= 0.5
            self._damping = max(self._damping, SMALLEST_DAMPING)
            self.theta, self._depth = self._trial, 0
            return True
        if self._depth < self.config.excursion and after < self._runaway:
            self._depth += 1
            return False
        self._damping = min(self._damping * 6, LARGEST_DAMPING)
        self._trial, self._depth = self.theta, 0
        return False

    def _stepped(self, example: Example) -> torch.Tensor | None:
        """The step from the trial point, damped enough to be factorised; None where the system is not finite."""
        system = self._system(example)
        self._diagnostics = {"gradient_norm": None, "cosine": None, "lost": None}
        if not system.finite:
            return None
        gradient = system.gradient
        self._diagnostics["gradient_norm"] = float(torch.linalg.vector_norm(gradient))
        self._diagnostics["cosine"] = self._signal.take(gradient.to(self._trial.dtype))
        while (step := system.solve(self._damping)) is None:
            if self._damping >= LARGEST_DAMPING:
                return self._trial
            self._damping = min(self._damping * 10, LARGEST_DAMPING)
        stepped = self._trial - step.to(self._trial.dtype)
        self._diagnostics["lost"] = lost(self._trial, stepped, step)
        return stepped

    @property
    def residuals(self) -> int:
        """Residuals in a step's batch, R."""
        return self._batch * self.objective.outputs

    @property
    def solver(self) -> str:
        """How the system is made: "dense" or "blocked"."""
        if self.config.solver != "auto":
            return self.config.solver
        parameters = self.objective.parameters
        large = self.residuals < parameters and self.residuals * parameters > DENSE_JACOBIAN
        return "blocked" if large else "dense"

    def _system(self, example: Example) -> "ScaledSystem | BlockedSystem":
        if self.solver == "blocked":
            return BlockedSystem(self.objective, self._trial, example)
        part = self.objective.share(example)
        jacobian = self.objective.jacobian(self._trial, part.prompt).double()
        residual = (self.objective.predict(self._trial, part.prompt) - part.target).flatten().double()
        return ScaledSystem(jacobian, residual)


class ScaledSystem:
    """The Gauss–Newton system of a batch, its columns scaled to unit length, in its smaller form.

    Where several processes train together each brings its rows of J and r. The rows are gathered for the dual form, of
    which each computes its block of rows; for the primal one, the sums over the rows are all-reduced.

    Args:
        jacobian: J, (R, P), float64; overwritten.
        residual: r, (R,), float64.
    """

    def __init__(self, jacobian: torch.Tensor, residual: torch.Tensor) -> None:
        lengths = distributed.norm(torch.linalg.vector_norm(jacobian, dim=0))
        # A column that is zero to working precision keeps a length large enough to make its step zero.
        self._lengths = lengths.clamp_min(1e-14 * float(lengths.max()) or 1.0)
        self._residual = residual
        self._scaled = jacobian.div_(self._lengths)
        residuals, self._first_row = distributed.gathered(residual)
        self._dual = len(residuals) < len(lengths)
        if self._dual:
            rows, _ = distributed.gathered(self._scaled)
            self._gram, _ = distributed.gathered(self._scaled @ rows.mT)
            self._right = residuals
        else:
            self._gram = distributed.total(self._scaled.mT @ self._scaled)
            self._right = distributed.total(residual @ self._scaled)

    @property
    def finite(self) -> bool:
        """Whether the system holds neither NaN nor infinity."""
        return bool(self._gram.isfinite().all()) and bool(self._right.isfinite().all())

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient of the mean squared error, (P,)."""
        product = distributed.total(self._residual @ self._scaled)
        count = distributed.total(product.new_full((), len(self._residual)))
        return product * self._lengths * (2 / count)

    def solve(self, damping: float) -> torch.Tensor | None:
        """The step S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r.

        Args:
            damping: λ > 0.

        Returns:
            (P,), or None where rounding left the system indefinite or the step is not finite.
        """
        system = self._gram.clone()
        system.diagonal().add_(damping)
        factor, failed = torch.linalg.cholesky_ex(system)
        # Each process has factorised alone, and on unlike processors the last bits may differ: the first one's counts.
        solution = torch.cholesky_solve(self._right.unsqueeze(-1), factor).squeeze(-1)
        solution = distributed.from_first(torch.where(failed == 0, solution, torch.nan))
        if self._dual:
            own = solution[self._first_row : self._first_row + len(self._scaled)]
            solution = distributed.total(own @ self._scaled)
        step = solution / self._lengths
        return step if bool(step.isfinite().all()) else None
