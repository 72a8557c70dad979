"""A page of figures, tables and text, and what made it.

    write_page(
        "reports/depth",
        title="Depth pays until four layers, and no further",
        sections=[
            Figure(name="depth", frame=rows, x="layers", y="median", low="q25", high="q75", series="model",
                   title="Four layers are at the floor", y_label="MSE", lines={"u² of float64": 2.0**-106}),
            Table(frame=rows, title="The numbers", formats={"median": ".1e"}),
            Text(body="How it was measured."),
        ],
        spread="the band runs from the lower to the upper quartile of ten seeds",
        settings={"layers": [1, 2, 4, 8], "seeds": 10},
        environments={"": environment},  # as it was while measuring
        command="python reports/depth/study.py",
    )

writes ``report.html``, which needs no other file, ``README.md``, the same for a repository's browser, and a picture of
each figure.
"""

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, PackageLoader

from precisionlab.report.plot import draw
from precisionlab.report.sections import Figure, Section, Table, Text
from precisionlab.runs.files import write_atomically

PAGE, README, INDEX = "report.html", "README.md", "index.html"
NOT_RECORDED = "Not recorded."


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
        return f"{type(self).__name__}({str(self.path)!r}: {self.title})"

    def _repr_html_(self) -> str:
        return self.html


def write_page(
    out: str | Path,
    *,
    title: str,
    sections: Sequence[Section],
    spread: str,
    settings: Mapping[str, object],
    environments: Mapping[str, Mapping[str, object]],
    command: str,
) -> Page:
    """Write a page.

    Args:
        out: The page's folder; made where it is missing, files of an older page in it are replaced.
        title: The conclusion, one sentence. It heads the page, and stands in the index.
        sections: What the page shows, in order: ``Figure``, ``Table``, ``Text``. The first figure stands in the index.
        spread: How far results vary, and over what: seeds, problems. Say so where there is one seed only.
        settings: What was run; values that JSON can hold, nested or not.
        environments: What the results were measured in, by the name of a table, empty where there is one. Never what
            the page is written in. None at all says that it was not recorded.
        command: The command line that makes this page.

    Returns:
        The page.

    Raises:
        ValueError: If the title, the spread or the command is blank, there is no section, or two figures bear one name.
    """
    for name, value in (("title", title), ("spread", spread), ("command", command)):
        if not value.strip():
            raise ValueError(f"{name} must not be blank")
    if not sections:
        raise ValueError("sections: got none, want at least one")
    figures = [section for section in sections if isinstance(section, Figure)]
    if len({figure.name for figure in figures}) < len(figures):
        raise ValueError(f"sections: two figures bear one name among {[figure.name for figure in figures]}")
    folder = Path(out)
    pictures = {figure.name: draw(figure) for figure in figures}
    given = {
        "title": title,
        "views": [_view(section, pictures) for section in sections],
        "spread": spread,
        "settings": list(_flatten(settings)),
        "environments": {name: list(_flatten(facts)) for name, facts in environments.items()},
        "not_recorded": NOT_RECORDED,
        "command": command,
    }
    text = re.sub(r"\n{3,}", "\n\n", _templates(escaped=False).get_template("page.md.j2").render(**given))
    page = _templates().get_template("page.html.j2")
    for name, picture in pictures.items():
        write_atomically(folder / f"{name}.png", picture)
    write_atomically(folder / README, text.rstrip() + "\n")
    write_atomically(folder / PAGE, page.render(**given, short=False))
    return Page(path=folder, title=title, sections=tuple(sections), html=page.render(**given, short=True))


def write_index(folder: str | Path, *, title: str = "Reports") -> Path:
    """List the pages of a folder on one page, from what each says of itself.

    Args:
        folder: Folder whose subfolders, at any depth, hold pages.
        title: Heading of the list.

    Returns:
        Path of the list, ``index.html`` in that folder.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is not a folder of reports")
    entries = []
    for page in sorted(root.rglob(PAGE)):
        if not (page.parent / README).exists():
            continue
        text = (page.parent / README).read_text(encoding="utf-8")
        picture = re.search(r"^!\[.*\]\((.+?)\)$", text, re.MULTILINE)
        place = page.parent.relative_to(root).as_posix()
        entries.append({
            "title": text.partition("\n")[0].removeprefix("# ").strip(),
            "page": quote(f"{place}/{PAGE}"),
            "picture": quote(f"{place}/{picture[1]}") if picture else "",
        })
    path = root / INDEX
    write_atomically(path, _templates().get_template("index.html.j2").render(title=title, entries=entries))
    return path


@cache
def _templates(*, escaped: bool = True) -> Environment:
    templates = Environment(
        loader=PackageLoader("precisionlab.report"), autoescape=escaped, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return templates


def _view(section: Section, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """A section as the templates read it."""
    view: dict[str, Any] = {"kind": type(section).__name__.lower(), "section": section}
    if isinstance(section, Text):
        parts = [part.strip("\n") for part in section.body.split("\n\n") if part.strip()]
        view["parts"] = [(part.startswith("    "), part) for part in parts]
    elif isinstance(section, Figure):
        view["picture"] = f"data:image/png;base64,{base64.b64encode(pictures[section.name]).decode()}"
    elif isinstance(section, Table):
        frame = section.frame
        view["columns"] = [
            (name, pd.api.types.is_numeric_dtype(frame[name]) and frame[name].dtype != bool) for name in frame
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
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flatten(mapping: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a nested mapping: the path of each, its parts joined by dots, and its value as text."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", str(value)
