"""What every task offers: examples from a generator, their shapes, and targets above the subject's precision."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

from solvers.learned.base import Step
from solvers.solver import Solver

Emission = Literal["one", "all"]
"""Whether a task's target is one answer a prompt, or one at each token."""


@dataclass(frozen=True)
class Example:
    """A batch of prompts and what the model should emit.

    Args:
        prompt: Tokens, (B, T, F).
        target: What to emit, (B, ...).
    """

    prompt: torch.Tensor
    target: torch.Tensor


class Task(Protocol):
    """A map from prompt to target that a model learns. The target is a function of the prompt alone."""

    @property
    def kind(self) -> str:
        """What the task is called."""

    @property
    def in_features(self) -> int:
        """Features of a token, F."""

    @property
    def out_features(self) -> int:
        """Features of the target."""

    @property
    def tokens(self) -> int:
        """Tokens of a prompt, T."""

    @property
    def emits(self) -> Emission:
        """Whether the target is one answer, (B, out_features), or one at each token, (B, T, out_features)."""

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch.

        Args:
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            The batch, on the CPU.
        """

    def mean_squared_error(self, prediction: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        """Error against the exact target, computed above the prediction's precision.

        Args:
            prediction: What the model emitted, (B, ...).
            prompt: What it read, (B, T, F).

        Returns:
            Mean over the batch and the features, a float64 scalar.
        """


@runtime_checkable
class SolverTask(Task, Protocol):
    """A task whose model becomes a least-squares solver."""

    @property
    def n(self) -> int:
        """Unknowns of a training problem."""

    @property
    def rows(self) -> int:
        """Rows of a training problem."""

    @property
    def solver_class(self) -> type[Solver]:
        """What a trained model becomes: a class that is handed the model's step, and a name."""

    @property
    def control(self) -> Step:
        """The step as the formula has it: around this, the same solver shows what the model adds."""

    def step(self, model: torch.nn.Module) -> Step:
        """What the solver is handed.

        Args:
            model: Trained on this task.

        Returns:
            The model's step, for problems rather than prompts.
        """


@runtime_checkable
class CurriculumTask(Task, Protocol):
    """A task whose training examples become harder as training goes on."""

    def sample_at(self, step: int, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch for training.

        Args:
            step: Steps of training taken.
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            The batch, of the shapes of `sample`.
        """
