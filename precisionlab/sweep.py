"""Sweeps: experiments × seeds × settings, each a run directory of its own, and one table at the end.

Ray runs them: an instance of its own on this machine, or a cluster that is already there (whose machines must see the
same folder). A sweep that was stopped, by whatever, is resumed by starting it again: runs that have ended are left as
they are, and the others go on from where they were.
"""

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, NonNegativeInt
from pydantic.dataclasses import dataclass as checked

from precisionlab import config as configs
from precisionlab import lab
from precisionlab.config import STRICT
from precisionlab.experiments import get
from precisionlab.files import read_text, write_atomically
from precisionlab.runs import Card, Occupied, RunConfig, RunDirectory

SWEEP, RESULTS = "sweep.toml", "results.csv"
LARGEST_SWEEP = 10_000
SECONDS_TO_VACATE = 60
"""How long a run directory is waited for whose process belongs to a sweep that was just killed."""


@checked(frozen=True, kw_only=True, config=STRICT)
class SweepConfig:
    """What is varied; every combination is a run.

    Args:
        experiments: Their names.
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


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run of a sweep.

    Args:
        experiment: Its name.
        seed: Of weights and data.
        settings: Overrides.
        device: Where it computes.
        directory: Where it lies.
    """

    experiment: str
    seed: int
    settings: Mapping[str, Any]
    device: str
    directory: Path

    def card(self) -> Card | None:
        """What the run came to.

        Returns:
            Its card, or None where it has not ended.
        """
        try:
            card = RunDirectory(self.directory).card()
        except ValueError:
            return None
        return None if card.ended == "unfinished" else card


def plan(config: SweepConfig, out: Path) -> list[Planned]:
    """The runs of a sweep.

    Args:
        config: What is varied.
        out: The sweep's directory.

    Returns:
        One for every combination, each setting checked.

    Raises:
        ValueError: If a name or a setting is not allowed, a run occurs twice, or there are too many.
    """
    count = len(config.experiments) * len(config.seeds)
    for values in config.settings.values():
        count *= len(values)
    if count > LARGEST_SWEEP:
        raise ValueError(f"{count} runs, want at most {LARGEST_SWEEP}")
    runs = list(_combinations(config, out))
    if len({run.directory for run in runs}) < len(runs):
        raise ValueError("a run occurs twice: an experiment, a seed or a value is listed more than once")
    for run in runs:
        RunConfig(experiment=configs.override(get(run.experiment), run.settings), seed=run.seed, device=run.device)
    return runs


def sweep(
    config: SweepConfig,
    out: Path,
    *,
    address: str | None = None,
    processes: int | None = None,
    on_end: Callable[[Planned, str], None] = lambda *_: None,
) -> pd.DataFrame:
    """Train every run that has not ended yet, and write the table.

    Args:
        config: What is varied.
        out: The sweep's directory; one that holds a sweep already must hold this one.
        address: Of a Ray cluster; None starts an instance on this machine.
        processes: Runs at a time on this machine; None for one a core.
        on_end: Called with every run that ends, and how.

    Returns:
        One row a run, as in results.csv.

    Raises:
        ValueError: If Ray is not installed, or the directory holds another sweep.
    """
    runs, text = plan(config, out), configs.dumps(config)
    with RunDirectory(out).locked():
        if (out / SWEEP).exists() and read_text(out / SWEEP) != text:
            raise ValueError(f"{out}: holds another sweep; choose another directory")
        write_atomically(out / SWEEP, text.encode())
        faults = {}
        pending = [run for run in runs if run.card() is None]
        for run, fault in _executed(pending, address, processes) if pending else ():
            faults[run.directory] = fault
            on_end(run, fault or "ended")
        table = pd.DataFrame([_row(run, faults.get(run.directory), out) for run in runs])
        write_atomically(out / RESULTS, table.to_csv(index=False).encode())
    return table


def _combinations(config: SweepConfig, out: Path) -> Iterator[Planned]:
    grid = [dict(zip(config.settings, values, strict=True)) for values in itertools.product(*config.settings.values())]
    for experiment, settings, seed in itertools.product(config.experiments, grid, config.seeds):
        # Settings have names too long and too strange for a folder; their digest has not.
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12] if settings else "as-is"
        directory = out / "runs" / experiment / name / f"seed-{seed}"
        yield Planned(
            experiment=experiment, seed=seed, settings=settings, device=config.device, directory=directory.absolute()
        )


def _executed(runs: list[Planned], address: str | None, processes: int | None) -> Iterator[tuple[Planned, str | None]]:
    """Train runs side by side; each as it ends, with what went wrong if anything did."""
    try:
        import ray
    except ImportError:
        raise ValueError("sweeps need Ray: pip install 'precisionlab[sweep]'") from None
    options = {"address": address} if address else {"num_cpus": processes, "include_dashboard": False}
    ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    try:
        train = ray.remote(num_cpus=1, num_gpus=float(runs[0].device.startswith("cuda")))(_train)
        waiting = {train.remote(run): run for run in runs}
        while waiting:
            (ended, *_), _ = ray.wait(list(waiting))
            run = waiting.pop(ended)
            try:
                yield run, ray.get(ended)
            except ray.exceptions.RayError as error:  # the process was lost, not the run
                yield run, str(error).splitlines()[0]
    finally:
        ray.shutdown()


def _train(run: Planned) -> str | None:
    """Train one run, or go on with it; what went wrong, if anything did."""
    directory, deadline = RunDirectory(run.directory), time.monotonic() + SECONDS_TO_VACATE
    while True:
        resume = directory.started
        settings = {} if resume else dict(run.settings)
        try:
            lab.train(
                run.experiment,
                seed=run.seed,
                device=run.device,
                run_dir=run.directory,
                resume=resume,
                progress=False,
                **settings,
            )
        except Occupied as error:
            if time.monotonic() > deadline:
                return str(error)
            time.sleep(0.5)
        except (ValueError, OSError) as error:
            return str(error)
        else:
            return None


def _row(run: Planned, fault: str | None, out: Path) -> dict[str, Any]:
    card = run.card()
    row = {"experiment": run.experiment, "seed": run.seed, **run.settings}
    row |= {key: getattr(card, key, None) for key in ("parameters", "test_mse", "attempts", "seconds")}
    row["ended"] = card.ended if card is not None else f"failed: {fault}"
    return row | {"directory": run.directory.relative_to(out.absolute()).as_posix()}
