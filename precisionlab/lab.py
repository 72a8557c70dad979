"""The public functions: the one room that knows all the others."""

import inspect
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import solvers
from precisionlab import config as configs
from precisionlab import distributed, loggers, measure, zoo
from precisionlab.experiments import get, registry
from precisionlab.experiments.experiment import Experiment
from precisionlab.precision import DTYPES, check_device, math_flags
from precisionlab.progress import ProgressDisplay
from precisionlab.reporting import Report
from precisionlab.runs import Card, Run, RunConfig, RunDirectory, build
from precisionlab.tasks import SolverTask
from precisionlab.training import Objective, fit
from precisionlab.training.trainer import Progress
from solvers.problems import LstsqProblem
from solvers.solver import Solver

TEST_PROBLEMS = 4096
SECONDS_BETWEEN_SAVES = 5.0


def experiments() -> list[str]:
    """The experiments that `train` knows.

    Returns:
        Their names.
    """
    return sorted(registry())


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
        experiment: One of `experiments()`, or one of your own.
        seed: Of weights and data; the same seed gives the same bits on the same machine and thread count.
        device: A torch device.
        run_dir: Where the run's files go; None keeps it in memory.
        time_limit: Seconds after which training stops; with a `run_dir` it can be resumed.
        resume: Whether to go on with the run in `run_dir`, whose own settings then hold.
        progress: Whether to show the error falling.
        log: Where metrics are sent on to: "tensorboard" or "wandb", as files in the `run_dir`; None for nowhere.
        **overrides: Settings by path or by last part: ``width=24``, ``**{"phases.adam.steps": 500}``.

    Returns:
        The run, with its best weights by validation error, measured on fresh problems.

    Raises:
        ValueError: If a name, an override or an option is not allowed, or the directory does not fit.
    """
    base = experiment if isinstance(experiment, Experiment) else get(experiment)
    config = RunConfig(experiment=configs.override(base, overrides), seed=_checked_seed(seed), device=device)
    check_device(device)
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit: got {time_limit}, want a positive number of seconds")
    if run_dir is None and resume:
        raise ValueError("resume: there is nothing to resume without a run_dir")
    if log is not None and run_dir is None:
        raise ValueError(f"log: {log} writes into a run directory; give a run_dir")
    with distributed.joined(device):
        if run_dir is None or not distributed.first():
            return _train(config, None, time_limit, display=progress and distributed.first())
        directory, overridden = RunDirectory(Path(run_dir)), bool(overrides)
        with loggers.opened(log, directory.path, config) as on_row:
            return _train_in(
                directory, config, time_limit, resume=resume, overridden=overridden, display=progress, on_row=on_row
            )


def load(name_or_run_dir: str | Path) -> Run:
    """Load a shipped checkpoint, or a run of one's own.

    Args:
        name_or_run_dir: One of `precisionlab.zoo.names()`, or a run directory.

    Returns:
        The run.

    Raises:
        ValueError: If it is neither, or its files are malformed.
    """
    shipped = zoo.path(str(name_or_run_dir))
    if shipped is not None:
        return RunDirectory(shipped).load()
    path = Path(name_or_run_dir)
    if RunDirectory(path).started:
        return RunDirectory(path).load()
    known = configs.near_miss(str(name_or_run_dir), zoo.names())
    raise ValueError(f"{name_or_run_dir}: no shipped checkpoint and no run directory of that name; {known}")


def load_solver(name_or_run_dir: str | Path | Run, **options: Any) -> Solver:
    """A learned solver, of the same interface as every other.

    Args:
        name_or_run_dir: What `load` takes, or a run.
        **options: Keyword parameters of the solver that the run's task becomes, such as
            `solvers.learned.gradient.LearnedGradient`. With refinement=None every digit is the model's own.

    Returns:
        The solver. It takes up to the trained number of unknowns and, unless its task is one of several steps or of
        none, any number of rows.

    Raises:
        ValueError: If there is no such run, its task makes no solver, or an option is unknown or out of range.
    """
    run = name_or_run_dir if isinstance(name_or_run_dir, Run) else load(name_or_run_dir)
    task = _solver_task(run)
    known = _options(task)
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of {run.card.name}: {configs.near_miss(option, known)}")
    solver_class: type[Any] = task.solver_class
    learned: Solver = solver_class(task.step(run.model), name=run.card.name, **options)
    return learned


def solver(name: str) -> Solver:
    """A solver by any of its names.

    Args:
        name: One of `solvers.names()`, a shipped checkpoint or a run directory.

    Returns:
        The solver.

    Raises:
        ValueError: If there is none of that name.
    """
    if name in solvers.names():
        return solvers.get(name)
    if zoo.path(name) is None and not RunDirectory(Path(name)).started:
        raise ValueError(f"unknown solver {name!r}: {configs.near_miss(name, [*solvers.names(), *zoo.names()])}")
    return load_solver(name)


def report(
    entries: Sequence[str | Path | Run | Solver],
    *,
    out: str | Path,
    problems: LstsqProblem | int | None = None,
    iterations: int = 100,
    title: str | None = None,
) -> Report:
    """Measure solvers on the same problems and write a report of error against iteration.

    Args:
        entries: Runs, names of shipped checkpoints or of solvers, run directories, solvers; learned ones first.
        out: The report's directory.
        problems: What to solve: problems, or how many fresh ones as the models were trained on; None means 4,096.
        iterations: Iterations given to each iterative solver.
        title: Heading of the page.

    Returns:
        The report.

    Raises:
        ValueError: If there are no entries or one of them is unknown.
    """
    if isinstance(entries, str | Path | Run | Solver):
        entries = [entries]
    if not entries:
        raise ValueError("entries: got none, want at least one run or solver")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations: got {iterations!r}, want a whole number from 1")
    subjects = [_subject(entry, iterations) for entry in entries]
    names = [
        str(entry) if isinstance(entry, str | Path) else subject.name
        for entry, subject in zip(entries, subjects, strict=True)
    ]
    given = ["precisionlab", "report", *names, "--out", str(out), "--iterations", str(iterations)]
    given += ["--problems", str(problems)] if isinstance(problems, int) else []
    given += [] if title is None else ["--title", title]
    command = shlex.join(given)
    with math_flags():
        return measure.report(
            subjects, out=Path(out), problems=problems, iterations=iterations, title=title, command=command
        )


def _solver_task(run: Run) -> SolverTask:
    """The task of a run whose model becomes a solver."""
    task = run.experiment.task
    if not isinstance(task, SolverTask):
        raise ValueError(f"{run.card.name}: the task {task.kind!r} makes no solver")
    return task


def _options(task: SolverTask) -> list[str]:
    """What `load_solver` lets a user set."""
    parameters = inspect.signature(task.solver_class).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "name"]


def _subject(entry: str | Path | Run | Solver, iterations: int) -> measure.Subject:
    """What an entry of a report stands for."""
    if isinstance(entry, Solver):
        return measure.solver_subject(entry)
    if isinstance(entry, str) and entry in solvers.names():
        return measure.classical_subject(entry, iterations)
    if isinstance(entry, str) and zoo.path(entry) is None and not RunDirectory(Path(entry)).started:
        known = configs.near_miss(entry, [*zoo.names(), *solvers.names()])
        raise ValueError(f"unknown report entry {entry!r}: no run directory of that name; {known}")
    run = entry if isinstance(entry, Run) else load(entry)
    task = _solver_task(run)
    wanted = {"max_iterations": iterations, "tolerance": 0.0}
    return measure.solver_subject(
        load_solver(run, **{key: value for key, value in wanted.items() if key in _options(task)}),
        dtype=DTYPES[run.experiment.dtype],
        shape=(task.rows, task.n),
        card=run.card,
    )


def _train_in(
    directory: RunDirectory,
    config: RunConfig,
    time_limit: float | None,
    *,
    resume: bool,
    overridden: bool,
    display: bool,
    on_row: Callable[[Progress], None],
) -> Run:
    """Train with a run directory, as the one process that writes there."""
    if resume and not directory.started:
        raise ValueError(f"{directory.path}: no run to resume")
    with directory.locked(), math_flags():
        if directory.started and not resume:
            raise ValueError(f"{directory.path}: holds a run already; resume it, or choose another directory")
        if resume:
            config = _resumed(directory, config, overridden=overridden)
        else:
            directory.begin(config)
        return _train(config, directory, time_limit, display=display, on_row=on_row)


def _train(
    config: RunConfig,
    directory: RunDirectory | None,
    time_limit: float | None,
    *,
    display: bool,
    on_row: Callable[[Progress], None] = lambda _: None,
) -> Run:
    config = distributed.agreed(config)
    experiment, device = config.experiment, distributed.own_device(config.device)
    with math_flags():
        objective = Objective(
            experiment.model,
            experiment.task,
            dtype=DTYPES[experiment.dtype],
            device=device,
            seed=config.seed,
        )
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

        with ProgressDisplay(objective, visible=display) as shown:
            try:
                fit(
                    objective,
                    experiment.phases,
                    attempts=experiment.attempts,
                    progress=progress,
                    time_limit=time_limit,
                    on_row=on_each_row,
                )
            finally:
                if directory is not None:
                    directory.save(progress, objective)
        return _finished(config, directory, progress, objective)


def _finished(config: RunConfig, directory: RunDirectory | None, progress: Progress, objective: Objective) -> Run:
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
        command=f"precisionlab train {experiment.name} --seed {config.seed}",
    )
    if directory is not None:
        directory.write_card(card)
    weights = {name: tensor.clone() for name, tensor in objective.named(best).items()}
    model = build(experiment, weights, device=objective.device, source="training")
    return Run(
        model=model,
        experiment=experiment,
        metrics=pd.DataFrame(progress.rows),
        card=card,
        directory=None if directory is None else directory.path,
    )


def _resumed(directory: RunDirectory, asked: RunConfig, *, overridden: bool) -> RunConfig:
    saved = directory.config()
    if saved.experiment.name != asked.experiment.name:
        raise ValueError(f"{directory.path}: holds a run of {saved.experiment.name!r}, not {asked.experiment.name!r}")
    if overridden and saved.experiment != asked.experiment:
        raise ValueError(f"{directory.path}: a resumed run keeps its settings; leave the overrides away")
    check_device(saved.device)
    directory.warn_of_changes()
    return saved


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, want a whole number from 0")
    return seed
