"""Snap: exact zeros for the terms that the learned algorithm does not have, then a polish of those it has.

A model at the floor of the arithmetic computes the right polynomial in a basis of its own, with every term that the
algorithm lacks present at the level of rounding. Inside the range of its training that does no harm. Iterated on an
ill-conditioned problem it does: the state grows to κ, a term cubic in it by ε κ³.

So the phase reads the model's polynomial (`precisionlab.models.polynomial`), drops each coefficient that is at the
level of rounding beside the largest of its kind, and writes what is left in the plainest basis there is: the channels
of a token are its features, keys are features, and nothing is mixed that the polynomial does not mix. That choice of
basis changes no model output. Which coefficients are left is the model's: nothing here knows the task. Gauss–Newton
over the few that are left then makes up for what was dropped, and the phase stands only if that reaches the floor
again: a term that was needed cannot be missed in silence.

Cost: a few Jacobians; the system is small.
"""

from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt

from precisionlab.models import Backbone
from precisionlab.models.polynomial import Polynomial, extract
from precisionlab.training.gauss_newton import FLOOR_ULPS
from precisionlab.training.gradient_signal import GradientSignal, lost
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Outcome, Place, State, phase

CARRIERS = ("mixers.0.qkv.weight", "mixers.0.qkv.bias", "read_out.weight", "read_out.bias")
"""The weights that hold coefficients; the others hold the basis."""


@phase("snap")
class Snap:
    """Settings of the snap phase.

    Args:
        threshold: A coefficient below this fraction of the largest of its kind is dropped.
        steps: Gauss–Newton steps of the polish.
        residuals: Residuals in a step's batch, as a multiple of the number of coefficients left.
    """

    threshold: Annotated[float, Field(gt=0, lt=1)] = 2.0**-26
    steps: PositiveInt = 4
    residuals: Annotated[float, Field(ge=1)] = 50.0

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "SnapRun":
        """Begin."""
        return SnapRun(self, objective, theta, place)


