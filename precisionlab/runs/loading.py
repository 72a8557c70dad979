"""Runs and solvers by name: shipped checkpoints, run directories, classical methods."""

import inspect
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import solvers
from precisionlab.config import kind_of, near_miss
from precisionlab.precision import DTYPES
from precisionlab.runs import zoo
from precisionlab.runs.directory import RunDirectory
from precisionlab.runs.run import Run
from precisionlab.tasks import SolverTask
from solvers.learned.base import in_dtype
from solvers.solver import Solver

_ORIGINS: WeakKeyDictionary[Solver, tuple[Run, dict[str, Any]]] = WeakKeyDictionary()


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
    known = near_miss(str(name_or_run_dir), zoo.names())
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
    task = solver_task(run)
    known = options_of(task)
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of {run.card.name}: {near_miss(option, known)}")
    solver_class: type[Any] = task.solver_class
    learned: Solver = solver_class(task.step(run.model), name=run.card.name, **options)
    _ORIGINS[learned] = run, options
    return learned


def load_control(name_or_run_dir: str | Path | Run, **options: Any) -> Solver:
    """The control of a learned solver: the step as its formula has it in the model's place, all else alike.

    Args:
        name_or_run_dir: What `load` takes, or a run.
        **options: As `load_solver` takes them.

    Returns:
        The solver. What the model adds is its difference from this.

    Raises:
        ValueError: If there is no such run, or its task makes no solver or names no such step.
    """  # noqa: DOC502 - the first is raised by what this calls
    run = name_or_run_dir if isinstance(name_or_run_dir, Run) else load(name_or_run_dir)
    task = solver_task(run)
    solver_class: type[Any] = task.solver_class
    step = in_dtype(task.control, DTYPES[run.experiment.dtype])
    step.__dict__.update(getattr(task.control, "__dict__", {}))  # such as the rows and step size of a descent
    control: Solver = solver_class(step, name=f"{run.card.name}, control", **options)
    return control


def origin(made: Solver) -> tuple[Run, dict[str, Any]] | None:
    """What `load_solver` made a solver of.

    Args:
        made: Any solver.

    Returns:
        The run and the options, or None where it was made otherwise.
    """
    return _ORIGINS.get(made)


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
        raise ValueError(f"unknown solver {name!r}: {near_miss(name, [*solvers.names(), *zoo.names()])}")
    return load_solver(name)


def solver_task(run: Run) -> SolverTask:
    """The task of a run whose model becomes a solver.

    Args:
        run: A run.

    Returns:
        Its task.

    Raises:
        ValueError: If the task makes no solver.
    """
    task = run.experiment.task
    if not isinstance(task, SolverTask):
        raise ValueError(f"{run.card.name}: the task {kind_of(task)!r} makes no solver")
    return task


def options_of(task: SolverTask) -> list[str]:
    """What `load_solver` lets a user set.

    Args:
        task: Of a run.

    Returns:
        Names of the solver's keyword parameters.
    """
    parameters = inspect.signature(task.solver_class).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "name"]
