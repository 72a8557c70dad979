"""What is minimised: the mean squared error of a model on a task, as a function of one flat vector of parameters.

Every batch is drawn from a seed of its own, derived from the run's seed and the batch's place in the run. A run that is
stopped and resumed therefore sees the same data as one that was not, with no generator to save. For the same reason the
processes of a group draw the same batches, and each computes with its share of them.
"""

from dataclasses import replace
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

from precisionlab import distributed
from precisionlab.models import Backbone, ModelConfig
from precisionlab.tasks import CurriculumTask, Example, Task

VALIDATION_PROBLEMS = 2048
JACOBIAN_CHUNK = 256


class Stream(IntEnum):
    """The independent sources of randomness of a run."""

    INITIAL_WEIGHTS = 0
    TRAINING = 1
    JUDGING = 2
    VALIDATION = 3
    TEST = 4


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
        self.model = Backbone(
            model, in_features=task.in_features, out_features=task.out_features, tokens=task.tokens, dtype=dtype
        ).to(device)
        self._names = [name for name, _ in self.model.named_parameters()]
        self._shapes = [parameter.shape for parameter in self.model.parameters()]
        self._sizes = [shape.numel() for shape in self._shapes]
        self.parameters = sum(self._sizes)
        self._validation = self.batch(Stream.VALIDATION, size=VALIDATION_PROBLEMS)
        self._jacobian = vmap(jacrev(self._predict_one), in_dims=(None, 0), chunk_size=JACOBIAN_CHUNK)

    def unrolled(self, steps: int) -> "Objective":
        """The same parameters on an easier task: fewer loops of the model, and as many steps of the algorithm.

        Args:
            steps: Of both.

        Returns:
            The objective.
        """
        fewer: Any = self.task  # only a task of several steps is asked for fewer
        model, task = replace(self._config, loops=steps), replace(fewer, steps=steps)
        return Objective(model, task, dtype=self.dtype, device=self.device, seed=self.seed)

    def initial(self, attempt: int) -> torch.Tensor:
        """Random starting weights.

        Args:
            attempt: Which start of this run.

        Returns:
            Parameters, (P,).
        """
        config, task = self.model.config, self.task
        start = Backbone(
            config,
            in_features=task.in_features,
            out_features=task.out_features,
            tokens=task.tokens,
            dtype=self.dtype,
            generator=self._generator(Stream.INITIAL_WEIGHTS, attempt),
        )
        return torch.cat([parameter.detach().flatten() for parameter in start.parameters()]).to(self.device)

    def batch(self, stream: Stream, *place: int, size: int, task: Task | None = None) -> Example:
        """The batch that belongs to a place in the run. Training in the first phase follows the task's curriculum.

        Args:
            stream: What the batch is for.
            place: Such as (attempt, phase, step), which training gives; the same place gives the same batch.
            size: Number of problems.
            task: What to draw from; None for the task itself.

        Returns:
            The batch, on the device.
        """
        generator, task = self._generator(stream, *place), task or self.task
        if isinstance(task, CurriculumTask) and stream is Stream.TRAINING and place[1] == 0:
            example = task.sample_at(place[2], size, generator=generator, dtype=self.dtype)
        else:
            example = task.sample(size, generator=generator, dtype=self.dtype)
        return Example(example.prompt.to(self.device), example.target.to(self.device))

    def predict(self, theta: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """What the model with these parameters emits.

        Args:
            theta: Parameters, (P,).
            prompt: (B, T, F).

        Returns:
            (B, out_features).
        """
        emitted: torch.Tensor = functional_call(self.model, self.named(theta), (prompt,))
        return emitted

    def loss(self, theta: torch.Tensor, example: Example) -> torch.Tensor:
        """Mean squared error in the model's own precision: what training descends, not what is reported.

        Args:
            theta: Parameters, (P,).
            example: A batch.

        Returns:
            A scalar: this process's part of it, and the whole where there is one process.
        """
        part = self.share(example)
        return (self.predict(theta, part.prompt) - part.target).square().sum() / example.target.numel()

    def share(self, example: Example) -> Example:
        """This process's part of a batch.

        Args:
            example: A batch, the same on every process.

        Returns:
            Its share of the problems; all of them where there is one process.
        """
        return Example(distributed.share(example.prompt), distributed.share(example.target))

    @torch.no_grad()
    def jacobian(self, theta: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Derivatives of everything emitted with respect to every parameter.

        Args:
            theta: Parameters, (P,).
            prompt: (B, T, F).

        Returns:
            (B·out_features, P).
        """
        if not len(prompt):  # the share of a process where there are more processes than problems
            return theta.new_zeros(0, self.parameters)
        rows: torch.Tensor = self._jacobian(theta, prompt)
        return rows.reshape(-1, self.parameters)

    @torch.no_grad()
    def validation_mse(self, theta: torch.Tensor) -> float:
        """Error on the validation problems, above the model's precision.

        Args:
            theta: Parameters, (P,).

        Returns:
            Mean squared error.
        """
        return self._mse(theta, self._validation.prompt)

    @torch.no_grad()
    def test_mse(self, theta: torch.Tensor, problems: int) -> float:
        """Error on problems that nothing in the run has seen.

        Args:
            theta: Parameters, (P,).
            problems: How many.

        Returns:
            Mean squared error.
        """
        return self._mse(theta, self.batch(Stream.TEST, size=problems).prompt)

    @property
    def outputs(self) -> int:
        """Numbers emitted for one prompt: residuals that a problem contributes."""
        return self._validation.target[0].numel()

    def target_mean_square(self) -> float:
        """The scale of the task: the error of a model that emits zero.

        Returns:
            Mean square of the validation targets.
        """
        return float(self._validation.target.double().square().mean())

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """A flat vector as the model's parameters.

        Args:
            theta: Parameters, (P,).

        Returns:
            Views of it by name.
        """
        pieces = torch.split(theta, self._sizes)
        return {name: piece.view(shape) for name, shape, piece in zip(self._names, self._shapes, pieces, strict=True)}

    def _mse(self, theta: torch.Tensor, prompts: torch.Tensor) -> float:
        prompt = distributed.share(prompts)
        mse = self.task.mean_squared_error(self.predict(theta, prompt), prompt)
        return float(distributed.total(mse * (len(prompt) / len(prompts))))

    def _predict_one(self, theta: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        return self.predict(theta, prompt[None])[0]

    def _generator(self, stream: Stream, *place: int) -> torch.Generator:
        key = np.random.SeedSequence(self.seed, spawn_key=(int(stream), *place))
        return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))
