"""Layer by layer: given the layers before it, a layer of equivariant attention is a *linear* problem.

What a model emits end to end is linear in the weights of its newest hidden layer once the read-out is one channel:
x̂ = Σ_i P(i) b_i with P(i) = Σ_f θ_f (term f at token i). So a layer is trained by linear least squares on the emitted
x̂ alone, never on an iterate of a known algorithm; the next layer reads what it left. A task of one layer (explicit
gradient, Newton–Schulz) is such a problem once.

Norm. The mean of squares is ruled by the problems that were drawn; between and beyond them the composite polynomial,
of degree 2 to the number of layers, may explode. So a layer is fitted to the *largest* relative error over the batch:
‖x̂ − x‖^p with p doubled until that no longer lowers it, each by a few Newton steps, every one a least-squares
problem in the problems that count. While no direction has converged the largest error is 1 − g with a tiny gain g; it
is formed as log1p(‖x̂‖² − 2 x·x̂), so that a gain of 1e-13 is seen as well as an error of 1e-13.

Problems of one unknown are then changed in scale until they are as hard as they become, and join.

Terms. After a fit each term is left out in turn, and stays out where the rest do as well to within `slack`;
coefficients become whole numbers where these do as well. What is left is the model's own finding: nothing here knows an
algorithm, and a term that is needed cannot be missed in silence.

Reference: Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973), variable projection; Lawson (1961), for the largest error
by weights; Remez (1934), for the exchange.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, PositiveInt

from precisionlab.models.equivariant_attention import EquivariantStack
from precisionlab.training.gauss_newton import FLOOR_ULPS
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Outcome, Place, State, phase

_STEPS, _WON = 40, 1e-3
"""The most Newton steps a power, and the share of Σ ‖x̂ − x‖^p below which one is the last."""
_SHARPNESS = 2e-3
"""How near the largest error comes to the smallest possible: relatively, or of the gain where that is smaller."""
_EXACT_ULPS = 4
"""A largest error of so many u is rounding alone; above it the next layer, where there is one, squares what is left."""
EMITTED = ("emit_mix", "emit_attention", "emit_read")
"""Weights of the last layer, in the order of its terms."""
_FAR = -20.0
"""Problems whose weight is below e to this power do not count."""


class Fit(NamedTuple):
    """Coefficients, and the largest relative error as itself and as 1 less the gain."""

    coefficients: torch.Tensor
    error: float
    gain: float

    def as_good_as(self, other: "Fit", slack: float) -> bool:
        """Whether it loses no more than a share of the other's gain and adds no more than that share to its error."""
        u = 2.0**-52
        return self.gain >= other.gain * (1 - slack) and self.error <= other.error * (1 + slack) + 2 * u


def fit_largest(terms: torch.Tensor, target: torch.Tensor) -> Fit:
    """Coefficients θ with the smallest max_i ‖x_i − F_i θ‖ / ‖x_i‖.

    Args:
        terms: F, (B, n, k), float64.
        target: x, (B, n), none of them zero.

    Returns:
        The fit.
    """
    size = torch.linalg.vector_norm(target, dim=1)
    F, x = terms / size[:, None, None], target / size[:, None]
    scale = F.square().mean(dim=(0, 1)).sqrt()
    scale = torch.where(scale == 0, 1.0, scale)
    F = F / scale
    theta = _least_squares(F.flatten(0, 1), x.flatten())
    best, lowest, power = theta, _log_errors(F, x, theta).max().item(), 2.0
    # The p-norm's largest error exceeds the smallest possible by a factor of at most B^(1/p).
    while power == 2 or power / 2 * _SHARPNESS * max(-math.expm1(min(lowest, 0.0)), 1e-17) < math.log(len(x)):
        for _ in range(_STEPS):
            theta, largest, won = _newton_step(F, x, theta, power)
            if largest < lowest:
                best, lowest = theta, largest
            if won < _WON:
                break
        power *= 2
    return judged(terms, target, best / scale)


def put(coefficients: torch.Tensor, *places: torch.Tensor) -> None:
    """Write coefficients, one part after another, into weights.

    Args:
        coefficients: (..., k).
        places: Weights (..., k₁), (..., k₂), …, of k in all; changed.
    """
    parts = torch.split(coefficients, [place.shape[-1] for place in places], dim=-1)
    for place, part in zip(places, parts, strict=True):
        place.copy_(part)


