"""A report of error against iteration: solvers on the same problems, a learned one beside its model and its control."""

import inspect
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import solvers
from precisionlab.config import near_miss, origins
from precisionlab.overrides import parse_override
from precisionlab.precision import DTYPES, environment, math_flags
from precisionlab.report import iterates
from precisionlab.report.measure import Subject, measure, traced
from precisionlab.report.page import Page, write_page
from precisionlab.report.sections import Text
from precisionlab.report.trainings import conclusion, curves, write_trainings
from precisionlab.runs import Run, RunDirectory, zoo
from precisionlab.runs.files import write_atomically
from precisionlab.runs.loading import load, load_control, load_solver, options_of, origin, solver_task
from precisionlab.runs.tables import write_table
from precisionlab.tasks import SolverTask
from solvers import gradient_descent
from solvers.problems import LstsqProblem, gaussian_problem
from solvers.solver import Solver

PROBLEMS = 4096
PAPER_SHAPE = (20, 5)
SEED = 2503
"""Of the problems of a report; no training batch shares it, since those are drawn from hashed seeds."""
RESULTS, ENVIRONMENT, GIVEN = "results.csv", "environment.json", "problems.npz"
REFERENCE = "exact rational solution, rounded to a pair of float64"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report(Page):
    """A report that was written.

    Args:
        results: Error against iteration, as in results.csv.
        summary: The last iterate of each solver.
        conclusion: What is concluded.
        command: What makes it again.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    conclusion: str
    command: str

    @property
    def picture(self) -> Path:
        """The picture of error against iteration."""
        return self.path / "mse_vs_iteration.png"


@dataclass(frozen=True, kw_only=True)
class Problems:
    """What every solver of a report is given.

    Args:
        A: Matrices, (B, m, n), float64.
        b: Right-hand sides, (B, m).
        x0: Starting points, (B, n).
        told: How they came about.
    """

    A: torch.Tensor
    b: torch.Tensor
    x0: torch.Tensor
    told: str

    @classmethod
    def drawn(cls, count: int, rows: int, n: int) -> "Problems":
        """Fresh problems as models are trained on."""
        problem = gaussian_problem(rows, n, batch=(count,), generator=torch.Generator().manual_seed(SEED))
        assert problem.x0 is not None
        return cls(A=problem.A, b=problem.b, x0=problem.x0, told=f"A, x, x₀ ~ N(0, I), b = A x; seed {SEED}")

    @classmethod
    def given(cls, A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor | None, told: str) -> "Problems":
        """Problems of any batch shape, without a start from zero."""
        m, n = A.shape[-2:]
        start = torch.zeros(*A.shape[:-2], n, dtype=torch.float64) if x0 is None else x0.double()
        return cls(A=A.double().reshape(-1, m, n), b=b.double().reshape(-1, m), x0=start.reshape(-1, n), told=told)

    @classmethod
    def read(cls, path: Path) -> "Problems":
        """Problems that `write` wrote, or that hold A, b and perhaps x0."""
        with np.load(path, allow_pickle=False) as arrays:
            if not {"A", "b"} <= set(arrays):
                raise ValueError(f"problems: {path} holds {sorted(arrays)}, want A, b and perhaps x0")
            A, b, x0 = (torch.as_tensor(arrays[name]) if name in arrays else None for name in ("A", "b", "x0"))
        assert A is not None
        assert b is not None
        return cls.given(A, b, x0, f"read from {path.name}")

    def write(self, path: Path) -> None:
        """Write them as one file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, A=self.A.numpy(), b=self.b.numpy(), x0=self.x0.numpy())

    def sentence(self) -> str:
        """What they are."""
        count, m, n = self.A.shape
        return f"{count:,} problem{'s' * (count != 1)} with {m:,} rows and {n:,} unknowns ({self.told})"


