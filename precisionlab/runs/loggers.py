"""Rows of metrics sent on as they come, to TensorBoard or Weights & Biases.

Both are extras, and neither is used unless it is asked for. Their files are written into the run directory; nothing
leaves the machine. Weights & Biases is told to be offline unless the environment variable WANDB_MODE says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from precisionlab.config import near_miss
from precisionlab.runs.run import RunConfig
from precisionlab.training.trainer import Progress

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Logger(Protocol):
    """Where rows go."""

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Take a row.

        Args:
            values: Numbers by name.
            step: The row's number in the run, from 0.
        """

    def close(self) -> None:
        """Write what is still held back."""


class TensorBoard:
    """Events in the folder ``tensorboard`` of the run.

    Args:
        folder: The run directory.
        config: Unused: TensorBoard is shown numbers alone.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import tensorboard  # noqa: F401 - torch's own message about its absence names no extra

        del config
        self._folder = folder / "tensorboard"
        self._writer: SummaryWriter | None = None

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Take a row."""
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            # Rows that a killed run had logged, but not saved, are computed again and take the place of the old ones.
            self._writer = SummaryWriter(str(self._folder), purge_step=step or None)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held back."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of the project ``precisionlab``, in the folder ``wandb`` of the run; offline by default.

    Args:
        folder: The run directory.
        config: Logged with the run.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        import wandb

        self._run = wandb.init(
            project="precisionlab",
            name=f"{config.experiment.name} seed {config.seed}",
            dir=folder,
            config=asdict(config),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Take a row."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is still held back."""
        self._run.finish()


LOGGERS: dict[str, Callable[[Path, RunConfig], Logger]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


@contextmanager
def opened(kind: str | None, folder: Path, config: RunConfig) -> Iterator[Callable[[Progress], None]]:
    """Open a logger for the time of a training.

    Args:
        kind: One of ``LOGGERS``; None for none.
        folder: The run directory.
        config: The run's.

    Yields:
        What is to be called after every row of metrics.

    Raises:
        ValueError: If there is no such logger, or its extra is not installed.
    """
    if kind is None:
        yield lambda _: None
        return
    if kind not in LOGGERS:
        raise ValueError(f"unknown logger {kind!r}: {near_miss(kind, sorted(LOGGERS))}")
    try:
        logger = LOGGERS[kind](folder, config)
    except ImportError:
        raise ValueError(f"log: {kind} is not installed; pip install 'precisionlab[{kind}]'") from None
    try:
        yield lambda progress: logger.write(_numbers(progress.rows[-1]), len(progress.rows) - 1)
    finally:
        logger.close()


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