def judged(terms: torch.Tensor, target: torch.Tensor, coefficients: torch.Tensor) -> Fit:
    """Coefficients with their largest relative error.

    Args:
        terms: F, (B, n, k), float64.
        target: x, (B, n).
        coefficients: θ, (k,).

    Returns:
        The fit; its error is the largest ‖x_i − F_i θ‖/‖x_i‖.
    """
    size = torch.linalg.vector_norm(target, dim=1)
    largest = _log_errors(terms / size[:, None, None], target / size[:, None], coefficients).max().item()
    return Fit(coefficients, math.exp(min(largest, 700.0)), -math.expm1(min(largest, 700.0)))


def fit_mean(terms: torch.Tensor, target: torch.Tensor) -> Fit:
    """Coefficients with the smallest Σ ‖x_i − F_i θ‖², solved twice so that the second takes the rounding of the first.

    Args:
        terms: F, (B, n, k), float64.
        target: x, (B, n).

    Returns:
        The fit; its error is the root of the mean square, relative to that of the target.
    """
    scale = terms.square().mean(dim=(0, 1)).sqrt()
    scale = torch.where(scale == 0, 1.0, scale)
    F, x = (terms / scale).flatten(0, 1), target.flatten()
    theta = _least_squares(F, x)
    theta = theta + _least_squares(F, x - F @ theta)
    error = float(torch.linalg.vector_norm(x - F @ theta) / torch.linalg.vector_norm(x))
    return Fit(theta / scale, error, 1 - error)


