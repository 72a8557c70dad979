"""A grid: many runs, and a table with a row for each that has ended.

A cell is an experiment with a seed. Its key is made of the whole of both, so a changed width is another run, and no row
is ever taken for that of other settings. Cells run side by side, in processes of this machine or on a Ray cluster, each
in a run directory of its own beside the table. A grid that was stopped, by whatever, goes on when it is started again:
what has ended is left as it is, what had begun goes on from where it was.
"""

import hashlib
import itertools
import json
import logging
import math
import os
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field, NonNegativeInt

from precisionlab import config as configs
from precisionlab import plugins
from precisionlab.config import settings
from precisionlab.experiments import Experiment, get
from precisionlab.overrides import override
from precisionlab.runs.directory import ENVIRONMENT, Occupied, RunDirectory
from precisionlab.runs.files import read_text, write_atomically
from precisionlab.runs.run import Card, RunConfig
from precisionlab.runs.tables import read_table, write_table
from precisionlab.runs.training import run_config, train

RUNS = "runs"
LARGEST_GRID = 10_000
SECONDS_TO_VACATE = 60
"""How long a run directory is waited for whose process belongs to a grid that was just killed."""
TARGETS = 2048
"""Problems over which the mean square of a task's targets is taken."""
TEXT = ("key", "ended", "environment", "directory")
SAID_OF_IT = ("name", "cost")
"""Settings of an experiment that describe it and change no bit of its runs."""

Label = str | int | float | bool
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a grid.

    Args:
        experiment: A name, or an experiment.
        seed: Of weights and data.
        settings: Overrides, by the name of a setting.
        labels: Columns that tell it from the others; None takes the settings.
        time_limit: Seconds it may take; None for as long as its recipe does. One with a limit that was killed starts
            from the beginning.
        device: A torch device.
    """

    experiment: str | Experiment
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Label] | None = None
    time_limit: float | None = None
    device: str = "cpu"

    @cached_property
    def config(self) -> RunConfig:
        """All that reproduces the run, settings applied."""
        experiment = self.experiment if isinstance(self.experiment, Experiment) else get(self.experiment)
        return run_config(override(experiment, self.settings), seed=self.seed, device=self.device)

    @cached_property
    def key(self) -> str:
        """Digest of the whole experiment, seed, device and time limit, but not of what is merely said of it."""
        data = configs.to_dict(self.config) | {"time_limit": self.time_limit}
        del data["plugins"]  # where its classes were found
        data["experiment"] = {name: value for name, value in data["experiment"].items() if name not in SAID_OF_IT}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        told = "".join(f", {name} = {value}" for name, value in self._labelled.items())
        return f"{self.config.experiment.name}, seed {self.seed}{told}"

    @property
    def named(self) -> Row:
        """The first columns of its row."""
        return {"key": self.key, "experiment": self.config.experiment.name, "seed": self.seed, **self._labelled}

    @property
    def _labelled(self) -> Mapping[str, Label]:
        return self.settings if self.labels is None else self.labels


def grid(
    cells: Sequence[Cell],
    table: str | Path,
    *,
    processes: int | None = None,
    address: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train the cells that the table lacks, and write it after every one.

    Args:
        cells: What to run; no two alike.
        table: A CSV file. Run directories lie beside it in `runs/KEY`, environments in `environment.json`.
        processes: Runs at a time on this machine; None for one a core. One runs in this process, with its threads;
            more have a process of one thread each.
        address: Of a Ray cluster whose machines see the same folder; None stays on this machine.
        progress: Whether a line is printed for every cell that ends.

    Returns:
        A row a cell, in their order: key, experiment, seed, labels, parameters, test_mse, target_mean_square,
        attempts, seconds, ended, environment (a key of environment.json) and directory. A cell that failed says why
        under `ended`, and is run again the next time. Rows of other cells stay in the file.

    Raises:
        ValueError: If two cells are alike, there are too many, a setting is not allowed, or Ray is not installed.
        Occupied: If another grid is running beside the same table.
    """  # noqa: DOC502 - the last is raised by what this calls
    path = Path(table).absolute()
    keys = [cell.key for cell in cells]
    if len(cells) > LARGEST_GRID:
        raise ValueError(f"{len(cells)} runs, want at most {LARGEST_GRID}")
    if len(set(keys)) < len(keys):
        twice = next(cell for cell in cells if keys.count(cell.key) > 1)
        raise ValueError(f"a run occurs twice: {twice}")
    runs = RunDirectory(path.parent / RUNS)
    rows = saved(path)
    pending = [cell for cell in cells if not _ended(rows.get(cell.key))]
    if pending:
        with runs.locked():
            executed = _on_ray(pending, path, address) if address else _in_processes(pending, path, processes)
            for cell, fault in executed:
                rows[cell.key] = _row(cell, path, fault)
                _write(path, rows, cells)
                if progress:
                    done = sum(_ended(rows.get(key)) for key in keys)
                    how = f"test MSE {rows[cell.key]['test_mse']:.1e}" if fault is None else fault
                    print(f"{done}/{len(cells)} {cell}: {how}", file=sys.stderr, flush=True)
    return pd.DataFrame([{**cell.named, **rows[cell.key], **cell.named} for cell in cells])


