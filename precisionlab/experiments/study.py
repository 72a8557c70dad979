"""A study: many short trainings, a row of a table for each, so that figures are made from what was saved.

A cell is an experiment with a seed and the labels that tell it from the others. `run` trains those that have no row in
the table yet, and writes the table after every one: a study that is stopped goes on where it was.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import precisionlab
from precisionlab.experiments.experiment import Experiment
from precisionlab.files import write_atomically

Label = str | int | float | bool
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of a study.

    Args:
        labels: What tells it from the others, the first columns of its row.
        experiment: What is trained.
        seed: Of weights and data.
        time_limit: Seconds it may take; None for as long as its recipe does.
        run_dir: Where the run is kept; None keeps no more than its row.
    """

    labels: Mapping[str, Label]
    experiment: Experiment
    seed: int = 0
    time_limit: float | None = None
    run_dir: Path | None = None


def run(cells: Sequence[Cell], table: Path, *, processes: int = 2, threads: int = 1) -> pd.DataFrame:
    """Train the cells that the table lacks.

    Args:
        cells: The study.
        table: A CSV file; made where it is missing.
        processes: How many cells at once.
        threads: Of each.

    Returns:
        A row a cell, in their order; rows of other cells stay in the file. The columns are the labels, seed,
        parameters, test_mse, target_mean_square, seconds and ended.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    saved = _saved(table)
    rows = {key: row for row in saved for cell in cells if (key := _key(cell)) == _row_key(cell, row)}
    others = [row for row in saved if all(row is not known for known in rows.values())]
    missing = [cell for cell in cells if _key(cell) not in rows]
    # Spawned, not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_trained, cell, threads): cell for cell in missing}
        for done in as_completed(running):
            cell = running[done]
            rows[_key(cell)] = done.result()
            print(f"{len(rows)}/{len(cells)}: {rows[_key(cell)]}", flush=True)
            frame = pd.DataFrame([*others, *(rows[_key(cell)] for cell in cells if _key(cell) in rows)])
            write_atomically(table, frame.to_csv(index=False).encode())
    return pd.DataFrame([rows[_key(cell)] for cell in cells])


def main(
    cells: Callable[[], Sequence[Cell]],
    write: Callable[[pd.DataFrame, Path, str], None],
    *,
    command: str,
    out: str,
    description: str | None,
) -> None:
    """A study as a command: run what its table lacks, and write its page.

    Args:
        cells: The study.
        write: Writes the page, given the results, its folder and what makes it.
        command: What runs the module.
        out: The page's folder, where no other is given.
        description: For the help.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    results = run(cells(), arguments.out / "results.csv", processes=arguments.processes)
    write(results, arguments.out, f"{command} --out {arguments.out}")


def _trained(cell: Cell, threads: int) -> Row:
    torch.set_num_threads(threads)
    run = precisionlab.train(
        cell.experiment, seed=cell.seed, time_limit=cell.time_limit, run_dir=cell.run_dir, progress=False
    )
    generator = torch.Generator().manual_seed(0)
    targets = cell.experiment.task.sample(2048, generator=generator, dtype=torch.float64).target
    return {
        **cell.labels,
        "seed": cell.seed,
        "parameters": run.card.parameters,
        "test_mse": run.card.test_mse,
        "target_mean_square": float(targets.square().mean()),
        "seconds": run.card.seconds,
        "ended": run.card.ended,
    }


def _saved(table: Path) -> list[Row]:
    if not table.exists():
        return []
    frame = pd.read_csv(table)
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _key(cell: Cell) -> tuple[str, ...]:
    return (*(str(value) for value in cell.labels.values()), str(cell.seed))


def _row_key(cell: Cell, row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in (*cell.labels, "seed"))
