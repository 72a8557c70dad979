"""A run's directory.

config.toml        reproduces the run        environment.json   what could change its bits
metrics.jsonl      one row a log step        model.safetensors  the best weights so far
card.json          what it is, measured      state/             all that resume needs

The state is what resume believes. Metrics and weights are made from it after it is written, and once more when a run is
resumed, so that a cut between two files leaves nothing doubled or missing. `elapsed` in the metrics is the one column
that is measured and not computed: two runs of the same bits differ in it and in nothing else.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from precisionlab import config as configs
from precisionlab.config import UnknownKind
from precisionlab.precision import check_device, environment
from precisionlab.runs.checkpoints import load_checkpoint, save_checkpoint
from precisionlab.runs.files import make_folder, read_text, remove_drafts, write_atomically
from precisionlab.runs.run import Card, Run, RunConfig, build
from precisionlab.runs.state import load_progress, save_progress
from precisionlab.training import Objective, Phase, distributed
from precisionlab.training.trainer import Progress

CONFIG, ENVIRONMENT, METRICS, MODEL, CARD = (
    "config.toml",
    "environment.json",
    "metrics.jsonl",
    "model.safetensors",
    "card.json",
)
STATE, LOCK = "state", ".lock"
METRICS_BYTES = 2**28
"""The largest table of metrics that is read."""

_log = logging.getLogger(__name__)


class Occupied(ValueError):
    """Another process is training in the directory."""


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
        """Keep every other process from training here, and clear away what a killed one left half-written."""
        import fcntl

        make_folder(self.path)
        lock = self.path / LOCK
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                # Bound to the open file: the system gives it back when the process ends, by whatever. So the file may
                # stay, and must: a new one in its place would be another lock.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Occupied(f"{self.path}: another process is training here") from None
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(lock)) from None
            remove_drafts(self.path)
            remove_drafts(self.path / STATE)
            yield
        finally:
            os.close(descriptor)

    def begin(self, config: RunConfig) -> None:
        """Write what is known before training; the configuration last, since it is what makes this a run."""
        write_atomically(
            self.path / ENVIRONMENT,
            json.dumps(environment(config.device, processes=distributed.size()), indent=2).encode(),
        )
        write_atomically(self.path / CONFIG, configs.dumps(config).encode())

    def config(self) -> RunConfig:
        """The run's configuration."""
        path = self.path / CONFIG
        data = configs.parsed(read_text(path), source=str(path))
        try:
            return configs.from_dict(RunConfig, data, source=str(path))
        except UnknownKind as error:
            raise ValueError(f"{error}{_what_to_import(data.get('plugins'))}") from None

    def save(self, progress: Progress, objective: Objective) -> None:
        """Write the state, then what is made from it."""
        save_progress(self.path / STATE, progress)
        self._publish(progress, objective)

    def progress(self, objective: Objective, phases: Sequence[Phase], *, attempts: int) -> Progress:
        """Where the run stood when it was last saved; its metrics and weights are brought to the same point."""
        progress = load_progress(self.path / STATE, objective, phases, attempts=attempts)
        self._publish(progress, objective)
        return progress

    def warn_of_changes(self) -> None:
        """Say what could change a resumed run's bits."""
        now = json.loads(json.dumps(environment(self.config().device, processes=distributed.size())))
        try:
            before = json.loads(read_text(self.path / ENVIRONMENT))
            changed = [key for key in now if now[key] != before.get(key)]
        except (ValueError, AttributeError, RecursionError) as error:
            _log.warning("%s: not readable (%s)", self.path / ENVIRONMENT, error)
            return
        if changed:
            told = ", ".join(f"{key} was {before.get(key)}, is {now[key]}" for key in changed)
            _log.warning("%s: the bits may differ from those of one uninterrupted run: %s", self.path, told)

    def _publish(self, progress: Progress, objective: Objective) -> None:
        (self.path / CARD).unlink(missing_ok=True)  # it describes other weights
        lines = "".join(json.dumps(row) + "\n" for row in progress.rows)
        write_atomically(self.path / METRICS, lines.encode())
        if progress.best is not None:
            measured = {"validation_mse": progress.best_mse}
            save_checkpoint(self.path / MODEL, objective.named(progress.best), measured)

    def write_card(self, card: Card) -> None:
        """Write the card."""
        write_atomically(self.path / CARD, json.dumps(asdict(card), indent=2, ensure_ascii=False).encode())

    def load(self, *, device: str | None = None) -> Run:
        """Read the run."""
        config = self.config()
        check_device(device or config.device)
        if not (self.path / CARD).exists():
            raise ValueError(f"{self.path}: no {CARD}: the run has not ended; resume it")
        card, metrics = self.card(), self._metrics()
        source = str(self.path / MODEL)
        weights, _ = load_checkpoint(self.path / MODEL, numbers=config.experiment.parameters)
        model = build(config.experiment, weights, device=device or config.device, source=source)
        truth = {
            "name": config.experiment.name,
            "dtype": config.experiment.dtype,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "seed": config.seed,
        }
        for key, value in truth.items():
            if getattr(card, key) != value:
                raise ValueError(f"{self.path / CARD}: {key} is {getattr(card, key)!r}, the run's is {value!r}")
        return Run(model=model, experiment=config.experiment, metrics=metrics, card=card, directory=self.path)

    def card(self) -> Card:
        """Read the card."""
        path = self.path / CARD
        text = read_text(path)
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not valid JSON ({error})") from None
        return configs.from_dict(Card, facts, source=str(path))

    def _metrics(self) -> pd.DataFrame:
        path = self.path / METRICS
        text = read_text(path, limit=METRICS_BYTES)
        try:
            # Not pandas.read_json, which reads the last digit of a float wrong.
            rows = [dict(json.loads(line)) for line in text.splitlines()]
        except (ValueError, RecursionError, TypeError) as error:
            raise ValueError(f"{path}: not a row of JSON a line ({error})") from None
        return pd.DataFrame(rows)


def _what_to_import(plugins: Any) -> str:
    """The end of an error about a kind that nothing here defines; the file's word is passed on, and not acted on."""
    if not isinstance(plugins, list) or not plugins:
        return ""
    names = [str(name)[:200] for name in plugins[:10]]
    told = " ".join(f"--plugin {name}" for name in names)
    return f". This run was made with {', '.join(names)}: import that first, or give {told}"
