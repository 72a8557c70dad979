"""What a task is: examples from a generator, and the exact answer to a prompt.

A class becomes a task by ``@task("its-kind")``, which makes it a frozen, strict, keyword-only dataclass that files can
name. It needs `sample` and `exact` (`Task`); sizes are read from a sample. What else it may have is listed at
`SolverTask`, `PairTask` and in the how-to.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, dataclass_transform, runtime_checkable

import torch
from pydantic import Field

from precisionlab.config import Registry
from solvers._core.double_double import DD
from solvers.learned.base import Step
from solvers.solver import Solver

T = TypeVar("T")

TASKS = Registry("task")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def task(kind: str) -> Callable[[type[T]], type[T]]:
    """Register a class as a task.

    Args:
        kind: What files call it.

    Returns:
        A decorator that makes the class a frozen, strict, keyword-only dataclass.
    """
    return TASKS.register(kind)


@dataclass(frozen=True)
class Example:
    """A batch of prompts and what the model should emit.

    Args:
        prompt: Tokens, (B, T, F).
        target: What to emit: one answer a prompt, (B, E), or one at each token, (B, T, E).
    """

    prompt: torch.Tensor
    target: torch.Tensor


class Task(Protocol):
    """A map from prompt to target that a model learns. The target is a function of the prompt alone.

    A task may have a ``summary``, what it asks for in half a line, and ``asked``, a slice of the tokens whose answers
    are measured, where not all are.
    """

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        """Draw a batch.

        Args:
            batch: Number of prompts, B.
            generator: A CPU generator; the same state gives the same batch.
            dtype: float32 or float64.

        Returns:
            The batch, on the CPU.
        """

    def exact(self, prompt: torch.Tensor) -> torch.Tensor:
        """The target of prompts (B, T, F) in float64; errors are measured against it."""


@runtime_checkable
class PairTask(Protocol):
    """A task whose answer is known above float64."""

    def exact_pair(self, prompt: torch.Tensor) -> DD:
        """The target of prompts (B, T, F), as an unevaluated sum of two float64 numbers."""


class FromPair:
    """What makes `exact` of `exact_pair`."""

    def exact(self: PairTask, prompt: torch.Tensor) -> torch.Tensor:
        """The target of prompts (B, T, F), rounded to float64."""
        return self.exact_pair(prompt).hi


@runtime_checkable
class SolverTask(Protocol):
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
        """What the solver is handed: the step of a model of this task, for problems rather than prompts."""
