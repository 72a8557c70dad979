"""Published reports made again from what they saved."""

from __future__ import annotations

import json
from pathlib import Path

from precisionlab.reporting.document import Page, rebuild_page
from precisionlab.reporting.index import write_index
from precisionlab.reporting.report import CARD, Report, rebuild_report


def rebuild(folder: str | Path) -> Report | Page:
    """Make the page and the pictures of a report again from what it saved; nothing is measured.

    Args:
        folder: What ``write_report`` or ``write_page`` wrote.

    Returns:
        The report, or the page.

    Raises:
        FileNotFoundError: If a file of it is missing.
        ValueError: If the folder was written by a version that saved less.
    """  # noqa: DOC502 - raised by what this calls
    card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
    return rebuild_page(folder) if "sections" in card else rebuild_report(folder)


def rebuild_all(reports_dir: str | Path) -> list[Report | Page]:
    """Make every report of a folder again, at any depth, and the page that lists them.

    Args:
        reports_dir: The folder.

    Returns:
        The reports, by path.

    Cost:
        About two seconds a report.
    """
    folder = Path(reports_dir)
    made = [rebuild(card.parent) for card in sorted(folder.rglob(CARD))]
    write_index(folder)
    return made
