"""Errors measured above their subject's precision."""

import torch

from precisionlab.tasks.task import PairTask, Task
from solvers._core import double_double as dd
from solvers._core.double_double import DD

PROBLEMS_AT_ONCE = 512
"""Prompts whose exact answers are computed at once: double-double arithmetic takes many times their memory."""


def exact(task: Task, prompt: torch.Tensor) -> DD:
    """The exact answers to prompts, as precisely as their task knows them.

    Args:
        task: What was asked.
        prompt: Tokens, (B, T, F).

    Returns:
        Targets as unevaluated sums of two float64 numbers.
    """
    parts = [_exact(task, part) for part in torch.split(prompt, PROBLEMS_AT_ONCE)]
    return DD(*(torch.cat(halves) for halves in zip(*parts, strict=True)))


def mean_squared_error(task: Task, prediction: torch.Tensor, answer: DD | torch.Tensor) -> torch.Tensor:
    """The mean squared error of what a model emitted.

    Args:
        task: What was asked.
        prediction: What was emitted, float32 or float64, (B, E) or (B, T, E).
        answer: What `exact` returned; or the prompts that were read, (B, T, F).

    Returns:
        Mean over all that was asked for, a float64 scalar.
    """
    target = exact(task, answer) if isinstance(answer, torch.Tensor) else answer
    # The first difference is exact as a pair, and cancels where the prediction is near.
    difference = dd.two_sum(prediction.double(), -target.hi)
    rest = (difference.lo - target.lo).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)  # where the first overflowed
    error = difference.hi + rest
    asked: slice = getattr(task, "asked", slice(None))
    return (error[:, asked] if error.dim() == 3 else error).square().mean()


def _exact(task: Task, prompt: torch.Tensor) -> DD:
    return task.exact_pair(prompt) if isinstance(task, PairTask) else dd.from_double(task.exact(prompt))
