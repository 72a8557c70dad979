"""Training, from a name to a run."""

import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from precisionlab import config as configs
from precisionlab.experiments import Experiment, get, registry
from precisionlab.overrides import changes, format_override, override
from precisionlab.precision import DTYPES, check_device, math_flags
from precisionlab.runs import loggers, zoo
from precisionlab.runs.directory import RunDirectory
from precisionlab.runs.progress import ProgressDisplay
from precisionlab.runs.run import Card, Run, RunConfig, build
from precisionlab.training import Objective, distributed, fit
from precisionlab.training.trainer import Progress

TEST_PROBLEMS = 4096
SECONDS_BETWEEN_SAVES = 5.0

OnRow = Callable[[Progress], None]


def train(
    experiment: str | Experiment,
    *,
    seed: int = 0,
    device: str = "cpu",
    run_dir: str | Path | None = None,
    time_limit: float | None = None,
    resume: bool = False,
    progress: bool = True,
    log: str | None = None,
    **overrides: Any,
) -> Run:
    """Train a model.

    Args:
        experiment: One of `experiments()`, one of a file's (``path/to/file.py:NAME``), or one of your own.
        seed: Of weights and data; the same seed gives the same bits on the same machine and thread count.
        device: A torch device.
        run_dir: Where the run's files go; None keeps it in memory.
        time_limit: Seconds after which training stops; with a `run_dir` it can be resumed.
        resume: Whether to go on with the run in `run_dir`, if there is one: then the same call may simply be made
            again, whatever ended it. A name alone takes the settings that the run was begun with; overrides, or an
            experiment of your own, must be the same as then.
        progress: Whether to show the error falling.
        log: Where metrics are sent on to: "tensorboard" or "wandb", as files in the `run_dir`; None for nowhere.
        **overrides: Settings by path or by last part: ``width=24``, ``**{"phases.adam.steps": 500}``.

    Returns:
        The run, with its best weights by validation error, measured on fresh problems.

    Raises:
        ValueError: If a name, an override or an option is not allowed, or the directory does not fit.
    """  # noqa: DOC502 - raised by what this calls
    base = get(experiment) if isinstance(experiment, str) else experiment
    config = run_config(override(base, overrides), seed=_checked_seed(seed), device=device)
    return _train(
        config,
        spec=experiment if isinstance(experiment, str) else None,
        run_dir=run_dir,
        time_limit=time_limit,
        resume=resume,
        whole=bool(overrides) or isinstance(experiment, Experiment),
        progress=progress,
        log=log,
    )


