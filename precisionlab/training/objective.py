"""What is minimised: the mean squared error of a model on a task, as a function of one flat vector of parameters.

Every batch is drawn from a seed of its own, derived from the run's seed and the batch's place in the run. A run that is
stopped and resumed therefore sees the same data as one that was not, with no generator to save. For the same reason the
processes of a group draw the same batches, and each computes with its share of them: here alone, so that a phase is
written as if there were one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

from precisionlab.models import ModelConfig, Shape, build
from precisionlab.tasks import Example, Task
from precisionlab.tasks.accuracy import exact, mean_squared_error
from precisionlab.training import distributed
from solvers._core.double_double import DD

T = TypeVar("T")

VALIDATION_PROBLEMS = 2048
JACOBIAN_CHUNK = 256


class Stream(IntEnum):
    """The independent sources of randomness of a run."""

    INITIAL_WEIGHTS = 0
    TRAINING = 1
    JUDGING = 2
    VALIDATION = 3
    TEST = 4


def shape_of(task: Task) -> Shape:
    """What a model of a task reads and emits, from a sample of one.

    Args:
        task: The task.

    Returns:
        Sizes.

    Raises:
        ValueError: If what it draws is not a prompt of tokens and answers to it.
    """
    example = task.sample(1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompt, target = example.prompt, example.target
    fits = prompt.dim() == 3 and target.dim() in {2, 3} and len(prompt) == len(target) == 1
    if not fits or (target.dim() == 3 and target.shape[1] != prompt.shape[1]):
        got = f"a prompt {tuple(prompt.shape)} and a target {tuple(target.shape)} for a batch of one"
        raise ValueError(f"task: its sample has {got}, want (1, T, F) and (1, E) or (1, T, E)")
    if not prompt.dtype == target.dtype == torch.float64:
        raise ValueError(
            f"task: its sample is {prompt.dtype} and {target.dtype}, want the torch.float64 it was asked for"
        )
    return Shape(
        in_features=prompt.shape[2],
        out_features=target.shape[-1],
        tokens=prompt.shape[1],
        every_token=target.dim() == 3,
    )


def loops_of(model: ModelConfig, task: Task) -> int:
    """How many times over a model's layers are applied for a task.

    Args:
        model: The model's shape.
        task: What it is asked to emit.

    Returns:
        The steps of the task where the model is looped, else 1.

    Raises:
        ValueError: If the model is looped and the task has no steps.
    """
    if not model.looped:
        return 1
    steps = getattr(task, "steps", None)
    if not isinstance(steps, int):
        raise ValueError(f"looped: the task {type(task).__name__} has no steps to be the number of loops")
    return steps


def eased(task: Task, changes: Mapping[str, Any]) -> Task:
    """The same task with some settings changed.

    Args:
        task: The task.
        changes: Values by the name of a setting.

    Returns:
        The task.

    Raises:
        ValueError: If it has no such setting, or refuses the value.
    """
    for name in changes:
        if not hasattr(task, name):
            raise ValueError(f"easier: the task {type(task).__name__} has no setting {name!r}")
    return replace(task, **changes)  # type: ignore[type-var]  # a registered task is a dataclass


class Objective:
    """A model, a task, and the data between them.

    Args:
        model: The model's shape.
        task: What it is asked to emit.
        dtype: Of the parameters and of all that the model computes.
        device: Where it computes; batches are drawn on the CPU, so that they do not depend on it.
        seed: Of the run.
    """

    def __init__(self, model: ModelConfig, task: Task, *, dtype: torch.dtype, device: str, seed: int) -> None:
        self.task, self.dtype, self.device, self.seed, self._config = task, dtype, device, seed, model
        self._shape, self._loops = shape_of(task), loops_of(model, task)
        self.model = self._built(None).to(device)
        self._names = [name for name, _ in self.model.named_parameters()]
        self._shapes = [parameter.shape for parameter in self.model.parameters()]
        self._sizes = [shape.numel() for shape in self._shapes]
        self.parameters = sum(self._sizes)
        self._validation = self.batch(Stream.VALIDATION, size=VALIDATION_PROBLEMS)
        self._jacobian = vmap(jacrev(self._predict_one), in_dims=(None, 0), chunk_size=JACOBIAN_CHUNK)

    def eased(self, changes: Mapping[str, Any]) -> "Objective":
        """The same parameters on an easier task; fewer ``steps`` of it are fewer loops of a looped model."""
        task = eased(self.task, changes)
        return Objective(self._config, task, dtype=self.dtype, device=self.device, seed=self.seed)

    def initial(self, attempt: int) -> torch.Tensor:
        """Random weights to start an attempt of this run from, (P,)."""
        start = self._built(self._generator(Stream.INITIAL_WEIGHTS, attempt))
        return torch.cat([parameter.detach().flatten() for parameter in start.parameters()]).to(self.device)

    def batch(self, stream: Stream, *place: int, size: int) -> Example:
        """The batch of a place in the run, such as (attempt, phase, step): the same place gives the same batch."""
        example = self.task.sample(size, generator=self._generator(stream, *place), dtype=self.dtype)
        return Example(example.prompt.to(self.device), example.target.to(self.device))

    def predict(self, theta: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """What the model with parameters theta (P,) emits, computed in their dtype: (B, T, F) → (B, E) or (B, T, E)."""
        return self.predict_named(self.named(theta), prompt)

    def predict_named(self, weights: dict[str, torch.Tensor], prompt: torch.Tensor) -> torch.Tensor:
        """The same for all of the model's weights by name."""
        constants = {}
        if prompt.dtype != self.dtype:
            constants = {name: constant.to(prompt.dtype) for name, constant in self.model.named_buffers()}
        emitted: torch.Tensor = functional_call(self.model, {**constants, **weights}, (prompt,))
        return emitted

    def loss(self, theta: torch.Tensor, example: Example) -> torch.Tensor:
        """Mean squared error in the model's own precision, a scalar: what training descends, not what is reported."""
        part = self._share(example)
        squares = (self.predict(distributed.copied(theta), part.prompt) - part.target).square().sum()
        return distributed.summed(squares / example.target.numel())

    @torch.no_grad()
    def residual(self, theta: torch.Tensor, example: Example) -> torch.Tensor:
        """What the model emits less what it should have, number by number: (R,), float64."""
        part = self._share(example)
        return distributed.gathered((self.predict(theta, part.prompt) - part.target).flatten().double())

    @torch.no_grad()
    def jacobian(self, theta: torch.Tensor, example: Example) -> torch.Tensor:
        """Derivatives of everything emitted with respect to every parameter: (R, P), of the model's dtype."""
        part = self._share(example)
        # A process may have no share, where there are more processes than problems.
        rows = self._jacobian(theta, part.prompt) if len(part.prompt) else theta.new_zeros(0, self.parameters)
        return distributed.gathered(rows.reshape(-1, self.parameters))

    def pullback(self, theta: torch.Tensor, prompt: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Jᵀ y (P,) of weights y (R,) without the Jacobian, in the precision of its arguments."""
        with torch.enable_grad():
            theta = theta.clone().requires_grad_()
            emitted = self.predict(theta, distributed.share(prompt)).flatten(1)
            own = distributed.share(weights.view(len(prompt), -1))
            (product,) = torch.autograd.grad((emitted * own).sum(), theta)
        return distributed.total(product)

    def summed(self, parts: Sequence[T], add: Callable[[T], None], *sums: torch.Tensor) -> None:
        """Let `add` take every part of a work that several processes share, into sums that begin as zeros."""
        for place in distributed.share(torch.arange(len(parts))).tolist():
            add(parts[place])
        for total in sums:
            distributed.total(total)

    @torch.no_grad()
    def validation_mse(self, theta: torch.Tensor) -> float:
        """Error on the validation problems, above the model's precision."""
        answers = DD(*map(distributed.share, self._validation_answers))
        return self._mse(theta, self._validation.prompt, answers)

    @torch.no_grad()
    def test_mse(self, theta: torch.Tensor, problems: int) -> float:
        """Error on problems that nothing in the run has seen, above the model's precision."""
        prompt = self.batch(Stream.TEST, size=problems).prompt
        return self._mse(theta, prompt, exact(self.task, distributed.share(prompt)))

    @property
    def outputs(self) -> int:
        """Numbers emitted for one prompt: residuals that a problem contributes."""
        return self._validation.target[0].numel()

    def target_mean_square(self) -> float:
        """Mean square of the validation targets: the error of a model that emits zero."""
        return float(self._validation.target.double().square().mean())

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """A flat vector (P,) as the model's parameters: views of it by name."""
        pieces = torch.split(theta, self._sizes)
        return {name: piece.view(shape) for name, shape, piece in zip(self._names, self._shapes, pieces, strict=True)}

    @cached_property
    def _validation_answers(self) -> DD:
        """Kept: they are the same at every step, and dear."""
        return exact(self.task, self._validation.prompt)

    def _mse(self, theta: torch.Tensor, prompts: torch.Tensor, answers: DD) -> float:
        prompt = distributed.share(prompts)
        mse = mean_squared_error(self.task, self.predict(theta, prompt), answers)
        return float(distributed.total(mse * (len(prompt) / len(prompts))))

    def _share(self, example: Example) -> Example:
        return Example(distributed.share(example.prompt), distributed.share(example.target))

    def _built(self, generator: torch.Generator | None) -> torch.nn.Module:
        return build(self._config, self._shape, loops=self._loops, dtype=self.dtype, generator=generator)

    def _predict_one(self, theta: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        return self.predict(theta, prompt[None])[0]

    def _generator(self, stream: Stream, *place: int) -> torch.Generator:
        key = np.random.SeedSequence(self.seed, spawn_key=(int(stream), *place))
        return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))
