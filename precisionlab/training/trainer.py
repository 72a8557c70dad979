"""The loop: the phases of a recipe in order, from as many random starts as it takes.

An attempt ends when a phase stalls; the next begins from other weights, drawn from the same seed. The best weights by
validation error are kept. The loop may stop between any two rows of metrics and go on from there, bit for bit.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from precisionlab.config import kind_of
from precisionlab.training.objective import Objective
from precisionlab.training.phase import Outcome, Phase, PhaseRun, Place, State

Row = dict[str, Any]


@dataclass(kw_only=True)
class Progress:
    """Where a run stands; all that is needed to go on.

    Args:
        place: The attempt and phase that are next or under way.
        phase_state: The state of the phase under way, or None at its start.
        theta: Where the phase starts from, or None at the start of an attempt.
        best: The best parameters so far.
        best_mse: Their validation error.
        rows: Metrics so far.
        elapsed: Seconds of training so far.
        ended: How the run ended, or None while it goes on.
    """

    place: Place = field(default_factory=lambda: Place(attempt=0, phase=0))
    phase_state: State | None = None
    theta: torch.Tensor | None = None
    best: torch.Tensor | None = None
    best_mse: float = float("inf")
    rows: list[Row] = field(default_factory=list)
    elapsed: float = 0.0
    ended: Outcome | None = None

    def to(self, device: str) -> "Progress":
        """The same with its tensors on a device."""

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, torch.Tensor) else value

        state = self.phase_state and {name: moved(value) for name, value in self.phase_state.items()}
        return replace(self, theta=moved(self.theta), best=moved(self.best), phase_state=state)


def fit(
    objective: Objective,
    phases: Sequence[Phase],
    *,
    attempts: int,
    progress: Progress,
    stop: Callable[[float], bool] = lambda _: False,
    on_row: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Train until the recipe ends or the time is up.

    Args:
        objective: What is minimised.
        phases: The recipe.
        attempts: The most random starts.
        progress: Where to go on from; brought up to date after every row, and whole even when an exception, a
            keyboard interrupt among them, ends the loop.
        stop: Asked after every row whether to stop, given the seconds of this call; the run can go on later.
        on_row: Called after every row.

    Raises:
        ValueError: If the parameters are no longer finite; `progress` is then still at the row before.
    """  # noqa: DOC502 - raised by what this calls
    start, before = time.perf_counter(), progress.elapsed
    run: PhaseRun | None = None
    while progress.ended is None:
        phase = phases[progress.place.phase]
        run = run or enter(objective, phase, progress)
        row = _judged(run.advance(), objective, run, phase)
        elapsed = time.perf_counter() - start
        changes = _recorded(progress, run, kind_of(phase), row, before + elapsed)
        if run.outcome is not None:
            changes |= _moved_on(progress.place, run, phases=len(phases), attempts=attempts)
        vars(progress).update(changes)  # one operation: an interrupt finds all of it done, or none
        on_row(progress)
        if stop(elapsed):
            return
        run = run if run.outcome is None else None


def enter(objective: Objective, phase: Phase, progress: Progress) -> PhaseRun:
    """A phase at work, where the run stands.

    Args:
        objective: What is minimised in the end.
        phase: The phase under way.
        progress: Where the run stands; at the start of an attempt it is given weights.

    Returns:
        The phase, on its own task.
    """
    if progress.theta is None:
        progress.theta = objective.initial(progress.place.attempt)
    easier = getattr(phase, "easier", None)
    run = phase.start(objective.eased(easier) if easier else objective, progress.theta, progress.place)
    if progress.phase_state is not None:
        run.restore(progress.phase_state)
    return run


def _judged(row: Row, objective: Objective, run: PhaseRun, phase: Phase) -> Row:
    """A row whose error is that of the whole task, whatever its phase trains on."""
    if not getattr(phase, "easier", None):
        return row
    return row | {"eased_mse": row["mse"], "mse": objective.validation_mse(run.theta)}


def _recorded(progress: Progress, run: PhaseRun, kind: str, row: Row, elapsed: float) -> dict[str, Any]:
    """What a row of metrics changes."""
    tagged = {"attempt": progress.place.attempt, "phase": kind, "step": run.step, "elapsed": round(elapsed, 3), **row}
    state = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in run.state().items()}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and not bool(value.isfinite().all()):
            raise ValueError(f"{kind}, step {run.step}: {name} is no longer finite; try a smaller learning rate")
    changes: dict[str, Any] = {"rows": [*progress.rows, tagged], "phase_state": state, "elapsed": elapsed}
    if row["mse"] < progress.best_mse:
        changes |= {"best": run.theta.clone(), "best_mse": row["mse"]}
    return changes


def _moved_on(place: Place, run: PhaseRun, *, phases: int, attempts: int) -> dict[str, Any]:
    """What the end of a phase changes: on to the next phase, the next attempt, or the end."""
    stalled = run.outcome is Outcome.STALLED
    if place.attempt + 1 == attempts if stalled else place.phase + 1 == phases:
        return {"ended": run.outcome}
    if stalled:
        return {"place": Place(attempt=place.attempt + 1, phase=0), "theta": None, "phase_state": None}
    following = Place(attempt=place.attempt, phase=place.phase + 1)
    return {"place": following, "theta": run.theta.clone(), "phase_state": None}