def again(
    run_dir: str | Path,
    *,
    into: str | Path | None = None,
    time_limit: float | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Run:
    """Train what a run directory holds once more, from its configuration alone.

    Args:
        run_dir: A run directory, or the name of a shipped checkpoint.
        into: Where the new run's files go; None keeps it in memory.
        time_limit: Seconds after which training stops.
        resume: Whether to go on with the new run, if it was begun.
        progress: Whether to show the error falling.

    Returns:
        The new run; its bits are those of the other where machine and thread count are the same.

    Raises:
        ValueError: If there is no run, or its configuration is malformed.
    """  # noqa: DOC502 - raised by what this calls
    config = RunDirectory(zoo.path(str(run_dir)) or Path(run_dir)).config()
    return _train(config, run_dir=into, time_limit=time_limit, resume=resume, progress=progress)


def run_config(experiment: Experiment, *, seed: int = 0, device: str = "cpu") -> RunConfig:
    """All that reproduces a run.

    Args:
        experiment: What is trained.
        seed: Of weights and data.
        device: Where.

    Returns:
        The configuration, with the names of the user's own modules that it needs.
    """
    return RunConfig(experiment=experiment, seed=seed, device=device, plugins=tuple(configs.origins(experiment)))


def command(config: RunConfig, *, spec: str | None = None, directory: Path | None = None) -> str:
    """The command that makes a run.

    Args:
        config: The run's.
        spec: What names the experiment on a command line, if anything does: a name, or ``path/to/file.py:NAME``.
        directory: Where the run lies, if anywhere.

    Returns:
        A line for a shell: the experiment and every setting that differs from it. Where an experiment has no name, or
        differs in more than its settings, the line takes it from the run's directory.
    """
    name = spec or config.experiment.name
    base = get(name) if spec is not None else registry().get(name)
    settings = None if base is None else changes(base, replace(config.experiment, cost=base.cost))
    words = ["precisionlab", "train"]
    if settings is not None:
        words += [name, "--seed", str(config.seed)]
        words += [] if config.device == "cpu" else ["--device", config.device]
        words += [word for key, value in settings.items() for word in ("--set", format_override(key, value))]
    elif directory is not None:
        words += ["--again", str(directory)]
    else:
        return f"none: {name} was trained from Python and not saved"
    named = name.partition(":")[0]
    words += [word for plugin in config.plugins if plugin != named for word in ("--plugin", plugin)]
    return shlex.join(words)


def _train(
    config: RunConfig,
    *,
    spec: str | None = None,
    run_dir: str | Path | None = None,
    time_limit: float | None = None,
    resume: bool = False,
    whole: bool = True,
    progress: bool = True,
    log: str | None = None,
) -> Run:
    check_device(config.device)
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit: got {time_limit}, want a positive number of seconds")
    if run_dir is None and resume:
        raise ValueError("resume: there is nothing to resume without a run_dir")
    if log is not None and run_dir is None:
        raise ValueError(f"log: {log} writes into a run directory; give a run_dir")
    with distributed.joined(config.device), math_flags():
        if run_dir is None or not distributed.first():
            return _computed(config, None, time_limit, spec=spec, display=progress and distributed.first())
        directory = RunDirectory(Path(run_dir))
        with loggers.opened(log, directory.path, config) as on_row, directory.locked():
            if not directory.started:
                directory.begin(config)
            elif resume:
                config = _resumed(directory, config, whole=whole)
            else:
                raise ValueError(
                    f"{directory.path}: holds a run already; resume it (--resume), or choose another directory"
                )
            return _computed(config, directory, time_limit, spec=spec, display=progress, on_row=on_row)


def _computed(
    config: RunConfig,
    directory: RunDirectory | None,
    time_limit: float | None,
    *,
    spec: str | None,
    display: bool,
    on_row: OnRow = lambda _: None,
) -> Run:
    config = distributed.agreed(config)
    experiment, device = config.experiment, distributed.own_device(config.device)
    dtype = DTYPES[experiment.dtype]
    objective = Objective(experiment.model, experiment.task, dtype=dtype, device=device, seed=config.seed)
    progress = Progress()
    if directory is not None:
        progress = directory.progress(objective, experiment.phases, attempts=experiment.attempts)
    progress = distributed.agreed(progress).to(device)
    saved = time.perf_counter()

    def on_each_row(progress: Progress) -> None:
        nonlocal saved
        shown.update(progress)
        on_row(progress)
        if directory is not None and time.perf_counter() - saved >= SECONDS_BETWEEN_SAVES:
            directory.save(progress, objective)
            saved = time.perf_counter()

    def stop(elapsed: float) -> bool:
        return time_limit is not None and distributed.agreed(elapsed >= time_limit)

    with ProgressDisplay(objective, visible=display) as shown:
        try:
            fit(
                objective,
                experiment.phases,
                attempts=experiment.attempts,
                progress=progress,
                stop=stop,
                on_row=on_each_row,
            )
        finally:
            if directory is not None:
                directory.save(progress, objective)
    where = None if directory is None else directory.path
    return _finished(config, directory, objective, progress, command(config, spec=spec, directory=where))


def _finished(
    config: RunConfig, directory: RunDirectory | None, objective: Objective, progress: Progress, command: str
) -> Run:
    experiment, best = config.experiment, progress.best
    if best is None and progress.ended is not None:
        raise ValueError("no start had a finite error; try a smaller learning rate")
    if best is None:
        raise ValueError("the time limit left no time to measure a single row; allow more seconds")
    card = Card(
        name=experiment.name,
        summary=experiment.summary,
        dtype=experiment.dtype,
        parameters=objective.parameters,
        seed=config.seed,
        test_mse=objective.test_mse(best, TEST_PROBLEMS),
        test_problems=TEST_PROBLEMS,
        ended="unfinished" if progress.ended is None else progress.ended.value,
        attempts=progress.place.attempt + 1,
        seconds=round(progress.elapsed, 1),
        command=command,
    )
    if directory is not None:
        directory.write_card(card)
    weights = {name: tensor.clone() for name, tensor in objective.named(best).items()}
    return Run(
        model=build(experiment, weights, device=objective.device, source="training"),
        experiment=experiment,
        metrics=pd.DataFrame(progress.rows),
        card=card,
        directory=None if directory is None else directory.path,
    )


def _resumed(directory: RunDirectory, asked: RunConfig, *, whole: bool) -> RunConfig:
    """The configuration of the run in a directory, if it is the one that is asked for."""
    saved = directory.config()
    if saved.experiment.name != asked.experiment.name:
        raise ValueError(f"{directory.path}: holds a run of {saved.experiment.name!r}, not {asked.experiment.name!r}")
    if asked.seed not in {0, saved.seed}:
        raise ValueError(f"{directory.path}: holds a run of seed {saved.seed}, not {asked.seed}")
    if whole and saved.experiment != asked.experiment:
        differing = changes(saved.experiment, asked.experiment)
        told = "" if differing is None else f", but for {', '.join(map(str, differing))}"
        raise ValueError(f"{directory.path}: holds a run of other settings{told}; choose another directory")
    check_device(saved.device)
    directory.warn_of_changes()
    return saved


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, want a whole number from 0")
    return seed
