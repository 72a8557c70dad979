"""A study: what it measures, what its page says of that, and the command that makes the page.

A script lies beside its page and holds a `Study`; run, it makes the page from saved results where they are current, and
measures where they are not. Results are current where they were measured with the settings that the script has now, of
checkpoints with the weights that these have now. What they were measured in is saved with them, and so is never that of
the page.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from precisionlab.precision import environment, math_flags
from precisionlab.report.page import Page, write_page
from precisionlab.report.sections import Section
from precisionlab.runs.files import write_atomically
from precisionlab.runs.grid import Cell, grid, remember, saved
from precisionlab.runs.loading import load
from precisionlab.runs.tables import read_table, write_table

SETTINGS, ENVIRONMENT = "settings.json", "environment.json"


class Content(NamedTuple):
    """What a page says of the results: see `write_page`."""

    title: str
    sections: Sequence[Section]
    spread: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A table with a row for every run of a grid.

    Args:
        cells: The runs.
    """

    cells: Sequence[Cell]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A table that a function measures.

    Args:
        function: Measures it.
        settings: All that the result depends on but the checkpoints; values that JSON can hold.
        checkpoints: Shipped checkpoints, or run directories, that are measured.
    """

    function: Callable[[], pd.DataFrame]
    settings: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Sequence[str] = ()

    def key(self) -> dict[str, Any]:
        """Settings, and digests of the checkpoints' weights, as JSON gives them back."""
        weights = {name: _digest(name) for name in self.checkpoints}
        key: dict[str, Any] = json.loads(json.dumps({**self.settings, **({"weights": weights} if weights else {})}))
        return key


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study.

    Args:
        script: The study's file; page and results lie beside it.
        tables: What is measured, by the name of the table.
        page: What the page says, given the tables in their order.
        settings: What was run, for the page's reader; those of measured tables are told as well.
    """

    script: str
    tables: Mapping[str, Trained | Measured]
    page: Callable[..., Content]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where page and results lie."""
        return Path(self.script).parent

    @property
    def command(self) -> str:
        """What makes the page, from the repository's root."""
        return f"python {self.folder.parent.name}/{self.folder.name}/{Path(self.script).name}"

    def main(self) -> None:
        """Make the page, as a command."""
        parser = argparse.ArgumentParser(
            description=f"Make the page {self.folder.name} from what is saved, or measure."
        )
        parser.add_argument("--saved", action="store_true", help="measure nothing, even where settings have changed")
        parser.add_argument("--again", action="store_true", help="measure again what a function measures")
        parser.add_argument("--out", type=Path, default=self.folder, help="where to; beside the script by default")
        parser.add_argument("--processes", type=int, help="trainings at a time; one a core by default")
        parser.add_argument("--address", help="a Ray cluster's, for trainings")
        given = parser.parse_args()
        if not given.saved:
            self.measure(given.out, again=given.again, processes=given.processes, address=given.address)
        print(self.write(given.out))

    def measure(
        self, out: Path, *, again: bool = False, processes: int | None = None, address: str | None = None
    ) -> None:
        """Measure what is not saved, or no longer current.

        Args:
            out: Where results lie.
            again: Whether to measure again what a function measures.
            processes: Trainings at a time; None for one a core.
            address: Of a Ray cluster, for trainings.
        """
        for name, table in self.tables.items():
            if isinstance(table, Trained):
                grid(table.cells, out / f"{name}.csv", processes=processes, address=address)
            elif again or self._known(out).get(name, {}).get("settings") != table.key():
                with math_flags():
                    measured_in = environment("cpu")
                    frame = table.function()
                write_table(out / f"{name}.csv", frame)
                entry = {"settings": table.key(), "environment": remember(measured_in, out)}
                known = {**self._known(out), name: entry}
                write_atomically(out / SETTINGS, json.dumps(known, indent=2, ensure_ascii=False) + "\n")

    def write(self, out: Path) -> Page:
        """Write the page from what is saved; a ValueError where nothing is saved of a table."""
        frames, warnings = [], []
        known, settings, environments = self._known(out), dict(self.settings), dict[str, Mapping[str, Any]]()
        recorded = json.loads((out / ENVIRONMENT).read_text("utf-8")) if (out / ENVIRONMENT).exists() else {}
        for name, table in self.tables.items():
            path = out / f"{name}.csv"
            if isinstance(table, Trained):
                rows = saved(path)
                frames.append(
                    pd.DataFrame([
                        {**cell.named, **rows[cell.key], **cell.named} for cell in table.cells if cell.key in rows
                    ])
                )
                if len(frames[-1]) < len(table.cells):
                    warnings.append(f"{path.name} has {len(frames[-1])} of the {len(table.cells)} runs of this study")
                places = list(dict.fromkeys(frames[-1]["environment"])) if len(frames[-1]) else []
            else:
                frames.append(read_table(path) if path.exists() else pd.DataFrame())
                entry = known.get(name, {})
                settings |= entry.get("settings", {})
                if entry.get("settings") != table.key():
                    warnings.append(f"{path.name} was measured with other settings than the script has now")
                places = [entry.get("environment", "")]
            if frames[-1].empty:
                raise ValueError(f"{path}: nothing is saved of it; run {self.command}")
            for place in places:
                label = f"{path.name}, {place}" if len(places) > 1 else path.name
                environments[label] = recorded.get(place, {})
        if len({json.dumps(facts) for facts in environments.values()}) == 1:
            environments = {"": next(iter(environments.values()))}
        content = self.page(*frames)
        for warning in warnings:
            print(f"{self.command}: {warning}", file=sys.stderr)
        notes = "".join(f" {warning}." for warning in warnings)
        return write_page(
            out,
            title=content.title,
            sections=content.sections,
            spread=content.spread + (f".{notes}" if notes else ""),
            settings=settings,
            environments=environments,
            command=self.command,
        )

    @staticmethod
    def _known(out: Path) -> dict[str, Any]:
        path = out / SETTINGS
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _digest(name: str) -> str:
    """Of a checkpoint's weights."""
    digest = hashlib.sha256()
    for parameter, tensor in sorted(load(name).model.state_dict().items()):
        digest.update(parameter.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