def report(
    entries: Sequence[str | Path | Run | Solver],
    *,
    out: str | Path,
    problems: LstsqProblem | int | str | Path | None = None,
    iterations: int = 100,
    title: str | None = None,
) -> Report:
    """Measure solvers on the same problems and write a report of error against iteration.

    Runs whose models make no solver are reported by how their error fell while they were trained.

    Args:
        entries: Runs, names of shipped checkpoints or of solvers, run directories, solvers; learned ones first. A
            name may carry options: ``"cgls:tolerance=1e-8"``. A learned solver is shown three times: itself, `NAME,
            alone` (its model without refinement) and `NAME, control` (the same solver around the exact step).
        out: The report's directory.
        problems: What to solve: problems, an .npz file of A, b and x0, or how many fresh ones as the models were
            trained on; None means 4,096.
        iterations: Iterations given to each iterative solver.
        title: Heading of the page; None for its conclusion.

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
    folder = Path(out)
    if (runs := _without_solver(entries)) is not None:
        return _trainings(runs, entries, folder, title)
    subjects = _distinct([subjects_of(entry, iterations) for entry in entries])
    shape = next((group[0].shape for group in subjects if group[0].shape), PAPER_SHAPE)
    chosen = _chosen(problems, shape)
    with math_flags():
        measured_in = environment("cpu")
        frame = measure([part for group in subjects for part in group], chosen.A, chosen.b, chosen.x0)
    told: list[str] = [] if problems is None else ["--problems", str(problems)]
    if isinstance(problems, LstsqProblem):
        chosen.write(folder / GIVEN)
        told = ["--problems", str(folder / GIVEN)]
    written = [_written(entry) for entry in entries]
    given = ["precisionlab", "report", *(text or "OBJECT" for text in written), "--out", str(out)]
    given += ["--iterations", str(iterations), *told, *([] if title is None else ["--title", title])]
    objects = [group[0].name for group, text in zip(subjects, written, strict=True) if text is None]
    by_hand = f"  # from Python, with the objects {', '.join(objects)}" if objects else ""
    write_table(folder / RESULTS, frame)
    write_atomically(folder / ENVIRONMENT, json.dumps(measured_in, indent=2) + "\n")
    return _write_report(
        frame,
        folder,
        title=title,
        notes=[group[0].note for group in subjects if group[0].note],
        problems=chosen.sentence(),
        environment=measured_in,
        command=shlex.join(given) + by_hand,
    )


def _write_report(
    frame: pd.DataFrame,
    out: Path,
    *,
    title: str | None,
    notes: Sequence[str],
    problems: str,
    environment: Mapping[str, Any],
    command: str,
) -> Report:
    """Write the page of what was measured."""
    caption = f"Median and quartiles over {problems}. Reference: {REFERENCE}. The last iterate counts."
    said = iterates.conclusion(frame)
    how = "Error: mean over the unknowns of (x − x_ref)², one number per problem."
    page = write_page(
        out,
        title=title or iterates.headline(frame).removesuffix("."),
        sections=[
            Text(body=said),
            *iterates.sections(frame, caption=caption),
            Text(title="How it was measured", body="\n\n".join([caption, how, *notes])),
        ],
        spread=f"over {problems}; one checkpoint of each model",
        settings={},
        environments={"": environment},
        command=command,
    )
    return Report(**vars(page), results=frame, summary=iterates.summary(frame), conclusion=said, command=command)


def subjects_of(entry: str | Path | Run | Solver, iterations: int) -> list[Subject]:
    """What an entry of a report stands for.

    Args:
        entry: A run, a name, a run directory or a solver.
        iterations: T.

    Returns:
        A learned solver, its model alone and its control; or one solver.

    Raises:
        ValueError: If the entry is unknown.
    """
    if isinstance(entry, Solver):
        made = origin(entry)
        return _learned(*made, iterations) if made else [Subject(name=entry.name, iterates=traced(entry))]
    if isinstance(entry, Run):
        return _learned(entry, {}, iterations)
    name, options = str(entry), {}
    if not _exists(name):
        name, _, text = name.partition(":")
        options = {
            key: None if value == "none" else value for key, value in map(parse_override, filter(None, text.split(",")))
        }
    if not _exists(name):
        known = near_miss(name, [*zoo.names(), *solvers.names()])
        raise ValueError(f"unknown report entry {name!r}: no run directory of that name; {known}")
    return (
        _learned(load(name), options, iterations)
        if name not in solvers.names()
        else [_classical(name, options, iterations)]
    )


def _distinct(groups: Sequence[Sequence[Subject]]) -> list[list[Subject]]:
    """The subjects of each entry, with the seed, or else the place, in every name that another has."""
    names = [group[0].name for group in groups]
    seeds = [(group[0].name, group[0].seed) for group in groups]
    result = []
    for place, group in enumerate(groups):
        name, seed = seeds[place]
        mark = ""
        if names.count(name) > 1:
            mark = f" ({place + 1})" if seed is None or seeds.count((name, seed)) > 1 else f" (seed {seed})"
        result.append([replace(part, name=f"{name}{mark}{part.name.removeprefix(name)}") for part in group])
    return result


def _exists(name: str) -> bool:
    return name in solvers.names() or _is_run(name)


def _without_solver(entries: Sequence[str | Path | Run | Solver]) -> list[Run] | None:
    """The runs, where all entries are runs and none of them makes a solver."""
    runs = []
    for entry in entries:
        if isinstance(entry, Solver) or (
            isinstance(entry, str | Path) and (str(entry) in solvers.names() or not _is_run(str(entry)))
        ):
            return None
        runs.append(entry if isinstance(entry, Run) else load(entry))
    return None if any(isinstance(run.experiment.task, SolverTask) for run in runs) else runs


def _is_run(name: str) -> bool:
    shipped = zoo.path(name) is not None or RunDirectory(Path(name)).started
    return shipped and name not in solvers.names()


def _trainings(
    runs: Sequence[Run], entries: Sequence[str | Path | Run | Solver], out: Path, title: str | None
) -> Report:
    written = [_written(entry) for entry in entries]
    words = ["precisionlab", "report", *(text or "OBJECT" for text in written), "--out", str(out)]
    words += [] if title is None else ["--title", title]
    plugins = sorted({plugin for run in runs for plugin in origins(run.experiment)})
    words += [word for plugin in plugins for word in ("--plugin", plugin)]
    command, frame = shlex.join(words), curves(runs)
    page, table = write_trainings(runs, out, title=title, command=command)
    write_table(out / RESULTS, frame)
    return Report(**vars(page), results=frame, summary=table, conclusion=conclusion(table), command=command)


def _learned(run: Run, options: dict[str, Any], iterations: int) -> list[Subject]:
    task, name = solver_task(run), run.card.name
    wanted = {key: value for key, value in _all_steps(iterations).items() if key in options_of(task)} | options
    made = {
        name: load_solver(run, **wanted),
        f"{name}, {iterates.ALONE}": load_solver(run, **wanted | {"refinement": None}),
        f"{name}, {iterates.CONTROL}": load_control(run, **wanted),
    }
    common: dict[str, Any] = {"dtype": DTYPES[run.experiment.dtype], "seed": run.card.seed}
    common |= {"shape": (task.rows, task.n), "note": _provenance(run)}
    return [Subject(name=told, iterates=traced(solver), **common) for told, solver in made.items()]


def _classical(name: str, options: dict[str, Any], iterations: int) -> Subject:
    if name == iterates.BASELINE and not options:
        # The plain iterates, fused where they can be: the solver would only add a stopping rule that must not fire.
        def descend(A: torch.Tensor, b: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
            return gradient_descent.iterates(A, b, x0, gradient_descent.best_step(A), iterations)

        return Subject(name=name, iterates=descend)
    accepted = inspect.signature(type(solvers.get(name))).parameters
    wanted = {key: value for key, value in _all_steps(iterations).items() if key in accepted}
    return Subject(name=name, iterates=traced(solvers.get(name, **wanted | options)))


def _all_steps(iterations: int) -> dict[str, Any]:
    return {"max_iterations": iterations, "tolerance": 0.0}


def _written(entry: str | Path | Run | Solver) -> str | None:
    """An entry for the command line; None where only Python can hand it over."""
    if isinstance(entry, str | Path):
        return str(entry)
    if isinstance(entry, Run):
        return _told(entry)
    made = origin(entry)
    name, options = (_told(made[0]), made[1]) if made else (entry.name, {})
    if not made:
        plain = solvers.get(entry.name) if entry.name in solvers.names() else None
        if type(plain) is not type(entry):
            return None
        names = [name for name in inspect.signature(type(entry)).parameters if hasattr(entry, name)]
        options = {key: getattr(entry, key) for key in names if getattr(entry, key) != getattr(plain, key)}
    texts = [f"{key}={'none' if value is None else json.dumps(value)}" for key, value in options.items()]
    return name and ":".join(filter(None, [name, ",".join(texts)]))


def _told(run: Run) -> str | None:
    if run.directory is None:
        return None
    return run.card.name if run.directory == zoo.path(run.card.name) else str(run.directory)


def _chosen(problems: LstsqProblem | int | str | Path | None, shape: tuple[int, int]) -> Problems:
    if isinstance(problems, LstsqProblem):
        return Problems.given(problems.A, problems.b, problems.x0, "as given")
    if isinstance(problems, str | Path):
        return Problems.read(Path(problems))
    count = PROBLEMS if problems is None else problems
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"problems: got {count!r}, want an LstsqProblem, a file of some, or a whole number from 1")
    return Problems.drawn(count, *shape)


def _provenance(run: Run) -> str:
    card = run.card
    tested = "not measured" if card.test_mse is None else f"{card.test_mse:.1e}"
    what = f"{card.name}: {card.parameters:,} parameters, {card.dtype}, seed {card.seed}"
    emitted = f"MSE of what it emits, on {card.test_problems:,} fresh problems: {tested}"
    return f"{what}, trained in {card.seconds:.0f} s. {emitted}. Made by: {card.command}"