class SnapRun:
    """The snap phase at work."""

    step: int
    outcome: Outcome | None

    def __init__(self, config: Snap, objective: Objective, theta: torch.Tensor, place: Place) -> None:
        self.config, self.objective, self.place = config, objective, place
        self.step, self.outcome = 0, None
        self.theta = theta.clone()
        self._signal = GradientSignal(theta)
        self._diagnostics: dict[str, float | None] = dict.fromkeys(("gradient_norm", "cosine", "lost"))

    @torch.no_grad()
    def advance(self) -> dict[str, Any]:
        """Snap, at the first step; polish, at the others.

        Returns:
            mse, kept: how many coefficients are left, and of a polish gradient_norm, cosine with the gradient before it
            and lost, the fraction of the coefficients that rounding left as they were.
        """
        if self.step == 0:
            snapped = self._snapped()
            if snapped is None:
                self.step, self.outcome = 1, Outcome.STALLED
                return {"mse": self.objective.validation_mse(self.theta), "kept": 0}
            self.theta = snapped
        else:
            self._polish()
        self.step += 1
        mse = self.objective.validation_mse(self.theta)
        if self.step > self.config.steps:
            u = torch.finfo(self.objective.dtype).eps / 2
            floor = (FLOOR_ULPS * u) ** 2 * self.objective.target_mean_square()
            self.outcome = Outcome.REACHED if mse <= floor else Outcome.STALLED
        return {"mse": mse, "kept": len(self._free())} | self._diagnostics

    def state(self) -> State:
        """All that `restore` needs."""
        return {"theta": self.theta, "step": self.step, **self._signal.state()}

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self.theta, self.step = torch.as_tensor(state["theta"]).clone(), int(state["step"])
        self._signal.restore(state)

    def _snapped(self) -> torch.Tensor | None:
        model = self.objective.model
        if not isinstance(model, Backbone):
            return None
        model.load_state_dict(self.objective.named(self.theta))
        weights = plain_weights(pruned(extract(model), self.config.threshold), model)
        if weights is None:
            return None
        return torch.cat([weights[name].flatten() for name, _ in model.named_parameters()]).to(self.theta)

    def _polish(self) -> None:
        """A Gauss–Newton step in the coefficients that are left, of least norm, since a scale is free."""
        free, outputs = self._free(), self.objective.outputs
        size = max(1, round(self.config.residuals * len(free)) // outputs)
        place = (self.place.attempt, self.place.phase, self.step)
        example = self.objective.batch(Stream.TRAINING, *place, size=size)
        rows = self.objective.jacobian(self.theta, example)[:, free].double()
        residual = self.objective.residual(self.theta, example)
        # On the CPU, where there is a solution of least norm.
        solved = torch.linalg.lstsq(rows.cpu(), residual.cpu().unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
        step = solved.to(self.theta)
        before, nothing = self.theta, torch.zeros_like(self.theta)
        self.theta = before.index_add(0, free, -step)
        descent = (residual @ rows) * (2 / len(residual))
        self._diagnostics = {
            "gradient_norm": float(torch.linalg.vector_norm(descent)),
            "cosine": self._signal.take(nothing.index_add(0, free, descent.to(before))),
            "lost": lost(before, self.theta, nothing.index_add(0, free, step)),
        }

    def _free(self) -> torch.Tensor:
        """Places of the coefficients that are not zero."""
        named = self.objective.named(self.theta)
        carries = [torch.full_like(weight, float(name in CARRIERS)) for name, weight in named.items()]
        keys = torch.zeros_like(named["mixers.0.qkv.weight"])
        keys.chunk(3)[1].fill_(1.0)  # the keys are the basis
        carries[list(named).index("mixers.0.qkv.weight")] -= keys
        mask = torch.cat([part.flatten() for part in carries]) > 0
        return torch.nonzero(mask & (self.theta != 0)).squeeze(-1)


def pruned(polynomial: Polynomial, threshold: float) -> Polynomial:
    """The polynomial without the coefficients that are at the level of rounding.

    Args:
        polynomial: Coefficients.
        threshold: Relative to the largest coefficient of the same kind; constants are measured by the linear ones.

    Returns:
        The same with exact zeros.
    """

    def drop(part: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        return torch.where(part.abs() <= threshold * largest.abs().max(), 0.0, part)

    return replace(
        polynomial,
        constant=drop(polynomial.constant, polynomial.linear),
        linear=drop(polynomial.linear, polynomial.linear),
        values=drop(polynomial.values, polynomial.values),
        scores=drop(polynomial.scores, polynomial.scores),
    )


def plain_weights(polynomial: Polynomial, model: Backbone) -> dict[str, torch.Tensor] | None:
    """Weights that emit a polynomial in the plainest basis: channel f of a token is its feature f.

    Keys are features; a query holds the scores, a value the values, and the largest score is 1. The read-out holds the
    linear coefficients, and what attention adds is added to the channels that it reads.

    Args:
        polynomial: Of one head.
        model: Whose shape the weights shall have; at least as wide as a token is long.

    Returns:
        Weights by name, float64; None where the polynomial has no such form: an answer that reads more or less than one
        feature of its own, or a score that does not depend on the other token.
    """
    answers, features = polynomial.linear.shape
    width = model.config.width
    scores, values = polynomial.scores[0], polynomial.values[0]
    places = (polynomial.linear != 0).nonzero()
    one_each = len(places) == answers == len(set(places[:, 0].tolist())) == len(set(places[:, 1].tolist()))
    if len(polynomial.scores) > 1 or width < features or not one_each or bool((scores[-1] != 0).any()):
        return None
    if not bool((scores != 0).any()):
        return None
    read = places[:, 1]  # the feature that each answer reads, in order of the answers
    unit = scores.flatten()[scores.abs().argmax()]
    weights = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in model.named_parameters()}
    weights["read_in.weight"][:features] = torch.eye(features, dtype=torch.float64)
    query, key, value = weights["mixers.0.qkv.weight"].chunk(3)
    query_bias, _, value_bias = weights["mixers.0.qkv.bias"].chunk(3)
    used = (scores[:-1] != 0).any(dim=1)
    query[:features, :features] = scores[:-1, :-1] / unit
    query_bias[:features] = scores[:-1, -1] / unit
    key[:features, :features] = torch.diag(used.double())
    scale = unit / polynomial.linear[torch.arange(answers), read]
    value[:answers, :features] = values[:, :-1] * scale[:, None]
    value_bias[:answers] = values[:, -1] * scale
    weights["mixers.0.out.weight"][read, torch.arange(answers)] = 1.0
    weights["read_out.weight"][:, :features] = polynomial.linear
    weights["read_out.bias"].copy_(polynomial.constant)
    return weights