def _log_errors(F: torch.Tensor, x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Log ‖x_i − F_i θ‖ for ‖x_i‖ = 1, (B,), to full relative precision where it is near log 1 = 0."""
    emitted = F @ theta
    change = emitted.square().sum(dim=1) - 2 * (x * emitted).sum(dim=1)  # ‖x − x̂‖² = 1 + change
    squares = (x - emitted).square().sum(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(change > -0.5, torch.log1p(change.clamp_min(-0.5)), squares.log()) / 2


def _newton_step(
    F: torch.Tensor, x: torch.Tensor, theta: torch.Tensor, power: float
) -> tuple[torch.Tensor, float, float]:
    """One step of Newton's method for Σ ‖x_i − F_i θ‖^p, by least squares.

    With e = ‖x − F θ‖ and f∥ the part of F along the error, the Hessian is Σ e^(p−2) (F⊥ᵀF⊥ + (p − 1) f∥ᵀf∥) and the
    gradient −Σ e^(p−2) f∥ᵀ e, whence rows F⊥ with target 0 and √(p−1) f∥ with target e/√(p−1), weighted by e^(p/2−1).

    Returns:
        θ, the logarithm of the largest error there, and by how much that of the sum has fallen.
    """
    logs = _log_errors(F, x, theta)
    top = logs.max()
    weights = (power / 2 - 1) * (logs - top)
    near = weights > _FAR
    weight, error = weights[near].exp(), logs[near].exp()
    direction = (x - F @ theta)[near] / error.unsqueeze(-1)
    along = torch.einsum("bn,bnk->bk", direction, F[near])
    root = math.sqrt(power - 1)
    rows, right = weight[:, None] * root * along, weight * error / root
    if F.shape[1] > 1:
        across = F[near] - direction[..., None] * along[:, None]
        across = (weight[:, None, None] * across).flatten(0, 1)
        rows, right = torch.cat([across, rows]), torch.cat([right.new_zeros(len(across)), right])
    step = _least_squares(rows, right)
    before, length = torch.logsumexp(power * (logs - top), dim=0), 1.0
    while length > 1e-3:
        moved = theta + length * step
        now = _log_errors(F, x, moved)
        won = float(before - torch.logsumexp(power * (now - top), dim=0))
        if won > 0:
            return moved, now.max().item(), won
        length /= 2
    return theta, top.item(), 0.0


def _least_squares(rows: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The least-squares solution of least norm, columns brought to one length first."""
    lengths = torch.linalg.vector_norm(rows, dim=0)
    lengths = torch.where(lengths == 0, 1.0, lengths)
    solution: torch.Tensor = torch.linalg.lstsq(
        rows / lengths, right.unsqueeze(-1), rcond=1e-15, driver="gelsd"
    ).solution
    return solution.squeeze(-1) / lengths


@phase("layerwise")
class Layerwise:
    """Settings of the layer-by-layer phase; the model is equivariant attention with one channel of its own.

    Args:
        batch: Problems that every layer is fitted to.
        slack: The share of a layer's gain that leaving out a term may cost.
        margin: Every problem is multiplied by up to 1 + margin, or divided, so that what is asked later lies
            inside of what was trained: a step beyond the largest A, and a composite polynomial explodes.
        searches: How many times a layer of problems of one unknown is shown those it finds hardest.
        norm: What is made small: the largest relative error, or the mean of squares.
    """

    batch: PositiveInt = 8192
    slack: Annotated[float, Field(ge=0, lt=1)] = 0.01
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    searches: Annotated[int, Field(ge=0)] = 2
    norm: Literal["largest", "mean"] = "largest"

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "LayerwiseRun":
        """Begin.

        Args:
            objective: What is minimised.
            theta: Of the right length; where it starts does not matter.
            place: Where in the run.

        Returns:
            The phase at work.

        Raises:
            ValueError: If the model is another.
        """
        model = objective.model
        if not isinstance(model, EquivariantStack) or (model.mix.numel() and (model.own != 1 or not model.numbers)):
            raise ValueError("layerwise: wants equivariant attention with one channel of its own, read against b")
        return LayerwiseRun(self, objective, model, theta, place)


class LayerwiseRun:
    """The phase at work: a layer a step."""

    step: int
    outcome: Outcome | None

    def __init__(
        self, config: Layerwise, objective: Objective, model: EquivariantStack, theta: torch.Tensor, place: Place
    ) -> None:
        self.config, self.objective, self.model, self.place = config, objective, model, place
        self.step, self.outcome = 0, None
        self.theta = _identity(objective.named(torch.zeros_like(theta)))

    @torch.no_grad()
    def advance(self) -> dict[str, Any]:
        """Fit a layer.

        Returns:
            mse on the validation problems; error, the largest relative one of the fit; gain, 1 less that; and kept, how
            many terms the layer has.
        """
        model, weights = self.model.double(), self.objective.named(self.theta.double())
        hidden, width = len(model.mix), model.config.width
        prompt, target = self._problems()
        if hidden:
            fit, used = self._hidden(model, weights, prompt, target)
            coefficients = _spread(fit.coefficients, used, width + len(model.products))
            weights["mix"][self.step, 0], weights["attention"][self.step, 0] = (
                coefficients[:width],
                coefficients[width:],
            )
        else:
            tokens, numbers = model.read(prompt)
            terms = model.terms(model.readers(tokens), tokens, numbers)
            fit, used = _sparse(terms.flatten(0, -3), target.flatten(0, -2), self._fitted, self.config.slack)
            coefficients = _spread(fit.coefficients, used, terms.shape[-1])
            put(coefficients, *(weights[name] for name in EMITTED))
        model.to(self.objective.dtype)
        self.theta = torch.cat([weight.flatten() for weight in weights.values()]).to(self.theta)
        self.step += 1
        u = torch.finfo(self.objective.dtype).eps / 2
        if fit.error <= _EXACT_ULPS * u or self.step >= max(1, hidden):
            self.outcome = Outcome.REACHED if fit.error <= FLOOR_ULPS * u else Outcome.EXHAUSTED
        mse = self.objective.validation_mse(self.theta)
        return {"mse": mse, "error": fit.error, "gain": fit.gain, "kept": len(used)}

    def state(self) -> State:
        """All that `restore` needs.

        Returns:
            Parameters and step.
        """
        return {"theta": self.theta, "step": self.step}

    def restore(self, state: State) -> None:
        """Continue from a state.

        Args:
            state: What `state` returned.
        """
        self.theta, self.step = torch.as_tensor(state["theta"]).clone(), int(state["step"])

    @property
    def _fitted(self) -> Callable[[torch.Tensor, torch.Tensor], Fit]:
        return {"largest": fit_largest, "mean": fit_mean}[self.config.norm]

    def _problems(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Problems of this phase, the same at every layer, their scales spread by the margin."""
        example = self.objective.batch(Stream.TRAINING, self.place.attempt, self.place.phase, size=self.config.batch)
        prompt, target = example.prompt.double(), example.target.double()
        if self.config.margin:
            generator = torch.Generator().manual_seed(self.place.attempt)
            draw = 2 * torch.rand(len(prompt), 1, 1, generator=generator, dtype=torch.float64) - 1
            prompt = prompt * (1 + self.config.margin * draw.abs()).pow(draw.sign()).to(prompt.device)
        return prompt, target

    def _hidden(
        self, model: EquivariantStack, weights: dict[str, torch.Tensor], prompt: torch.Tensor, target: torch.Tensor
    ) -> tuple[Fit, list[int]]:
        """A hidden layer's coefficients, and which of them there are."""
        fit, used = self._fit(model, weights, prompt, target)
        for _ in range(self.config.searches if target.shape[-1] == 1 else 0):
            harder = _harder(self._emit(model, weights, fit, used), prompt, target)
            found = torch.cat([prompt, harder]), torch.cat([target, torch.ones_like(target[: len(harder)])])
            fit, used = self._fit(model, weights, *found)
            prompt, target = found
        return fit, used

    def _fit(
        self, model: EquivariantStack, weights: dict[str, torch.Tensor], prompt: torch.Tensor, target: torch.Tensor
    ) -> tuple[Fit, list[int]]:
        tokens, numbers = self._before(model, weights, prompt)
        rows = model.rows(tokens)
        read = [numbers.unsqueeze(-2) @ term / rows for term in (*tokens, *model.multiplied(tokens))]
        terms = torch.cat([part.mT for part in read], dim=-1)
        return _sparse(terms, target, self._fitted, self.config.slack)

    def _before(
        self, model: EquivariantStack, weights: dict[str, torch.Tensor], prompt: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens as the layers so far leave them, and their numbers."""
        tokens, numbers = model.read(prompt)
        for mix, attention in zip(weights["mix"][: self.step], weights["attention"][: self.step], strict=True):
            tokens = model.next(tokens, mix, attention)
        return tokens, numbers

    def _emit(
        self, model: EquivariantStack, weights: dict[str, torch.Tensor], fit: Fit, used: list[int]
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """What is emitted with this layer the last."""
        width = model.config.width
        coefficients = _spread(fit.coefficients, used, width + len(model.products))
        mix, attention = coefficients[:width], coefficients[width:]

        def emitted(prompt: torch.Tensor) -> torch.Tensor:
            tokens, numbers = self._before(model, weights, prompt)
            own = model.next(tokens, mix[None], attention[None])[-1]
            return (numbers.unsqueeze(-2) @ own).squeeze(-2) / model.rows(own[None])

        return emitted


def _harder(
    emit: Callable[[torch.Tensor], torch.Tensor], prompt: torch.Tensor, target: torch.Tensor, count: int = 64
) -> torch.Tensor:
    """Problems of one unknown at which the answer is shortest and longest, by changing the scale of those at hand."""
    # No problem becomes larger than the largest or smaller than the smallest there is.
    answer = (emit(prompt) / target).squeeze(-1)
    sizes = torch.linalg.vector_norm(prompt[..., 0], dim=-1)
    low, high = sizes.min(), sizes.max()
    sign = torch.ones(2 * count, dtype=prompt.dtype)
    sign[:count] = -1.0
    chosen = torch.cat([(-answer).topk(count).indices, answer.topk(count).indices])
    best, length = prompt[chosen].clone(), 1e-3
    best[..., 1:] /= target[chosen, None]  # b of a solution of 1
    value = sign * emit(best).squeeze(-1)
    for _ in range(60):
        for factor in (1 + length, 1 / (1 + length)):
            size = torch.linalg.vector_norm(best[..., 0], dim=-1)
            trial = best * ((size * factor).clamp(low, high) / size)[:, None, None]
            now = sign * emit(trial).squeeze(-1)
            better = now > value
            best, value = torch.where(better[:, None, None], trial, best), torch.where(better, now, value)
        length /= 1.5
    return best


def _identity(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weights of hidden layers that change nothing, read out from the model's own channel."""
    if weights["mix"].numel():
        weights["mix"][:, 0, -1] = 1.0
        weights["emit_read"][-1] = 1.0
    return torch.cat([weight.flatten() for weight in weights.values()])


def _sparse(
    terms: torch.Tensor,
    target: torch.Tensor,
    fitted: Callable[[torch.Tensor, torch.Tensor], Fit],
    slack: float,
) -> tuple[Fit, list[int]]:
    """A fit, and the terms it needs: those of least weight are left out first, each for good if the rest do as well."""
    sizes = terms.square().mean(dim=(0, 1)).sqrt()
    used = [place for place, size in enumerate(sizes.tolist()) if size > 0]
    whole = fit = fitted(terms[..., used], target)
    for place in sorted(used, key=lambda place: float(sizes[place] * abs(whole.coefficients[used.index(place)]))):
        rest = [other for other in used if other != place]
        if rest and (without := fitted(terms[..., rest], target)).as_good_as(whole, slack):
            used, fit = rest, without
    rounded = judged(terms[..., used], target, fit.coefficients.round())
    return (rounded if rounded.as_good_as(whole, slack) else fit), used


def _spread(coefficients: torch.Tensor, used: list[int], places: int) -> torch.Tensor:
    spread = coefficients.new_zeros(places)
    spread[used] = coefficients
    return spread
