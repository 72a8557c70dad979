"""Levenberg–Marquardt with excursions: from the basin to the floor of the arithmetic.

    θ ← θ − S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r,    Jₛ = J S⁻¹,   S = diag(‖J e_j‖)

on a fresh batch at every step, r the residuals and J their Jacobian. A polynomial model can emit a polynomial target
exactly, so r = 0 at a solution and the step converges quadratically near one.

Five choices take it to the floor from nearly every start; docs/precision.md has the measurements.

- Corrections. A model has far more parameters than its task needs, and the set of exact solutions is curved. What is
  left of the error at 1e-10 lies in directions in which the parameters must move by 0.1, and a step that long is off in
  the stiff directions by the square of it: the error rises a thousandfold. That part needs no new Jacobian. Steps with
  the old one and a larger λ, which act in the stiff directions alone, take it away for the cost of a few products.
- Excursions. Where they do not suffice, a step that raises the error is not refused at once but followed, for at most
  `excursion` steps; only then is it taken back. (Known as a watchdog in line searches.)
- Sharpening. The squared system forgets directions of singular value below √u of the largest. λ stays above that, and
  what it holds back is asked for again of what the step leaves over (preconditioned conjugate gradients).
- Damping relative to each parameter's own curvature (Marquardt's scaling, by the present Jacobian and not by its
  largest so far), so that a factor of a product whose other factors vanish can still move; but not one whose product
  has vanished to the sixth digit, which would otherwise grow without bound.
- Each step is judged on a batch of its own. The batch that made it is nearly interpolated by any step at all.

Cost: with R residuals and P parameters, min(R, P) R P + min(R, P)³/3 operations and 8 R P bytes a step: the system is
solved in its smaller form, the dual (Jₛ Jₛᵀ + λ I) where R < P. Both forms give the same step. Where the Jacobian would
exceed 1 GiB, the dual system is made from blocks of its columns (`blocked_system`): 8 R² bytes and 1 GiB.

Reference: Marquardt, SIAM J. Appl. Math. 11 (1963); Chamberlain, Powell, Lemarechal and Pedersen, The watchdog
technique for forcing convergence in algorithms for constrained optimization, Math. Prog. Study 16 (1982); Shamanskii,
Ukrainian Math. J. 19 (1967), on several steps with one Jacobian.
"""

from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from precisionlab.tasks import Example
from precisionlab.training.blocked_system import BlockedSystem
from precisionlab.training.gradient_signal import GradientSignal, lost
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Easier, Outcome, Place, State, phase
from precisionlab.training.scaled_system import ScaledSystem

SMALLEST_DAMPING = 1e-13
LARGEST_DAMPING = 1e6
PROGRESS = 0.5
"""A step that leaves more than this fraction of the error makes no progress."""
FLOOR_ULPS = 16
"""An error within this many units of roundoff of the target's size is near enough the floor to stop at it."""
RUNAWAY = 1e-2
"""An excursion whose error exceeds this fraction of the target's mean square has left the basin."""
SHARPEN_BELOW = 1e-11
"""λ below which a step is sharpened."""
CORRECTION_DAMPING = 1e-4
"""λ of the corrections, where that of the step is smaller: they shall act in the stiff directions alone."""
WORTHWHILE = 0.9
"""A correction that leaves more than this fraction of the residual is the last."""
DENSE_JACOBIAN = 2**27
"""Numbers in a Jacobian that is held whole, 1 GiB; a larger one is made by blocks."""


@phase("gauss-newton")
class GaussNewton:
    """Settings of the Levenberg–Marquardt phase.

    Args:
        steps: The most it may take.
        residuals: Residuals in a step's batch, as a multiple of the number of parameters; about twice the rank of the
            Jacobian is enough, which is well below the number of parameters.
        damping: λ at the start, relative to each parameter's own curvature.
        corrections: Further steps that the factor of one may serve.
        excursion: Steps that an error above the best may be followed for.
        patience: Steps without progress, near the floor, after which the floor is reached.
        stall: Steps without progress, above it, after which the phase gives up.
        keep_zeros: Whether weights that are zero at the start stay so; their Jacobian is then held whole.
        solver: Whether the Jacobian is held whole or made by blocks; "auto" decides by its size.
        easier: Settings of the task that differ while this phase lasts, such as ``{"steps": 1}``.
    """

    steps: PositiveInt = 200
    residuals: PositiveFloat = 0.55
    damping: PositiveFloat = 1e-3
    corrections: NonNegativeInt = 8
    excursion: NonNegativeInt = 3
    patience: PositiveInt = 3
    stall: PositiveInt = 30
    keep_zeros: bool = False
    solver: Literal["auto", "dense", "blocked"] = "auto"
    easier: Easier = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keep_zeros and self.solver == "blocked":
            raise ValueError('keep_zeros holds the Jacobian whole, so solver must be "auto" or "dense", got "blocked"')

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "GaussNewtonRun":
        """Begin."""
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
        """All that `restore` needs."""
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
        """Continue from a state."""
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
        before, after = (float(objective.loss(theta, judge)) for theta in (self.theta, self._trial))
        if after < before:
            self._damping = max(self._damping * 0.05, SMALLEST_DAMPING)
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
        if self._damping < SHARPEN_BELOW and isinstance(system, ScaledSystem):
            sharper = system.sharpened()
            step = step if sharper is None else sharper
        stepped = self._trial - step.to(self._trial.dtype)
        self._diagnostics["lost"] = lost(self._trial, stepped, step)
        return self._corrected(stepped, system, example)

    def _corrected(
        self, stepped: torch.Tensor, system: "ScaledSystem | BlockedSystem", example: Example
    ) -> torch.Tensor:
        """Steps with the same Jacobian from where the last one led, in the stiff directions alone."""
        if not self.config.corrections or not system.factorise(max(self._damping, CORRECTION_DAMPING)):
            return stepped
        residual = self.objective.residual(stepped, example)
        norm = float(torch.linalg.vector_norm(residual))
        for _ in range(self.config.corrections):
            if (step := system.step(residual)) is None:
                break
            further = stepped - step.to(stepped.dtype)
            residual = self.objective.residual(further, example)
            before, norm = norm, float(torch.linalg.vector_norm(residual))
            if not norm < before:
                break
            stepped = further
            if norm > WORTHWHILE * before:
                break
        return stepped

    @property
    def residuals(self) -> int:
        """Residuals in a step's batch, R."""
        return self._batch * self.objective.outputs

    @property
    def solver(self) -> str:
        """How the system is made: "dense" or "blocked"."""
        if self.config.keep_zeros:
            return "dense"
        if self.config.solver != "auto":
            return self.config.solver
        parameters = self.objective.parameters
        large = self.residuals < parameters and self.residuals * parameters > DENSE_JACOBIAN
        return "blocked" if large else "dense"

    def _system(self, example: Example) -> "ScaledSystem | BlockedSystem":
        if self.solver == "blocked":
            return BlockedSystem(self.objective, self._trial, example)
        jacobian = self.objective.jacobian(self._trial, example).double()
        if self.config.keep_zeros:
            jacobian[:, self._trial == 0] = 0.0
        return ScaledSystem(jacobian, self.objective.residual(self._trial, example))
