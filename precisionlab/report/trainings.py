"""A report of runs whose models are no solvers: how the error of what they emit fell, and where it ended."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from precisionlab.precision import environment
from precisionlab.report.page import Page, write_page
from precisionlab.report.sections import Figure, Table, Text
from precisionlab.report.words import format_mse, sentence
from precisionlab.runs import ENVIRONMENT, Run
from precisionlab.runs.files import read_text

TARGETS = 2048
"""Problems over which the mean square of a task's targets is taken."""


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """How the error fell.

    Args:
        runs: Trained models.

    Returns:
        A row for every row of their metrics: run, dtype, row, phase, step and mse, on the whole task.
    """
    frames = []
    for name, run in zip(_names(runs), runs, strict=True):
        kept = run.metrics[["phase", "step", "mse"]].reset_index(drop=True)
        frames.append(kept.assign(run=name, dtype=run.card.dtype, row=range(1, len(kept) + 1)))
    return pd.concat(frames, ignore_index=True)[["run", "dtype", "row", "phase", "step", "mse"]]


def _ends(runs: Sequence[Run]) -> pd.DataFrame:
    """Where they ended: a row a run, the error also relative to the mean square of its target."""
    rows = []
    for name, run in zip(_names(runs), runs, strict=True):
        card, generator = run.card, torch.Generator().manual_seed(0)
        target = run.experiment.task.sample(TARGETS, generator=generator, dtype=torch.float64).target
        mse = float("nan") if card.test_mse is None else card.test_mse
        facts = {"run": name, "what": card.summary, "parameters": card.parameters, "dtype": card.dtype}
        facts |= {"test MSE": mse, "relative": mse / float(target.square().mean())}
        rows.append(facts | {"seconds": card.seconds, "ended": card.ended})
    return pd.DataFrame(rows)


def conclusion(table: pd.DataFrame) -> str:
    """The table in a sentence.

    Args:
        table: What `ends` returned.

    Returns:
        The error of each run, and what part of its target that is.
    """
    rows = zip(table["run"], table["test MSE"], table["relative"], strict=True)
    return sentence(f"{name} ends at an MSE of {format_mse(mse)}, {part:.1e} of its target" for name, mse, part in rows)


def write_trainings(runs: Sequence[Run], out: Path, *, title: str | None, command: str) -> tuple[Page, pd.DataFrame]:
    """Write the page.

    Args:
        runs: Trained models.
        out: Its folder.
        title: Heading of the page; None for its conclusion.
        command: What makes it again.

    Returns:
        The page, and what `ends` returned.
    """
    frame, table = curves(runs), _ends(runs)
    counts = ", ".join(sorted({f"{run.card.test_problems:,}" for run in runs}))
    formats = {"test MSE": ".1e", "relative": ".1e", "seconds": ".0f"}
    u2 = {f"u² of {dtype}": 2.0 ** (-106 if dtype == "float64" else -48) for dtype in sorted(set(frame["dtype"]))}
    page = write_page(
        out,
        title=title or conclusion(table),
        sections=[
            Figure(
                name="training",
                frame=frame,
                x="row",
                y="mse",
                series="run",
                title="Error on validation problems, row by row",
                x_label="row of the metrics",
                y_label="validation MSE",
                lines=u2,
                ends=True,
            ),
            Table(
                frame=table,
                title="Where they ended",
                caption=f"Test MSE of the best weights by validation error, on {counts} problems that training did not "
                "see, against targets in float64 or above.",
                formats=formats,
            ),
            Text(title="How they were made", body="\n\n".join(f"{r.card.name}: {r.card.command}" for r in runs)),
        ],
        spread="one run of each",
        settings={},
        environments={name: _environment(run) for name, run in zip(_names(runs), runs, strict=True)},
        command=command,
    )
    return page, table


def _names(runs: Sequence[Run]) -> list[str]:
    names = [run.card.name for run in runs]
    seeds = [f" (seed {run.card.seed})" if names.count(run.card.name) > 1 else "" for run in runs]
    marks = [name + seed for name, seed in zip(names, seeds, strict=True)]
    return [mark if marks.count(mark) == 1 else f"{mark} [{place}]" for place, mark in enumerate(marks, start=1)]


def _environment(run: Run) -> dict[str, object]:
    """What a run was trained in: here, where it was not saved."""
    if run.directory is None:
        return environment(str(next(run.model.parameters()).device))
    facts: dict[str, object] = json.loads(read_text(run.directory / ENVIRONMENT))
    return facts
