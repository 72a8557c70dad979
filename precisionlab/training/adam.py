"""Adam: from random weights to the basin in which Gauss–Newton converges; with the paper's additions, all the way.

A step whose gradient is not finite, or longer than `skip`, is rejected: parameters, moments and filter stay as they
are, the row of metrics counts it, and a row of nothing but rejected steps ends the phase as stalled.

The additions, each off unless it is asked for, together make the recipe of the paper (`paper_adam`): gradients with
their slow part amplified (`GradientFilter`), and a learning rate that follows the gradient signal (`GradientSignal`):
every `period` steps it is multiplied by `factor`, or divided by it while the signal is below `threshold`.

Reference: Kingma and Ba, ICLR 2015, arXiv 1412.6980; Liu et al., ICLR 2025, arXiv 2503.12295.
"""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from precisionlab.training.gradient_filter import GradientFilter
from precisionlab.training.gradient_signal import GradientSignal, lost
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Easier, Outcome, Place, State, phase

STEPS_PER_ROW = 50
COSINE_END = 1 / 30
"""What is left of the learning rate at the end of the cosine schedule."""

Fraction = Annotated[float, Field(ge=0, lt=1)]


@phase("adam")
class Adam:
    """Settings of the Adam phase.

    Args:
        steps: The most it may take.
        batch: Problems a step.
        learning_rate: After the warm-up.
        warmup: Steps over which the rate rises linearly.
        beta1: Decay of the mean of the gradient.
        beta2: Decay of the mean of its square.
        eps: Added to the root of the latter.
        clip: Largest norm of a gradient; a longer one is scaled down.
        skip: Norm of a gradient above which its step is rejected; without it, only a norm that is not finite is.
        until: Validation MSE at which the phase is done; without it, it takes all its steps.
        schedule: Of the learning rate: constant, half a cosine down to a thirtieth, or by the gradient signal.
        filter_gain: Weight of the slow part that is added to each gradient; 0 adds none.
        filter_decay: Of the moving average that is the slow part.
        period: Steps between two changes of the rate by the gradient signal.
        factor: Of such a change.
        threshold: Gradient signal below which the rate is divided by the factor, not multiplied.
        smallest_rate: Below which the gradient signal does not take the rate.
        easier: Settings of the task that differ while this phase lasts, such as ``{"active_rows": 4}``.
    """

    steps: PositiveInt = 5000
    batch: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-2
    warmup: PositiveInt = 50
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    eps: PositiveFloat = 1e-16
    clip: PositiveFloat = 1.0
    skip: PositiveFloat | None = None
    until: PositiveFloat | None = None
    schedule: Literal["constant", "cosine", "gradient-signal"] = "constant"
    filter_gain: Annotated[float, Field(ge=0)] = 0.0
    filter_decay: Fraction = 0.98
    period: PositiveInt = 3000
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.9
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.9
    smallest_rate: PositiveFloat = 1e-10
    easier: Easier = Field(default_factory=dict)

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "AdamRun":
        """Begin."""
        return AdamRun(self, objective, theta, place)


def paper_adam(**changes: Any) -> Adam:
    """The recipe of the paper, as one phase.

    Args:
        **changes: Settings that differ, for an ablation or another scale.

    Returns:
        Adam with filtered gradients, a learning rate by the gradient signal, and a threshold on the step; with the
        settings of the gated convolution (for attention the learning rate is 5e-4).

    Reference: Liu et al., ICLR 2025, arXiv 2503.12295.
    """
    paper: dict[str, Any] = {
        "steps": 2_500_000,
        "batch": 1024,
        "learning_rate": 1e-2,
        "warmup": 1,
        "beta2": 0.999,
        "eps": 1e-16,
        "clip": 100.0,
        "skip": 1e3,
        "schedule": "gradient-signal",
        "filter_gain": 2.0,
    }
    return Adam(**{**paper, **changes})


