"""Random features: hidden layers stay as they are drawn, and the last one is fitted, a linear problem once.

A channel that a hidden layer adds is a random sum of the terms it could add, and these are nearly the same: summed as
they are, every channel would be nearly one polynomial. So the draw is made in coordinates in which the terms, over the
problems, are of one size and independent; directions below `cutoff` of the largest stay out. What the last layer emits
is linear in its weights, which minimise the mean square of x̂ − x.

Problems. Of the task's only A is taken; solutions are its right singular vectors, one by one, so that every direction
is asked for by itself.

Tail. The mean square of a polynomial of degree D is ruled by eigenvalues that a sample hardly has. Where A ~ N(0, I)
the problems are drawn from a wider distribution instead, and weighted back: with a random direction v of Rⁿ and a
factor c, A (I + (c − 1) v vᵀ) has c^(−N) exp((1 − c⁻²) ‖A v‖²/2) times the density of A. With one of k factors for each
A its weight is k over the sum of these, and every mean stays that of A ~ N(0, I).

Reference: Rahimi and Recht, NeurIPS 2007; Owen, Monte Carlo theory, methods and examples (2013), chapter 9, for several
proposals at once.
"""

import math
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt

from precisionlab.models.answer_token import AnswerStack
from precisionlab.training.layerwise import EMITTED, fit_mean, put
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Outcome, Place, State, phase

_AT_ONCE = 5000
_ANSWER = ("answer_mix", "answer_attention", "answer_read")


@phase("random-features")
class RandomFeatures:
    """Settings of the phase; the model is equivariant attention with an answer token.

    Args:
        batch: Matrices A.
        cutoff: Directions of a hidden layer's terms that are smaller than this share of the largest stay out.
        stretches: Factors c by which A is stretched along a random direction; more than (1,) for A ~ N(0, I) alone.
    """

    batch: PositiveInt = 20_000
    cutoff: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    stretches: tuple[Annotated[float, Field(ge=1)], ...] = (1.0,)

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "RandomFeaturesRun":
        """Begin.

        Args:
            objective: What is minimised.
            theta: The initial weights: those of hidden layers are the draw.
            place: Where in the run.

        Returns:
            The phase at work.

        Raises:
            ValueError: If the model is another, or matrices are to be stretched that are not Gaussian.
        """
        model = objective.model
        if not isinstance(model, AnswerStack):
            raise ValueError("random-features: wants equivariant attention with an answer token")
        if set(self.stretches) != {1.0} and getattr(objective.task, "condition", 0) is not None:
            raise ValueError("stretches: the weights are those of A ~ N(0, I), and this task draws others")
        return RandomFeaturesRun(self, objective, model, theta, place)


