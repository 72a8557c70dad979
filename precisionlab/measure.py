"""Measure solvers on the same problems: error against iteration, above every subject's precision.

The problems are drawn once, in float64. A subject that works in float32 gets them rounded to float32, and its errors
are against the solution of those rounded problems: what is measured is the solver, not the rounding of its input.
"""

import inspect
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import solvers
from precisionlab.config import near_miss
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.reporting import RESULT_COLUMNS, Curves, Meta, ProblemSet, Report, write_report
from precisionlab.runs import Card, Run, RunDirectory, load, load_solver, zoo
from precisionlab.runs.loading import options_of, solver_task
from solvers import errors, gradient_descent, reference
from solvers.problems import LstsqProblem, gaussian_problem
from solvers.solver import Solver

PROBLEMS = 4096
PAPER_SHAPE = (20, 5)
SEED = 2503
"""Of the problems of a report; no training batch shares it, since those are drawn from hashed seeds."""

Iterates = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(A (B, m, n), b (B, m), x0 (B, n)) → iterates (T+1, B, n); a direct method gives one row."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A solver under measurement.

    Args:
        name: What the report calls it.
        iterates: What it does.
        dtype: What it works in.
        shape: Rows and unknowns it was trained on, or None.
        card: Of its checkpoint, or None.
    """

    name: str
    iterates: Iterates
    dtype: torch.dtype = torch.float64
    shape: tuple[int, int] | None = None
    card: Card | None = None


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
        return written(subjects, out=Path(out), problems=problems, iterations=iterations, title=title, command=command)


def _subject(entry: str | Path | Run | Solver, iterations: int) -> Subject:
    """What an entry of a report stands for."""
    if isinstance(entry, Solver):
        return solver_subject(entry)
    if isinstance(entry, str) and entry in solvers.names():
        return classical_subject(entry, iterations)
    if isinstance(entry, str) and zoo.path(entry) is None and not RunDirectory(Path(entry)).started:
        known = near_miss(entry, [*zoo.names(), *solvers.names()])
        raise ValueError(f"unknown report entry {entry!r}: no run directory of that name; {known}")
    run = entry if isinstance(entry, Run) else load(entry)
    task = solver_task(run)
    wanted = {"max_iterations": iterations, "tolerance": 0.0}
    return solver_subject(
        load_solver(run, **{key: value for key, value in wanted.items() if key in options_of(task)}),
        dtype=DTYPES[run.experiment.dtype],
        shape=(task.rows, task.n),
        card=run.card,
    )


def solver_subject(
    solver: Solver,
    *,
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, int] | None = None,
    card: Card | None = None,
) -> Subject:
    """A solver as a subject.

    Args:
        solver: Whose trace is measured.
        dtype: What it works in.
        shape: Rows and unknowns it was trained on.
        card: Of its checkpoint.

    Returns:
        The subject.
    """

    def iterates(A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        result = solver.solve(A, b, x0=x0, record=True)
        return torch.as_tensor(result.x).unsqueeze(0) if result.trace is None else torch.as_tensor(result.trace)

    return Subject(name=solver.name, iterates=iterates, dtype=dtype, shape=shape, card=card)


def classical_subject(name: str, iterations: int) -> Subject:
    """A solver of the registry, made to take all its iterations.

    Args:
        name: One of `solvers.names()`.
        iterations: T.

    Returns:
        The subject.
    """
    if name == "gradient-descent":
        # The plain iterates, fused where they can be: the solver would only add a stopping rule that must not fire.
        def descend(A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            return gradient_descent.iterates(A, b, x0, gradient_descent.best_step(A), iterations)

        return Subject(name=name, iterates=descend)
    accepted = inspect.signature(type(solvers.get(name))).parameters
    wanted: dict[str, Any] = {"max_iterations": iterations, "tolerance": 0.0}
    return solver_subject(solvers.get(name, **{key: value for key, value in wanted.items() if key in accepted}))


def written(
    subjects: Sequence[Subject],
    *,
    out: Path,
    problems: LstsqProblem | int | None,
    iterations: int,
    title: str | None,
    command: str,
) -> Report:
    """Measure the subjects and write the report.

    Args:
        subjects: Learned ones first; the conclusion is about them.
        out: The report's directory.
        problems: What to solve, or how many problems to draw; None means `PROBLEMS`.
        iterations: T, for the page.
        title: Heading of the page.
        command: What makes the report again.

    Returns:
        The report.
    """
    subjects = _distinct(subjects)
    rows, n = next((subject.shape for subject in subjects if subject.shape), PAPER_SHAPE)
    given = isinstance(problems, LstsqProblem)
    problem = (
        problems if isinstance(problems, LstsqProblem) else _drawn(PROBLEMS if problems is None else problems, rows, n)
    )
    frame, summary = measure(subjects, problem)
    learned = tuple(subject.name for subject in subjects if subject.card is not None)
    meta = Meta(
        title=title or f"Error against iteration: {', '.join(subject.name for subject in subjects)}",
        command=command,
        problems=ProblemSet(
            n=problem.A.shape[-1],
            rows=problem.A.shape[-2],
            count=problem.A.shape[:-2].numel(),
            seed=None if given else SEED,
            distribution="as given" if given else "A, x, x₀ ~ N(0, I), b = A x",
        ),
        reference="exact rational solution, rounded to a pair of float64",
        environment=environment("cpu"),
        notes=(*(_provenance(subject.card) for subject in subjects if subject.card), f"{iterations} iterations."),
        subjects=learned,
    )
    return write_report(out, Curves(frame=frame, summary=summary), meta)


def measure(subjects: Sequence[Subject], problem: LstsqProblem) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Error against iteration, and what else the table says of each subject.

    Args:
        subjects: Solvers of distinct names.
        problem: What to solve, float64.

    Returns:
        A frame with the columns of results.csv, and one row a subject: solver, dtype, digits, seconds.
    """
    references: dict[torch.dtype, tuple[torch.Tensor, torch.Tensor]] = {}
    frames, summary = [], []
    n = problem.A.shape[-1]
    A64, b64 = problem.A.reshape(-1, *problem.A.shape[-2:]), problem.b.reshape(-1, problem.b.shape[-1])
    x64 = torch.zeros_like(A64[:, 0]) if problem.x0 is None else problem.x0.reshape(-1, n)
    for subject in subjects:
        A, b, x0 = (tensor.to(subject.dtype) for tensor in (A64, b64, x64))
        if subject.dtype not in references:
            hi, lo = reference.solve_exact(A.double(), b.double())
            references[subject.dtype] = torch.as_tensor(hi), torch.as_tensor(lo)
        start = time.perf_counter()
        iterates = subject.iterates(A, b, x0)
        seconds = time.perf_counter() - start
        exact = references[subject.dtype]
        dtype = str(subject.dtype).removeprefix("torch.")
        frames.append(_quartiles(torch.as_tensor(errors.mse(iterates, exact)), subject.name, dtype))
        error = torch.as_tensor(errors.forward_error(iterates[-1], exact)).double()
        digits = float(-error.nan_to_num(nan=float("inf")).median().clamp_min(1e-34).log10())
        summary.append({"solver": subject.name, "dtype": dtype, "digits": digits, "seconds": round(seconds, 2)})
    return pd.concat(frames, ignore_index=True), pd.DataFrame(summary)


