"""A run: what training leaves behind, in memory and in a directory.

config.toml        reproduces the run        environment.json   what could change its bits
metrics.jsonl      one row a log step        model.safetensors  the best weights so far
card.json          what it is, measured      state/             all that resume needs
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass as checked

from precisionlab import config as configs
from precisionlab.config import STRICT
from precisionlab.experiments.experiment import Experiment
from precisionlab.models import Backbone
from precisionlab.precision import DTYPES, environment
from precisionlab.training.checkpoints import load_checkpoint, save_checkpoint, write_atomically
from precisionlab.training.objective import Objective
from precisionlab.training.phase import Outcome, Place
from precisionlab.training.trainer import Progress

CONFIG, ENVIRONMENT, METRICS, MODEL, CARD = (
    "config.toml",
    "environment.json",
    "metrics.jsonl",
    "model.safetensors",
    "card.json",
)
STATE = "state/checkpoint.safetensors"


@checked(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """All that reproduces a run.

    Args:
        experiment: What was trained, overrides applied.
        seed: Of weights and data.
        device: Where.
    """

    experiment: Experiment
    seed: NonNegativeInt = 0
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint is, and how good it was measured to be.

    Args:
        name: The experiment's name.
        summary: One line.
        dtype: Of the weights.
        parameters: Their number.
        seed: Of the run.
        test_mse: On fresh problems, above the model's precision; None where the weights were never measured.
        test_problems: How many.
        ended: "reached" (the floor), "stalled", "exhausted" or "unfinished".
        attempts: Random starts taken.
        seconds: Training time.
        command: What makes it.
    """

    name: str
    summary: str
    dtype: str
    parameters: int
    seed: int
    test_mse: float | None
    test_problems: int
    ended: str
    attempts: int
    seconds: float
    command: str

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in asdict(self).items())
        return f"<table>{rows}</table>"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """A trained model with its history.

    Args:
        model: Prompt in, answer out; in evaluation mode, its parameters do not ask for gradients.
        experiment: What was trained.
        metrics: One row a log step.
        card: What it is, measured.
        directory: Where it lies, if anywhere.
    """

    model: Backbone
    experiment: Experiment
    metrics: pd.DataFrame
    card: Card
    directory: Path | None = None

    def __repr__(self) -> str:
        mse = "not measured" if self.card.test_mse is None else f"{self.card.test_mse:.1e}"
        return (
            f"Run({self.card.name!r}, seed={self.card.seed}, {self.card.dtype}, {self.card.parameters} parameters, "
            f"test MSE {mse}, {self.card.ended} after {self.card.seconds:.0f} s)"
        )

    def _repr_html_(self) -> str:
        return self.card._repr_html_()


def build(experiment: Experiment, weights: dict[str, torch.Tensor], *, device: str, source: str) -> Backbone:
    """The model of an experiment, with given weights.

    Args:
        experiment: What was trained.
        weights: By parameter name.
        device: Where it shall compute.
        source: Where the weights came from, for the error.

    Returns:
        The model.

    Raises:
        ValueError: If the weights are not this model's.
    """
    model = Backbone(
        experiment.model,
        in_features=experiment.task.in_features,
        out_features=experiment.task.out_features,
        tokens=experiment.task.tokens,
        dtype=DTYPES[experiment.dtype],
    )
    expected = {name: (parameter.shape, parameter.dtype) for name, parameter in model.named_parameters()}
    for name in sorted(expected.keys() | weights.keys()):
        got = (weights[name].shape, weights[name].dtype) if name in weights else None
        if got != expected.get(name):
            raise ValueError(f"{source}: weight {name!r} is {_described(got)}, want {_described(expected.get(name))}")
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval().to(device)


def _described(tensor: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor[0])} {str(tensor[1]).removeprefix('torch.')}"