class RandomFeaturesRun:
    """The phase at work: a layer a step."""

    step: int
    outcome: Outcome | None

    def __init__(
        self, config: RandomFeatures, objective: Objective, model: AnswerStack, theta: torch.Tensor, place: Place
    ) -> None:
        self.config, self.objective, self.model, self.place = config, objective, model, place
        self.step, self.outcome, self.theta = 0, None, theta.clone()

    @torch.no_grad()
    def advance(self) -> dict[str, Any]:
        """Settle a layer.

        Returns:
            mse on the validation problems, and terms, of how many independent ones the answer token's layer is made.
        """
        model, weights = self.model.double(), self.objective.named(self.theta.double())
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
        prompt, target = self._problems()
        if self.step < model.hidden:
            terms = self._draw(prompt, weights)
        else:
            terms = self._fit(prompt, target, weights)
            self.outcome = Outcome.EXHAUSTED
        model.to(self.objective.dtype)
        self.theta = torch.cat([values.flatten() for values in weights.values()]).to(self.theta)
        self.step += 1
        return {"mse": self.objective.validation_mse(self.theta), "terms": terms}

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

    def _problems(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts and solutions of this phase, the same at every layer."""
        example = self.objective.batch(Stream.TRAINING, self.place.attempt, self.place.phase, size=self.config.batch)
        A = example.prompt[..., :-1].double()
        A, weight = stretched(A, self.config.stretches, seed=self.place.attempt)
        # What is emitted is linear in b: a solution √w times as long counts w times.
        n = A.shape[-1]
        x = (n * weight).sqrt()[:, None, None] * torch.linalg.svd(A, full_matrices=False).Vh
        b = (x @ A.mT).flatten(0, 1)
        return torch.cat([A.repeat_interleave(n, dim=0), b.unsqueeze(-1)], dim=-1), x.flatten(0, 1)

    def _before(self, prompt: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Tokens, answer token and numbers as the layers so far leave them, some problems at a time."""
        return (self.model.before(part, self.step) for part in torch.split(prompt, _AT_ONCE))

    def _draw(self, prompt: torch.Tensor, weights: dict[str, torch.Tensor]) -> int:
        model, step, gram = self.model, self.step, [torch.zeros(0), torch.zeros(0)]
        for tokens, answer, numbers in self._before(prompt):
            of_rows, of_answer = [*tokens, *model.multiplied(tokens)], model.parts(answer, tokens, numbers)
            for place, parts in enumerate((of_rows, of_answer)):
                flat = torch.stack(parts).flatten(1)
                gram[place] = gram[place] + flat @ flat.T if gram[place].numel() else flat @ flat.T
        for names, products in zip((("mix", "attention"), _ANSWER), gram, strict=True):
            drawn = torch.cat([weights[name][step] for name in names], dim=-1)
            settled, terms = independent(drawn, products, self.config.cutoff)
            put(settled, *(weights[name][step] for name in names))
        return terms

    def _fit(self, prompt: torch.Tensor, target: torch.Tensor, weights: dict[str, torch.Tensor]) -> int:
        terms = torch.cat([
            self.model.terms(answer, tokens, numbers) for tokens, answer, numbers in self._before(prompt)
        ])
        put(fit_mean(terms, target).coefficients, *(weights[name] for name in EMITTED))
        return terms.shape[-1]


def independent(drawn: torch.Tensor, products: torch.Tensor, cutoff: float) -> tuple[torch.Tensor, int]:
    """Random sums of terms, each of mean square 1, in coordinates in which these are of one size and independent.

    Args:
        drawn: Numbers to take coordinates from, (sums, terms).
        products: Inner products of the terms, (terms, terms).
        cutoff: The size, as a share of the largest, below which a direction stays out.

    Returns:
        Coefficients, (sums, terms), and how many directions there are.
    """
    size = products.diagonal().sqrt()
    used = size > 0
    squares, directions = torch.linalg.eigh(products[used][:, used] / torch.outer(size[used], size[used]))
    kept = squares > cutoff**2 * squares[-1]
    count = int(kept.sum())
    drawn = drawn[:, :count] / torch.linalg.vector_norm(drawn[:, :count], dim=-1, keepdim=True)
    coefficients = torch.zeros(len(drawn), len(size), dtype=products.dtype, device=products.device)
    coefficients[:, used] = drawn @ (directions[:, kept] / squares[kept].sqrt()).T / size[used]
    return coefficients, count


def stretched(A: torch.Tensor, factors: tuple[float, ...], *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices of a wider distribution than N(0, I), and the weights with which their means are those of N(0, I).

    Args:
        A: Drawn from N(0, I), (B, N, n).
        factors: c, one for each matrix in turn.
        seed: Of the directions.

    Returns:
        A (I + (c − 1) v vᵀ), and the weights (B,).
    """
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(len(A), A.shape[-1], 1, generator=generator, dtype=A.dtype).to(A.device)
    v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True)
    c = torch.tensor(factors, dtype=A.dtype, device=A.device)
    own = c[torch.arange(len(A), device=A.device) % len(c)]
    along = A @ v
    length = own.square() * along.square().sum(dim=(1, 2))  # ‖A v‖² of the stretched one
    logs = (1 - c**-2) * length[:, None] / 2 - A.shape[1] * c.log()
    weight = (math.log(len(c)) - torch.logsumexp(logs, dim=1)).exp()
    return A + (own - 1)[:, None, None] * along @ v.mT, weight
