"""Progress on the disk: the last checkpoint and the one before it.

Where the last cannot be read, the one before it is taken. Training is deterministic, so that costs time and no bits.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from precisionlab.runs.checkpoints import load_checkpoint, save_checkpoint
from precisionlab.training.objective import Objective
from precisionlab.training.phase import Outcome, Phase, Place
from precisionlab.training.trainer import Progress, enter

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
VECTORS = 8
"""More vectors of parameters than any phase keeps."""

_log = logging.getLogger(__name__)


def save_progress(folder: Path, progress: Progress) -> None:
    """Write a checkpoint, and keep the one before it.

    Args:
        folder: Where to.
        progress: Where the run stands.
    """
    state = progress.phase_state
    tensors = {"theta": progress.theta, "best": progress.best}
    tensors |= {f"phase.{name}": value for name, value in (state or {}).items() if isinstance(value, torch.Tensor)}
    facts = {
        "attempt": progress.place.attempt,
        "phase": progress.place.phase,
        "phase_state": None if state is None else {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)},
        "best_mse": progress.best_mse,
        "rows": progress.rows,
        "elapsed": progress.elapsed,
        "ended": progress.ended,
    }
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_checkpoint(folder / CHECKPOINT, present, facts, previous=folder / PREVIOUS)


def load_progress(folder: Path, objective: Objective, phases: Sequence[Phase], *, attempts: int) -> Progress:
    """Where the run stood when it was last saved.

    Args:
        folder: Where from.
        objective: What is minimised; knows the parameters' number, dtype and device.
        phases: The recipe.
        attempts: The most random starts.

    Returns:
        Progress for `fit`; a fresh one where nothing was saved.

    Raises:
        ValueError: If there are checkpoints and none of them can be read.
    """
    last, previous = folder / CHECKPOINT, folder / PREVIOUS
    if not last.exists() and not previous.exists():
        return Progress()
    try:
        return _read(last, objective, phases, attempts)
    except ValueError as error:
        if not previous.exists():
            raise ValueError(f"{error}; there is none before it: start again in another directory") from None
        fault = error
    try:
        progress = _read(previous, objective, phases, attempts)
    except ValueError as error:
        raise ValueError(f"{fault}; nor can the one before it: {error}; start again in another directory") from None
    _log.warning("%s; going on from the checkpoint before it", fault)
    os.replace(previous, last)  # so that the next save does not put the damaged one in the place of the good one
    return progress


def _read(path: Path, objective: Objective, phases: Sequence[Phase], attempts: int) -> Progress:
    tensors, facts = load_checkpoint(path, numbers=VECTORS * objective.parameters)
    for name, tensor in tensors.items():
        if tensor.shape != (objective.parameters,) or tensor.dtype != objective.dtype:
            got = f"{tuple(tensor.shape)} {tensor.dtype}"
            raise ValueError(f"{path}: {name} is {got}, want ({objective.parameters},) {objective.dtype}")
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} is not finite")
    tensors = {name: tensor.to(objective.device) for name, tensor in tensors.items()}
    try:
        progress = _assembled(tensors, facts)
        place = progress.place
        if not (0 <= place.attempt < attempts and 0 <= place.phase < len(phases)):
            raise ValueError(f"no such place as {place}")
        if progress.phase_state is not None:
            tensors["theta"]  # a phase under way has one
            enter(objective, phases[place.phase], progress)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: not the state of such a run ({type(error).__name__}: {error})") from None
    return progress


def _assembled(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> Progress:
    state, prefix = facts["phase_state"], "phase."
    if state is not None:
        state = {**state, **{k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}}
    return Progress(
        place=Place(attempt=int(facts["attempt"]), phase=int(facts["phase"])),
        phase_state=state,
        theta=tensors.get("theta"),
        best=tensors.get("best"),
        best_mse=float(facts["best_mse"]),
        rows=[dict(row) for row in facts["rows"]],
        elapsed=float(facts["elapsed"]),
        ended=None if facts["ended"] is None else Outcome(facts["ended"]),
    )