class RunDirectory:
    """A run's files.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def started(self) -> bool:
        """Whether a run lies here."""
        return (self.path / CONFIG).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training here.

        Yields:
            Nothing.

        Raises:
            ValueError: If another process is training here.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise ValueError(f"{self.path}: another process is training here") from None
        finally:
            os.close(descriptor)

    def begin(self, config: RunConfig) -> None:
        """Write what is known before training.

        Args:
            config: The run's.
        """
        write_atomically(self.path / CONFIG, configs.dumps(config).encode())
        facts = environment(config.device)
        write_atomically(self.path / ENVIRONMENT, json.dumps(facts, indent=2).encode())

    def config(self) -> RunConfig:
        """The run's configuration.

        Returns:
            It.

        Raises:
            ValueError: If it is missing or malformed.
        """
        path = self.path / CONFIG
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not readable ({error})") from None
        return configs.loads(RunConfig, text, source=str(path))

    def save(self, progress: Progress, objective: Objective) -> None:
        """Write the metrics, the best weights and the state; the state last, since it is what resume believes.

        Args:
            progress: Where the run stands.
            objective: Knows the weights by name.
        """
        lines = "".join(json.dumps(row) + "\n" for row in progress.rows)
        write_atomically(self.path / METRICS, lines.encode())
        if progress.best is not None:
            measured = {"validation_mse": progress.best_mse}
            save_checkpoint(self.path / MODEL, objective.named(progress.best), measured)
        tensors: dict[str, torch.Tensor | None] = {
            "theta": progress.theta,
            "best": progress.best,
            **_tensors(progress.phase_state or {}),
        }
        facts: dict[str, Any] = {
            "attempt": progress.place.attempt,
            "phase": progress.place.phase,
            "phase_state": _numbers(progress.phase_state) if progress.phase_state is not None else None,
            "best_mse": progress.best_mse if progress.best is not None else None,
            "rows": progress.rows,
            "elapsed": progress.elapsed,
            "ended": progress.ended,
        }
        save_checkpoint(self.path / STATE, {k: v for k, v in tensors.items() if v is not None}, facts)

    def progress(self, device: str) -> Progress:
        """Where the run stood when it was last saved.

        Args:
            device: Where it shall go on.

        Returns:
            Progress for `fit`; a fresh one where nothing was saved.
        """
        path = self.path / STATE
        if not path.exists():
            return Progress()
        tensors, facts = load_checkpoint(path)
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        state = facts["phase_state"]
        if state is not None:
            prefix = "phase."
            state |= {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        return Progress(
            place=Place(attempt=facts["attempt"], phase=facts["phase"]),
            phase_state=state,
            theta=tensors.get("theta"),
            best=tensors.get("best"),
            best_mse=facts["best_mse"] if facts["best_mse"] is not None else float("inf"),
            rows=facts["rows"],
            elapsed=facts["elapsed"],
            ended=None if facts["ended"] is None else Outcome(facts["ended"]),
        )

    def write_card(self, card: Card) -> None:
        """Write the card.

        Args:
            card: It.
        """
        write_atomically(self.path / CARD, json.dumps(asdict(card), indent=2, ensure_ascii=False).encode())

    def load(self, *, device: str | None = None) -> Run:
        """Read the run.

        Args:
            device: Where the model shall compute; None for where it was trained.

        Returns:
            The run, with the best weights.

        Raises:
            ValueError: If a file is missing or malformed.
        """
        config = self.config()
        weights, _ = load_checkpoint(self.path / MODEL)
        model = build(config.experiment, weights, device=device or config.device, source=str(self.path / MODEL))
        try:
            card = Card(**json.loads((self.path / CARD).read_text(encoding="utf-8")))
            metrics = pd.read_json(self.path / METRICS, lines=True)
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: not a readable run ({error})") from None
        return Run(model=model, experiment=config.experiment, metrics=metrics, card=card, directory=self.path)


def _tensors(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {f"phase.{name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _numbers(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not isinstance(value, torch.Tensor)}