def saved(table: str | Path) -> dict[str, Row]:
    """What a table holds.

    Args:
        table: A CSV file; it need not exist.

    Returns:
        Rows by key, every number to its last bit.
    """
    path = Path(table)
    if not path.exists():
        return {}
    frame = read_table(path, text=TEXT)
    return {str(row["key"]): {str(name): value for name, value in row.items()} for row in frame.to_dict("records")}


def _ended(row: Row | None) -> bool:
    return row is not None and not str(row["ended"]).startswith("failed")


def _row(cell: Cell, table: Path, fault: str | None) -> Row:
    """What a run came to; its environment is added to the table's."""
    directory = _directory(cell, table)
    row = {**cell.named, "parameters": cell.config.experiment.parameters, "test_mse": float("nan")}
    row |= {"target_mean_square": _target_mean_square(cell.config.experiment), "attempts": 0, "seconds": 0.0}
    if fault is not None:
        return row | {"ended": f"failed: {fault}", "environment": "", "directory": ""}
    card = directory.card()
    measured = {name: getattr(card, name) for name in ("parameters", "test_mse", "attempts", "seconds", "ended")}
    environment = json.loads(read_text(directory.path / ENVIRONMENT))
    place = directory.path.relative_to(table.parent).as_posix()
    return row | measured | {"environment": remember(environment, table.parent), "directory": place}


def remember(environment: Mapping[str, Any], folder: Path) -> str:
    """Keep what something was measured in, in `environment.json`.

    Args:
        environment: Versions, processor, threads and flags, as they were while measuring.
        folder: Where the results lie.

    Returns:
        Its key in the file.
    """
    path = folder / ENVIRONMENT
    known = json.loads(read_text(path)) if path.exists() else {}
    key = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:8]
    if key not in known:
        write_atomically(path, json.dumps({**known, key: environment}, indent=2, ensure_ascii=False) + "\n")
    return key


def _target_mean_square(experiment: Experiment) -> float:
    generator = torch.Generator().manual_seed(0)
    targets = experiment.task.sample(TARGETS, generator=generator, dtype=torch.float64).target
    return float(targets.square().mean())


def _write(table: Path, rows: Mapping[str, Row], cells: Sequence[Cell]) -> None:
    """Write the rows: those of the cells first, in their order."""
    order = {cell.key: place for place, cell in enumerate(cells)}
    ordered = sorted(rows.values(), key=lambda row: order.get(str(row["key"]), len(order)))
    write_table(table, pd.DataFrame(ordered))


def _directory(cell: Cell, table: Path) -> RunDirectory:
    return RunDirectory(table.parent / RUNS / cell.key)