def _quartiles(mse: torch.Tensor, name: str, dtype: str) -> pd.DataFrame:
    """The frame of one subject, from its errors (T+1, B); a problem that diverged counts as infinitely wrong."""
    ordered = mse.double().nan_to_num(nan=float("inf")).sort(dim=1).values.numpy()
    steps, count = ordered.shape

    def quantile(q: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        picked: np.ndarray[Any, np.dtype[np.float64]] = ordered[:, round(q * (count - 1))]
        return picked

    columns = {
        "solver": name,
        "dtype": dtype,
        "iteration": np.arange(steps),
        "problems": count,
        "mse_median": quantile(0.5),
        "mse_q25": quantile(0.25),
        "mse_q75": quantile(0.75),
        "mse_mean": ordered.mean(axis=1),
        "mse_max": ordered[:, -1],
    }
    return pd.DataFrame(columns)[list(RESULT_COLUMNS)]


def _drawn(count: int, rows: int, n: int) -> LstsqProblem:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"problems: got {count!r}, want an LstsqProblem or a whole number from 1")
    return gaussian_problem(rows, n, batch=(count,), generator=torch.Generator().manual_seed(SEED))


def _distinct(subjects: Sequence[Subject]) -> list[Subject]:
    """The subjects, with the seed in the name of those whose name another has too."""
    names = [subject.name for subject in subjects]
    result: list[Subject] = []
    for place, subject in enumerate(subjects):
        name = subject.name
        if names.count(name) > 1:
            name += f" (seed {subject.card.seed})" if subject.card else f" ({place + 1})"
        if any(name == other.name for other in result):
            name += f" [{place + 1}]"
        result.append(Subject(**{**vars(subject), "name": name}))
    return result


def _provenance(card: Card) -> str:
    tested = "not measured" if card.test_mse is None else f"{card.test_mse:.1e}"
    what = f"{card.name}: {card.parameters:,} parameters, {card.dtype}, seed {card.seed}"
    emitted = f"MSE of what it emits, on {card.test_problems:,} fresh problems: {tested}"
    return f"{what}, trained in {card.seconds:.0f} s. {emitted}. Made by: {card.command}"