class AdamRun:
    """The Adam phase at work."""

    def __init__(self, config: Adam, objective: Objective, theta: torch.Tensor, place: Place) -> None:
        self.config, self.objective, self.place = config, objective, place
        self.step, self.outcome = 0, None
        self._parameter = torch.nn.Parameter(theta.clone())
        self._optimizer = torch.optim.Adam(
            [self._parameter], lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps
        )
        self._rejected, self._base_rate = 0, config.learning_rate
        self._filter = GradientFilter(gain=config.filter_gain, decay=config.filter_decay, like=theta)
        self._signal = GradientSignal(theta)
        self._set_moments(torch.zeros_like(theta), torch.zeros_like(theta))

    step: int
    outcome: Outcome | None

    @property
    def theta(self) -> torch.Tensor:
        """The parameters now, (P,)."""
        return self._parameter.detach()

    def advance(self) -> dict[str, Any]:
        """Take up to fifty steps, then validate.

        Returns:
            mse; of the last step its loss, gradient_norm and lost, the fraction of the weights that its rounding left
            as they were; cosine, the mean over these steps; signal, where it sets the rate; learning_rate, of the next
            step; and rejected: how many of the steps were.
        """
        config, before, cosines = self.config, self._rejected, []
        planned = min(STEPS_PER_ROW, config.steps - self.step)
        for _ in range(planned):
            previous = self.theta.clone(), self._rejected
            loss, norm, cosine = self._update()
            cosines += [] if cosine is None else [cosine]
        rejected = self._rejected - before
        mse = self.objective.validation_mse(self.theta)
        if config.until is not None and mse <= config.until:
            self.outcome = Outcome.REACHED
        elif rejected == planned:
            self.outcome = Outcome.STALLED
        elif self.step >= config.steps:
            self.outcome = Outcome.EXHAUSTED if config.until is None else Outcome.STALLED
        signal = {"signal": self._signal.value} if config.schedule == "gradient-signal" else {}
        last_taken = previous[1] == self._rejected
        return {
            "mse": mse,
            "loss": loss,
            "learning_rate": self._rate(),
            "gradient_norm": norm,
            "cosine": sum(cosines) / len(cosines) if cosines else None,
            **signal,
            "lost": lost(previous[0], self.theta, self._moments["exp_avg"]) if last_taken else None,
            "rejected": rejected,
        }

    def state(self) -> State:
        """All that `restore` needs."""
        return {
            "theta": self.theta,
            "mean": self._moments["exp_avg"],
            "mean_square": self._moments["exp_avg_sq"],
            "slow": self._filter.average,
            "slow_steps": self._filter.taken,
            "base_rate": self._base_rate,
            "step": self.step,
            "rejected": self._rejected,
            **self._signal.state(),
        }

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self.step, self._rejected = int(state["step"]), int(state["rejected"])
        self._base_rate = float(state["base_rate"])
        with torch.no_grad():
            self._parameter.copy_(torch.as_tensor(state["theta"]))
        self._set_moments(torch.as_tensor(state["mean"]).clone(), torch.as_tensor(state["mean_square"]).clone())
        self._filter.average, self._filter.taken = torch.as_tensor(state["slow"]).clone(), int(state["slow_steps"])
        self._signal.restore(state)

    def _update(self) -> tuple[float, float, float | None]:
        """One step, taken or rejected: the loss, the norm of the filtered gradient, and the raw one's cosine."""
        place, config = self.place, self.config
        where = (place.attempt, place.phase, self.step)
        example = self.objective.batch(Stream.TRAINING, *where, size=config.batch)
        self._optimizer.zero_grad()
        loss = self.objective.loss(self._parameter, example)
        loss.backward()  # type: ignore[no-untyped-call]
        raw = self._parameter.grad
        assert raw is not None
        self._parameter.grad, slow = self._filter.filtered(raw)
        finite = bool(raw.isfinite().all())
        # Before the clipping below, which may scale the gradient in place.
        cosine = self._signal.take(raw) if finite else None
        norm = torch.nn.utils.clip_grad_norm_([self._parameter], config.clip).item()
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        if math.isfinite(norm) and (config.skip is None or norm <= config.skip):
            self._optimizer.step()
            self._filter.keep(slow)
        else:
            self._rejected += 1
        self.step += 1
        if config.schedule == "gradient-signal" and self.step % config.period == 0:
            self._adapt_rate()
        return loss.item(), norm, cosine

    def _adapt_rate(self) -> None:
        signal, config = self._signal.value, self.config
        weak = signal is not None and signal < config.threshold
        changed = self._base_rate / config.factor if weak else self._base_rate * config.factor
        self._base_rate = max(changed, config.smallest_rate)

    @property
    def _moments(self) -> dict[str, torch.Tensor]:
        moments: dict[str, torch.Tensor] = self._optimizer.state[self._parameter]
        return moments

    def _set_moments(self, mean: torch.Tensor, mean_square: torch.Tensor) -> None:
        taken = torch.tensor(float(self.step - self._rejected))
        self._optimizer.state[self._parameter] = {"step": taken, "exp_avg": mean, "exp_avg_sq": mean_square}

    def _rate(self) -> float:
        """The learning rate of the next step."""
        rate = self._base_rate * min(1.0, (self.step + 1) / self.config.warmup)
        if self.config.schedule == "cosine":
            rate *= COSINE_END + (1 - COSINE_END) * (1 + math.cos(math.pi * self.step / self.config.steps)) / 2
        return rate
