"""A page of tables, figures and text, and what made it: all is saved, and the page made again without measuring.

    write_page(
        "reports/depth",
        title="Depth pays until four layers, and no further",
        sections=[
            Figure(name="depth", frame=rows, x="layers", y="median", low="q25", high="q75", series="model",
                   title="Four layers are at the floor", y_label="MSE", lines={"u² of float64": 2.0**-106}),
            Table(name="depth-table", frame=rows, title="The numbers", formats={"median": ".1e"}),
            Text(body="What is seen, and why."),
        ],
        spread="the band runs from the lower to the upper quartile of ten seeds",
        config={"layers": [1, 2, 4, 8], "seeds": 10},
        environment=precisionlab.precision.environment("cpu"),
        command="python reports/depth/study.py",
    )

writes ``report.html``, ``README.md`` (the same for a repository's browser), ``report.json``, ``environment.json`` and,
for each figure and table, its data and picture. ``precisionlab.reporting.rebuild`` makes page and pictures again from
these alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from precisionlab.reporting.chart import figure_data
from precisionlab.reporting.files import to_json
from precisionlab.reporting.page import data_uri, flatten
from precisionlab.reporting.page import environment as templates
from precisionlab.reporting.plot import draw
from precisionlab.reporting.report import CARD, ENVIRONMENT, PAGE
from precisionlab.reporting.sections import Figure, Section, Table, Text, described, restored, to_csv
from precisionlab.runs.files import write_atomically

README = "README.md"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Page:
    """A page that was written.

    Args:
        path: Its folder.
        title: Its conclusion.
        sections: What it shows.
        html: The short form that a notebook shows: the sections alone.
    """

    path: Path
    title: str
    sections: tuple[Section, ...]
    html: str = field(repr=False)

    @property
    def page(self) -> Path:
        """The page, to be opened in a browser."""
        return self.path / PAGE

    def __repr__(self) -> str:
        return f"Page({str(self.path)!r}: {self.title})"

    def _repr_html_(self) -> str:
        return self.html


def write_page(
    out: str | Path,
    *,
    title: str,
    sections: Sequence[Section],
    spread: str,
    config: Mapping[str, object],
    environment: Mapping[str, object],
    command: str,
    generated_at: datetime | None = None,
) -> Page:
    """Write a page of tables, figures and text, and save all that it is made from.

    Args:
        out: The page's folder; made where it is missing, files of an older page in it are replaced.
        title: The conclusion, one sentence. It heads the page, and stands in the index.
        sections: What the page shows, in order: ``Figure``, ``Table``, ``Text``. The first figure stands in the index.
        spread: How far results vary, and over what: seeds, problems. Say so where there is one seed only.
        config: What was run; values that JSON can hold, nested or not.
        environment: What the numbers were produced with: ``precisionlab.precision.environment("cpu")``.
        command: The command line that measures again and writes this page.
        generated_at: When it was measured, a time with its zone; None for now.

    Returns:
        The page.

    Raises:
        ValueError: If the title, the spread or the command is blank, there is no section, two bear one name, or the
            time has no zone.
    """
    for name, value in (("title", title), ("spread", spread), ("command", command)):
        if not value.strip():
            raise ValueError(f"{name} must not be blank")
    if not sections:
        raise ValueError("sections: got none, want at least one")
    names = [section.name for section in sections if not isinstance(section, Text)]
    if len(set(names)) < len(names):
        raise ValueError(f"sections: two bear one name among {names}")
    when = datetime.now(UTC) if generated_at is None else generated_at
    if when.tzinfo is None:
        raise ValueError(f"generated_at must carry a time zone, got {when!r}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for section in sections:
        if not isinstance(section, Text):
            write_atomically(folder / f"{section.name}.csv", to_csv(section.frame))
    write_atomically(folder / ENVIRONMENT, to_json(environment))
    pictures = [section.name for section in sections if isinstance(section, Figure)]
    card: dict[str, object] = {
        "title": title,
        "conclusion": spread,
        "generated_at": when.isoformat(timespec="seconds"),
        "command": command,
        "picture": f"{pictures[0]}.png" if pictures else None,
        "spread": spread,
        "config": config,
        "sections": [described(section) for section in sections],
    }
    write_atomically(folder / CARD, to_json(card))
    return rebuild_page(folder)


def rebuild_page(folder: str | Path) -> Page:
    """Make a page and its pictures again from what ``write_page`` saved; nothing is measured.

    Args:
        folder: The page's folder.

    Returns:
        The page.

    Raises:
        ValueError: If a file does not fit what ``write_page`` writes.
    """
    path = Path(folder)
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    if "sections" not in card:
        raise ValueError(f"{path / CARD} is not of a page of sections")
    facts = json.loads((path / ENVIRONMENT).read_text(encoding="utf-8"))
    sections = tuple(restored(one, path) for one in card["sections"])
    views = []
    for section in sections:
        picture = ""
        if isinstance(section, Figure):
            png = draw(section)
            write_atomically(path / f"{section.name}.png", png)
            picture = data_uri(png)
        views.append(_view(section, picture))
    given = {
        "card": card,
        "when": datetime.fromisoformat(card["generated_at"]),
        "views": views,
        "charts": {str(i): figure_data(one) for i, one in enumerate(sections) if isinstance(one, Figure)},
        "config": list(flatten(card["config"])),
        "facts": list(flatten(facts)),
    }
    write_atomically(path / README, _markdown(given))
    write_atomically(path / PAGE, templates().get_template("page.html.j2").render(**given))
    html = templates().get_template("sections.html.j2").render(**given, short=True)
    return Page(path=path, title=card["title"], sections=sections, html=html)


def _view(section: Section, picture: str) -> dict[str, object]:
    view: dict[str, object] = {"kind": type(section).__name__.lower(), "section": section, "picture": picture}
    if isinstance(section, Text):
        parts = [part.strip("\n") for part in section.body.split("\n\n") if part.strip()]
        view["parts"] = [(part.startswith("    "), part) for part in parts]
    if isinstance(section, Table):
        frame = section.frame
        view["columns"] = [
            (str(name), pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool) for name in frame
        ]
        view["rows"] = [
            [_cell(value, section.formats.get(str(name), "")) for name, value in zip(frame, row, strict=True)]
            for row in frame.itertuples(index=False)
        ]
    return view


def _cell(value: object, form: str) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "–"
    if form:
        return format(value, form)
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _markdown(given: Mapping[str, object]) -> str:
    text = templates(escaped=False).get_template("page.md.j2").render(**given)
    return text.rstrip() + "\n"
