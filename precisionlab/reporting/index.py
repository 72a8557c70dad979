"""The page that lists the reports of a folder: title, conclusion, picture and date of each, newest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from precisionlab.reporting.page import environment
from precisionlab.reporting.report import CARD, PAGE, PICTURE
from precisionlab.runs.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class _Entry:
    title: str
    conclusion: str
    command: str
    generated_at: datetime
    page: str
    picture: str


def write_index(reports_dir: str | Path, *, title: str = "Reports") -> Path:
    """List the reports of a folder on one page, from what each wrote about itself.

    Args:
        reports_dir: Folder whose subfolders, at any depth, are reports; one that holds none is passed over.
        title: Heading of the page.

    Returns:
        Path of the page, ``index.html`` in that folder.

    Raises:
        NotADirectoryError: If there is no such folder.
    """
    folder = Path(reports_dir)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder of reports")
    cards = sorted(folder.rglob(CARD))
    entries = [_read(card, folder) for card in cards if (card.parent / PAGE).is_file()]
    entries.sort(key=lambda entry: entry.generated_at, reverse=True)
    path = folder / "index.html"
    write_atomically(
        path, environment().get_template("index.html.j2").render(title=title, entries=entries, tables=_tables(folder))
    )
    return path


def _tables(folder: Path) -> list[tuple[str, str]]:
    """Find what is published as a text alone.

    Returns:
        Title and address of each README beside which there is no page.
    """
    texts = [text for text in sorted(folder.glob("*/README.md")) if not (text.parent / CARD).is_file()]
    titles = [text.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip() for text in texts]
    places = [quote(text.relative_to(folder).as_posix()) for text in texts]
    return list(zip(titles, places, strict=True))


def _read(card: Path, folder: Path) -> _Entry:
    place = card.parent.relative_to(folder).as_posix()
    try:
        told = json.loads(card.read_text(encoding="utf-8"))
        picture = told.get("picture", PICTURE)
        return _Entry(
            title=told["title"],
            conclusion=told["conclusion"],
            command=told["command"],
            generated_at=datetime.fromisoformat(told["generated_at"]),
            page=quote(f"{place}/{PAGE}"),
            picture=quote(f"{place}/{picture}") if picture else "",
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{card} does not describe a report: {error!r}; write that report again") from error
