"""Adam: from random weights to the basin in which Gauss–Newton converges.

A step whose gradient is not finite is rejected: parameters and moments stay as they are, the row of metrics counts it,
and a row of nothing but rejected steps ends the phase as stalled.

Reference: Kingma and Ba, ICLR 2015, arXiv 1412.6980.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from precisionlab import distributed
from precisionlab.config import STRICT
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Outcome, Place, State

STEPS_PER_ROW = 50


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Adam:
    """Settings of the Adam phase.

    Args:
        steps: The most it may take.
        batch: Problems a step.
        learning_rate: After the warm-up, constant.
        warmup: Steps over which the rate rises linearly.
        beta1: Decay of the mean of the gradient.
        beta2: Decay of the mean of its square.
        eps: Added to the root of the latter.
        clip: Largest norm of a gradient; a longer one is scaled down.
        until: Validation MSE at which the phase is done; without it, it takes all its steps.
    """

    kind: Literal["adam"] = "adam"
    steps: PositiveInt = 5000
    batch: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-2
    warmup: PositiveInt = 50
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    eps: PositiveFloat = 1e-16
    clip: PositiveFloat = 1.0
    until: PositiveFloat | None = None

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "AdamRun":
        """Begin.

        Args:
            objective: What is minimised.
            theta: Where to start from, (P,).
            place: Where in the run.

        Returns:
            The phase at work.
        """
        return AdamRun(self, objective, theta, place)


class AdamRun:
    """The Adam phase at work."""

    def __init__(self, config: Adam, objective: Objective, theta: torch.Tensor, place: Place) -> None:
        self.config, self.objective, self.place = config, objective, place
        self.step, self.outcome = 0, None
        self._parameter = torch.nn.Parameter(theta.clone())
        self._optimizer = torch.optim.Adam(
            [self._parameter], lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps
        )
        self._rejected = 0
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
            mse, loss (of the last batch), learning_rate, gradient_norm, and rejected: how many of the steps were.
        """
        config, before = self.config, self._rejected
        planned = min(STEPS_PER_ROW, config.steps - self.step)
        for _ in range(planned):
            loss, norm = self._update()
        rejected = self._rejected - before
        mse = self.objective.validation_mse(self.theta)
        if config.until is not None and mse <= config.until:
            self.outcome = Outcome.REACHED
        elif rejected == planned:
            self.outcome = Outcome.STALLED
        elif self.step >= config.steps:
            self.outcome = Outcome.EXHAUSTED if config.until is None else Outcome.STALLED
        rate = self._rate(self.step)
        return {"mse": mse, "loss": loss, "learning_rate": rate, "gradient_norm": norm, "rejected": rejected}

    def state(self) -> State:
        """All that `restore` needs.

        Returns:
            Parameters, moments, step, and how many steps were rejected.
        """
        moments = self._optimizer.state[self._parameter]
        return {
            "theta": self.theta,
            "mean": moments["exp_avg"],
            "mean_square": moments["exp_avg_sq"],
            "step": self.step,
            "rejected": self._rejected,
        }

    def restore(self, state: State) -> None:
        """Continue from a state.

        Args:
            state: What `state` returned.
        """
        self.step, self._rejected = int(state["step"]), int(state["rejected"])
        with torch.no_grad():
            self._parameter.copy_(torch.as_tensor(state["theta"]))
        self._set_moments(torch.as_tensor(state["mean"]).clone(), torch.as_tensor(state["mean_square"]).clone())

    def _update(self) -> tuple[float, float]:
        place, config = self.place, self.config
        example = self.objective.batch(Stream.TRAINING, place.attempt, place.phase, self.step, size=config.batch)
        self._optimizer.zero_grad()
        loss = self.objective.loss(self._parameter, example)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = distributed.total(loss.detach())
        assert self._parameter.grad is not None
        distributed.total(self._parameter.grad)
        norm = torch.nn.utils.clip_grad_norm_([self._parameter], config.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        if bool(norm.isfinite()):
            self._optimizer.step()
        else:
            self._rejected += 1
        self.step += 1
        return loss.item(), norm.item()

    def _set_moments(self, mean: torch.Tensor, mean_square: torch.Tensor) -> None:
        taken = torch.tensor(float(self.step - self._rejected))
        self._optimizer.state[self._parameter] = {"step": taken, "exp_avg": mean, "exp_avg_sq": mean_square}

    def _rate(self, step: int) -> float:
        return self.config.learning_rate * min(1.0, (step + 1) / self.config.warmup)
