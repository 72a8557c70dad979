"""Layer by layer from random heads: plain linear attention, coordinates mixed freely, trained on the emitted x alone.

The residual stream holds the prompt [a_j, b_j] as the read-in turns it at random, n coordinates x_j that hidden layers
write, and n for the answer. The read-out layer's values are y_j, a linear map of a_j and x_j, its key is b_j and its
query constant: what is emitted is x̂ = Σ_j y_j b_j/N. Given the layers before it, all that a hidden layer does to x̂ is,
with z = (a, y), M = Σ_i z_i z_iᵀ/N and g = Σ_j z_j b_j/N,

    x̂ = R g + Σ_h O_h V_h M K_hᵀ Q_h g :

R is linear, and each head is a product of four factors. All of them begin at random and are fitted together
(Levenberg–Marquardt) to x̂ − x over a batch of problems; y then stands for what this layer makes it, the next layer
reads what is left, and the read-out is that of the newest y. Nothing else is in the loss, and no weight is set to that
of a known algorithm.

Three things keep it from stalling.
- M ⊗ g has n²(2n + 1) distinct entries. Their QR factor, a few hundred rows, stands for any number of problems: a step
  costs the same for 10⁵ of them, and nothing is squared.
- Near convergence the descent ahead lies along directions in which the error hardly changes, and heads must move far:
  as long as all layers began at random, the sixth rested at the identity. After the first few a layer begins as a copy
  of the one before it, which was trained to lower the same error; where y is what is emitted, it fits.
- A step so long is off by its square in the stiff directions. Steps with the same Jacobian and more damping take that
  away (as in `gauss_newton`), and below a damping of 1e-9 the system is solved by its singular values.

Reference: Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973); Shamanskii (1967), as in `gauss_newton`.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch.func import functional_call

from precisionlab.models import Backbone
from precisionlab.models.linear_attention import LinearAttention
from precisionlab.training.gauss_newton import FLOOR_ULPS
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import Easier, Outcome, Place, State, phase
from precisionlab.training.scaled_system import ScaledSystem, scales

_SQUARED = 1e-9
"""Damping below which the squared system has forgotten what matters."""
_CORRECTIONS, _STIFF, _WORTHWHILE = 12, 1e-4, 0.9
"""Further steps with one Jacobian, their damping, and what each must at least leave of the residual to be the last."""
_TRIALS = 8
"""Dampings that a step is tried with, each eight times the one before."""
_SLOW = 0.5
"""A layer that leaves more than this share of the error before it is fitted from the other start as well."""
_LEAST, _PATIENCE = 1 - 1e-4, 3
"""Steps in a row that leave more than this share of the residual, after which a fit is done."""


class SingularSystem:
    """The Gauss–Newton system of a batch by singular values, with the interface of `ScaledSystem`.

    Args:
        jacobian: J, (R, P).
        residual: r, (R,).
    """

    def __init__(self, jacobian: torch.Tensor, residual: torch.Tensor) -> None:
        lengths = torch.linalg.vector_norm(jacobian, dim=0)
        self._lengths, self._residual = scales(lengths, float(lengths.max())), residual
        self._Q, triangle = torch.linalg.qr(jacobian / self._lengths)
        self._U, self._s, self._Vh = torch.linalg.svd(triangle, full_matrices=False)

    def factorise(self, damping: float) -> bool:
        """Prepare for `step`."""
        self._inverse = self._s / (self._s.square() + damping)
        return True

    def step(self, residual: torch.Tensor | None = None) -> torch.Tensor:
        """The step of the last `factorise`: (P,)."""
        right = self._U.mT @ (self._Q.mT @ (self._residual if residual is None else residual))
        step: torch.Tensor = self._Vh.mT @ (self._inverse * right) / self._lengths
        return step


class Heads:
    """A hidden layer as it acts on z = (a, y), and how it depends on one flat vector.

    Args:
        n: Unknowns.
        heads: Their number, h.
        size: Features of a head, d.
    """

    def __init__(self, n: int, heads: int, size: int) -> None:
        self.n, self.heads = n, heads
        reads = (heads, size, 2 * n)
        self.shapes = (reads, reads, reads, (heads, n, size), (n, 2 * n))

    def parts(self, theta: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Q, K, V (h, d, 2n), O (h, n, d) and R (n, 2n)."""
        pieces = torch.split(theta, [math.prod(shape) for shape in self.shapes])
        return tuple(piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True))

    def emitted(self, theta: torch.Tensor, products: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """x̂ of rows: products M ⊗ g as (B, 2n, 2n, 2n), read g as (B, 2n); (B, n)."""
        *heads, kept = self.parts(theta)
        x = read @ kept.mT
        for q, k, v, o in zip(*heads, strict=True):
            x = x + self._met(products, k.mT @ q) @ (o @ v).mT
        return x

    def jacobian(self, theta: torch.Tensor, products: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Its derivatives: (B n, P)."""
        heads = self.parts(theta)[:-1]
        rows, eye = len(read), torch.eye(self.n, dtype=read.dtype)
        columns: list[list[torch.Tensor]] = [[], [], [], []]
        for q, k, v, o in zip(*heads, strict=True):
            met = self._met(products, k.mT @ q)
            valued = ((o @ v) @ products.flatten(2)).unflatten(-1, products.shape[-2:])
            columns[0].append(k @ valued)
            columns[1].append((valued @ q.mT).mT)
            columns[2].append(o[..., None] * met[:, None, None])
            columns[3].append(eye[..., None] * (met @ v.mT)[:, None, None])
        flat = [part.reshape(rows, self.n, -1) for parts in columns for part in parts]
        return torch.cat([*flat, (eye[..., None] * read[:, None, None]).flatten(2)], dim=-1).flatten(0, 1)

    @staticmethod
    def _met(products: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Σ_ef M_de g_f scores_ef: (B, 2n)."""
        return products.flatten(2) @ scores.flatten()


def _balanced(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors (h, p, d) and (h, d, q) of the same products, columns as long as rows: what cancels costs digits."""
    size = left.shape[-1]
    U, s, Vh = torch.linalg.svd(left @ right, full_matrices=False)
    root = s[:, None, :size].sqrt()
    missing = size - root.shape[-1]
    pad = torch.nn.functional.pad
    return pad(U[..., :size] * root, (0, missing)), pad(root.mT * Vh[:, :size], (0, 0, 0, missing))


class Features(NamedTuple):
    """What a layer's emission depends on: M ⊗ g as (B, 2n, 2n, 2n), g as (B, 2n), and what is asked for, (B, n).

    The rows are problems, each relative to its target, or any other rows of the same QR factor.
    """

    products: torch.Tensor
    read: torch.Tensor
    target: torch.Tensor


class Fit(NamedTuple):
    """A layer's weights, and over the problems the root mean square and the largest of the relative errors."""

    theta: torch.Tensor
    rms: float
    error: float


_Left = tuple[torch.Tensor, float]
"""A residual and its norm."""


def _corrected(
    system: ScaledSystem | SingularSystem,
    residual_at: Callable[[torch.Tensor], _Left],
    theta: torch.Tensor,
    damping: float,
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Where steps with an old Jacobian lead from θ, and what is left there."""
    left, norm = residual_at(theta)
    for _ in range(_CORRECTIONS if system.factorise(damping) else 0):
        if (step := system.step(left)) is None:
            break
        rest, now = residual_at(theta - step)
        if not now < norm:
            break
        theta, left, norm, share = theta - step, rest, now, now / norm
        if share > _WORTHWHILE:
            break
    return theta, left, norm


def _fitted(heads: Heads, start: torch.Tensor, few: Features, every: Features, *, steps: int) -> Fit:
    """Weights with a smaller mean of squares than where they start, over few rows that stand for every one."""
    theta = start

    def residual_at(theta: torch.Tensor) -> _Left:
        residual = (heads.emitted(theta, few.products, few.read) - few.target).flatten()
        return residual, float(torch.linalg.vector_norm(residual))

    residual, norm = residual_at(theta)
    damping, idle = 1e-2, 0
    for _ in range(steps):
        jacobian = heads.jacobian(theta, few.products, few.read)
        system = (SingularSystem if damping < _SQUARED else ScaledSystem)(jacobian, residual)
        for _ in range(_TRIALS):
            if system.factorise(damping) and (step := system.step()) is not None:
                moved, left, now = _corrected(system, residual_at, theta - step, max(damping, _STIFF))
                if now < norm:
                    break
            damping = min(8 * damping, 1e6)
        else:
            break
        idle = idle + 1 if now > _LEAST * norm else 0
        theta, residual, norm, damping = moved, left, now, max(damping / 10, 1e-30)
        if idle >= _PATIENCE:
            break
    errors = torch.linalg.vector_norm(heads.emitted(theta, every.products, every.read) - every.target, dim=1)
    return Fit(theta, float(errors.square().mean().sqrt()), float(errors.max()))


def _features(tokens: torch.Tensor, b: torch.Tensor, target: torch.Tensor, divisor: int) -> tuple[Features, Features]:
    """A few rows that stand for all problems, and the problems: tokens z are (B, N, 2n), b (B, N, 1), x (B, n)."""
    width, sizes = tokens.shape[-1], torch.linalg.vector_norm(target, dim=1, keepdim=True)
    sums, read = tokens.mT @ tokens / divisor, (tokens.mT @ b).squeeze(-1) / divisor / sizes
    upper = torch.triu_indices(width, width)
    whole = torch.zeros(width, width, dtype=torch.long)
    whole[upper[0], upper[1]] = whole[upper[1], upper[0]] = torch.arange(upper.shape[1])
    products = sums[:, upper[0], upper[1], None] * read[:, None]
    columns = torch.cat([products.flatten(1), read, target / sizes], dim=1)
    factor = torch.linalg.qr(columns, mode="r").R / len(columns) ** 0.5
    few, few_read, few_target = factor.split([products[0].numel(), width, target.shape[1]], dim=1)
    few = few.unflatten(1, (-1, width))[:, whole]
    return Features(few, few_read, few_target), Features(products[:, whole], read, target / sizes)


@phase("headwise")
class Headwise:
    """Settings of the phase; the model is a backbone of linear attention.

    Args:
        batch: Problems that every layer is fitted to.
        steps: The most steps of a layer.
        copied: Hidden layers that begin at random alone; a later one begins as a copy of the one before it, and where
            that gains little at random as well.
        easier: Settings of the task that differ while this phase lasts, such as ``{"spread": 0.4}``: a step beyond what
            was trained the composite polynomial explodes.
    """

    batch: PositiveInt = 20000
    steps: PositiveInt = 60
    copied: PositiveInt = 3
    easier: Easier = Field(default_factory=dict)

    def start(self, objective: Objective, theta: torch.Tensor, place: Place) -> "HeadwiseRun":
        """Begin.

        Args:
            objective: What is minimised.
            theta: The random weights.
            place: Where in the run.

        Returns:
            The phase at work.

        Raises:
            ValueError: If the model is another.
        """
        model = objective.model
        mixer = model.config.mixer if isinstance(model, Backbone) else None
        if not (isinstance(model, Backbone) and isinstance(mixer, LinearAttention)):
            raise ValueError("headwise: wants a backbone of linear attention")
        config, n = model.config, model.shape.out_features
        plain = config.residual and config.positions == "none" and config.reads == "first" and not mixer.causal
        bare = not (config.mlp or config.layer_norm or model.shape.every_token or model.loops > 1)
        roomy = config.width >= 3 * n + 1 and config.width // mixer.heads >= n and config.layers > 1
        if not (plain and bare and roomy and model.shape.in_features == n + 1):
            raise ValueError(
                "headwise: wants tokens of n + 1 features, residual layers, no positions, perceptron, norm or loops, "
                "and at least 2 layers, 3 n + 1 features a token and n a head"
            )
        return HeadwiseRun(self, objective, model, mixer, theta, place)


class HeadwiseRun:
    """The phase at work: a hidden layer a step."""

    step: int
    outcome: Outcome | None

    def __init__(
        self,
        config: Headwise,
        objective: Objective,
        model: Backbone,
        mixer: LinearAttention,
        theta: torch.Tensor,
        place: Place,
    ) -> None:
        self.config, self.objective, self.model, self.place = config, objective, model, place
        self.step, self.outcome = 0, None
        self.theta = theta.clone()
        n = model.shape.out_features
        self._divisor = model.shape.tokens if mixer.normalise == "length" else 1
        self._heads = Heads(n, mixer.heads, model.config.width // mixer.heads)
        start = objective.named(theta.double())
        eye = torch.eye(model.config.width, dtype=torch.float64, device=theta.device)
        mixed, self._own, self._answer = eye[:, : n + 1], eye[:, n + 1 : 2 * n + 1], eye[:, 2 * n + 1 : 3 * n + 1]
        prompt = mixed @ torch.linalg.qr(start["read_in.weight"][: n + 1]).Q
        self._a, self._b = prompt.mT[:n], prompt.mT[n:]
        self._read_in = prompt
        self._lift = torch.cat([self._a.mT, self._own], dim=1)
        self._random = [self._drawn(start, layer) for layer in range(model.config.layers - 1)]
        self._fitted, self._rms = self._random[0], math.inf
        self._emits = self._heads.parts(self._fitted)[-1] @ torch.cat([self._a, self._own.mT])

    @torch.no_grad()
    def advance(self) -> dict[str, Any]:
        """Fit a layer.

        Returns:
            mse on the validation problems; rms and error, relative ones over the problems fitted to, in the
            mean and at most.
        """
        weights = self.objective.named(self.theta.double().clone())
        if not self.step:
            weights["read_in.weight"].copy_(self._read_in)
        example = self.objective.batch(Stream.TRAINING, self.place.attempt, self.place.phase, size=self.config.batch)
        prompt, target = example.prompt.double(), example.target.double()
        tokens = self._before(weights, prompt)
        reader = torch.cat([self._a, self._emits])
        few, every = _features(tokens @ reader.mT, prompt[..., -1:], target, self._divisor)
        fits = (_fitted(self._heads, start, few, every, steps=self.config.steps) for start in self._starts())
        fit = next(fits)
        if fit.rms > _SLOW * self._rms:
            fit = min([fit, *fits], key=lambda fit: fit.rms)
        self._fitted, self._rms = fit.theta, fit.rms
        self._write(weights, reader)
        self._fitted = self._fitted.to(self.theta).double()
        self.theta = torch.cat([weight.flatten() for weight in weights.values()]).to(self.theta)
        self.step += 1
        if self.step == self.model.config.layers - 1:
            floor = FLOOR_ULPS * torch.finfo(self.objective.dtype).eps / 2
            self.outcome = Outcome.REACHED if fit.rms <= floor else Outcome.EXHAUSTED
        return {"mse": self.objective.validation_mse(self.theta), "rms": fit.rms, "error": fit.error}

    def state(self) -> State:
        """All that `restore` needs.

        Returns:
            Parameters and step, and the newest layer where y is what is emitted, with its error; vectors as long as θ.
        """
        fitted = torch.zeros_like(self.theta)
        fitted[: len(self._fitted)] = self._fitted
        return {"theta": self.theta, "step": self.step, "fitted": fitted, "rms": self._rms}

    def restore(self, state: State) -> None:
        """Continue from a state.

        Args:
            state: What `state` returned.
        """
        self.theta, self.step = torch.as_tensor(state["theta"]).clone(), int(state["step"])
        fitted = torch.as_tensor(state["fitted"])[: len(self._fitted)]
        self._fitted, self._rms = fitted.double(), float(state["rms"])
        self._emits = self._own.mT if self.step else self._emits

    def _starts(self) -> Iterator[torch.Tensor]:
        """Where a layer may begin: as the one before it, and at random with y kept as it is."""
        if self.step >= self.config.copied:
            yield self._fitted
        n, start = self._heads.n, self._random[self.step].clone()
        if self.step:
            start[-2 * n * n :] = torch.eye(n, 2 * n, dtype=start.dtype).roll(n, dims=1).flatten()
        yield start

    def _drawn(self, start: dict[str, torch.Tensor], layer: int) -> torch.Tensor:
        """The random weights of a hidden layer, as far as they meet the prompt's a and the layers' own coordinates."""
        qkv, out = (start[f"mixers.{layer}.{name}.weight"] for name in ("qkv", "out"))
        mixed, out = qkv @ self._lift, self._own.mT @ out
        o = out.reshape(len(out), self._heads.heads, -1).transpose(0, 1)
        spread = (2 * self._heads.n) ** 0.5
        kept = start["read_out.weight"] @ self._lift
        # Smaller ones begin so near a saddle that they settle for less.
        return torch.cat([(part / part.std() / spread).flatten() for part in (mixed, o, kept)])

    def _before(self, weights: dict[str, torch.Tensor], prompt: torch.Tensor) -> torch.Tensor:
        """The tokens as the layers so far leave them."""
        tokens = prompt @ weights["read_in.weight"].mT
        for layer, mixer in enumerate(self.model.mixers[: self.step]):
            prefix = f"mixers.{layer}."
            own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            tokens = tokens + functional_call(mixer, own, (tokens,))
        return tokens

    def _write(self, weights: dict[str, torch.Tensor], reader: torch.Tensor) -> None:
        """Put the newest layer and a read-out of what it makes into the weights; the layers between do nothing."""
        q, k, v, o, kept = self._heads.parts(self._fitted)
        k, q = _balanced(k.mT, q)
        o, v = _balanced(o, v)
        self._emits = kept @ reader
        for name, weight in weights.items():
            layer = int(name.split(".")[1]) if name.startswith("mixers.") else self.step
            if name != "read_in.weight" and layer >= self.step:
                weight.zero_()
        prefix = f"mixers.{self.step}."
        weights[prefix + "qkv.weight"].copy_(torch.stack([q, k.mT, v]).flatten(0, 2) @ reader)
        turned = torch.linalg.solve(self._emits @ self._own, o)
        weights[prefix + "out.weight"].copy_(self._own @ turned.transpose(0, 1).flatten(1))
        self._rebase(weights)
        prefix, n, width = f"mixers.{self.model.config.layers - 1}.", self._heads.n, self.model.config.width
        weights[prefix + "qkv.bias"][0] = 1.0
        weights[prefix + "qkv.weight"][width] = self._b
        weights[prefix + "qkv.weight"][2 * width : 2 * width + n] = self._emits
        weights[prefix + "out.weight"][:, :n] = self._answer
        weights["read_out.weight"].copy_(self._answer.mT)

    def _rebase(self, weights: dict[str, torch.Tensor]) -> None:
        """Change the basis of the layers' own coordinates so that they are y itself.

        A residual stream keeps what it has: where a layer doubles y, x is a half, a quarter, … of it and drowns in the
        rounding of the prompt beside it; and what y has of a itself doubles as well, and must cancel. In this basis
        layers write with the scale that y has in the end, and the read-in begins x.
        """
        n, eye = self._heads.n, torch.eye(len(self._own), dtype=self._own.dtype)
        scale, given = self._emits @ self._own, self._emits @ self._lift[:, :n] @ self._a
        there = eye + self._own @ (scale @ self._own.mT - self._own.mT + given)
        back = eye + self._own @ (torch.linalg.solve(scale, self._own.mT - given) - self._own.mT)
        weights["read_in.weight"].copy_(there @ weights["read_in.weight"])
        for layer in range(self.step + 1):
            qkv, out = (weights[f"mixers.{layer}.{name}.weight"] for name in ("qkv", "out"))
            qkv.copy_(qkv @ back)
            out.copy_(there @ out)
        self._emits = self._own.mT