def _in_processes(cells: Sequence[Cell], table: Path, processes: int | None) -> Iterator[tuple[Cell, str | None]]:
    """Run cells in processes of this machine; each as it ends, with what went wrong if anything did."""
    count = min(processes or len(os.sched_getaffinity(0)), len(cells))
    if count == 1:
        yield from ((cell, _train(cell, table)) for cell in cells)
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(_plugins(cells),))
    with pool:
        with _main_left_alone(cells):
            running = {pool.submit(_train, cell, table): cell for cell in cells}
        try:
            for done in as_completed(running):
                try:
                    yield running[done], done.result()
                except BrokenExecutor:
                    yield running[done], "a process was lost; start the grid again"
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _main_left_alone(cells: Sequence[Cell]) -> Iterator[None]:
    """Let new processes not run the main script again, which may lack a guard, unless cells are made of its classes."""
    main = vars(sys.modules["__main__"])
    hidden = {} if b"__main__" in pickle.dumps(list(cells)) else {"__spec__": None, "__file__": None}
    kept = {name: main[name] for name in hidden if name in main}
    main.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del main[name]
        main.update(kept)


def _plugins(cells: Sequence[Cell]) -> list[str]:
    """Files that a new process has to run before it can be sent a cell; a module is found by its name."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    named = {name for cell in cells for name in cell.config.plugins}
    return sorted(str(Path(name).resolve()) for name in named if name.endswith(".py") and name != main)


def _begin(files: Sequence[str]) -> None:
    """Compute with one thread, and end when the grid's own process does, even where that was killed."""
    torch.set_num_threads(1)
    parent = parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    for file in files:
        plugins.use(file)


def _on_ray(cells: Sequence[Cell], table: Path, address: str) -> Iterator[tuple[Cell, str | None]]:
    """Run cells on a cluster; each as it ends, with what went wrong if anything did."""
    try:
        import ray
    except ImportError:
        raise ValueError("a grid on a cluster needs Ray: pip install 'precisionlab[sweep]'") from None
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        remote = ray.remote(num_cpus=1, num_gpus=float(cells[0].device.startswith("cuda")))(_train)
        waiting = {remote.remote(cell, table): cell for cell in cells}
        while waiting:
            (ended, *_), _ = ray.wait(list(waiting))
            cell = waiting.pop(ended)
            try:
                yield cell, ray.get(ended)
            except ray.exceptions.RayError as error:  # the process was lost, not the run
                yield cell, str(error).splitlines()[0]
    finally:
        ray.shutdown()


def _train(cell: Cell, table: Path) -> str | None:
    """Run one cell, or go on with it; what went wrong, if anything did."""
    directory, deadline = _directory(cell, table), time.monotonic() + SECONDS_TO_VACATE
    while True:
        card = _card(directory)
        if card is not None and (cell.time_limit is not None or card.ended != "unfinished"):
            return None
        try:
            if cell.time_limit is not None and directory.started:
                with directory.locked():
                    pass  # nobody else's
                shutil.rmtree(directory.path)
            train(
                cell.config.experiment,
                seed=cell.seed,
                device=cell.device,
                run_dir=directory.path,
                time_limit=cell.time_limit,
                resume=directory.started,
                progress=False,
            )
        except Occupied as error:
            if time.monotonic() > deadline:
                return str(error)
            time.sleep(0.5)
        except (ValueError, OSError) as error:
            return str(error)
        except Exception as error:  # of a task or a mixer of one's own: the other cells go on
            return f"{type(error).__name__}: {error}"
        else:
            return None


def _card(directory: RunDirectory) -> Card | None:
    try:
        return directory.card()
    except ValueError:
        return None


@settings
class GridConfig:
    """A grid as a file: every combination of experiments, settings and seeds is a cell.

    Args:
        experiments: Their names, or ``path/to/file.py:NAME``.
        seeds: Of weights and data.
        settings: Values by the name of a setting, as for an override.
        device: Where each run computes.
    """

    experiments: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    settings: dict[str, Annotated[tuple[bool | int | float | str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    device: str = "cpu"

    def cells(self) -> list[Cell]:
        """The combinations."""
        if (count := math.prod(map(len, (self.experiments, self.seeds, *self.settings.values())))) > LARGEST_GRID:
            raise ValueError(f"{count} runs, want at most {LARGEST_GRID}")
        return [
            Cell(experiment=name, seed=seed, settings=dict(zip(self.settings, values, strict=True)), device=self.device)
            for name, values, seed in itertools.product(
                self.experiments, itertools.product(*self.settings.values()), self.seeds
            )
        ]
