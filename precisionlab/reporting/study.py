"""A study as a command: run what its table lacks, and write its page."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from precisionlab.runs.grid import Cell, grid


def main(
    cells: Callable[[], Sequence[Cell]],
    write: Callable[[pd.DataFrame, Path, str], None],
    *,
    script: str,
    description: str | None,
) -> None:
    """Run what the table lacks, and write the page.

    Args:
        cells: The study.
        write: Writes the page, given the results, its folder and what makes it.
        script: The study's file; its page lies beside it.
        description: For the help.
    """
    folder = Path(script).parent
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=folder)
    parser.add_argument("--processes", type=int)
    arguments = parser.parse_args()
    results = grid(cells(), arguments.out / "results.csv", processes=arguments.processes)
    write(results, arguments.out, f"python reports/{folder.name}/study.py")
