"""A progress bar whose length is decades of error, not steps: it is full at the floor of the arithmetic."""

import math
from types import TracebackType
from typing import Self

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from precisionlab.training import trainer
from precisionlab.training.objective import Objective


class ProgressDisplay:
    """Shows a run's error falling, on a terminal or in a notebook; elsewhere one line where a phase begins.

    Args:
        objective: Knows where the error starts and where the floor is.
        visible: Whether to show anything.
    """

    def __init__(self, objective: Objective, *, visible: bool) -> None:
        self._start = math.log10(objective.target_mean_square())
        floor = self._start + 2 * math.log10(torch.finfo(objective.dtype).eps)
        self._visible, self._console = visible, Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("MSE {task.fields[mse]:.1e} → " + f"{10**floor:.0e}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not (visible and (self._console.is_terminal or self._console.is_jupyter)),
        )
        self._decades = self._start - floor
        self._task: TaskID | None = None
        self._announced: tuple[int, str] | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("starting", total=self._decades, mse=10**self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, progress: trainer.Progress) -> None:
        """Show the last row of metrics."""
        row = progress.rows[-1]
        where = (row["attempt"], row["phase"])
        if self._visible and self._bar.disable and where != self._announced:
            self._announced = where
            self._console.print(
                f"start {row['attempt'] + 1}, {row['phase']}: MSE {row['mse']:.1e} at {row['elapsed']:.0f} s",
                highlight=False,
            )
        if self._visible and row.get("rejected"):
            self._console.print(f"{row['phase']} {row['step']}: {row['rejected']} steps rejected")
        assert self._task is not None
        mse = row["mse"]
        fallen = self._start - math.log10(mse) if 0 < mse < math.inf else 0.0
        label = f"{row['phase']} {row['step']}" + (f", start {row['attempt'] + 1}" if row["attempt"] else "")
        self._bar.update(self._task, description=label, completed=max(0.0, fallen), mse=mse)
