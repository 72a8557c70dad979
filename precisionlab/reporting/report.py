"""Writing a report: a folder with the results, what they mean, and a page that shows both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from precisionlab.reporting.figure import draw_png
from precisionlab.reporting.files import to_json
from precisionlab.reporting.page import render_fragment, render_page
from precisionlab.reporting.results import Curves, Meta, ProblemSet, read_results
from precisionlab.reporting.sections import column_kinds, read_csv, to_csv
from precisionlab.reporting.summary import conclusion, headline, summarise
from precisionlab.runs.files import write_atomically

PAGE, PICTURE, RESULTS, SUMMARY, ENVIRONMENT, CARD = (
    "report.html",
    "mse_vs_iteration.png",
    "results.csv",
    "summary.csv",
    "environment.json",
    "report.json",
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report:
    """A report that was written.

    Args:
        path: Its folder.
        results: The rows of ``results.csv``.
        summary: The table: one row per solver and dtype, the last iterate of each.
        conclusion: The sentences that the page opens with.
        html: The short form that a notebook shows.
    """

    path: Path
    results: pd.DataFrame
    summary: pd.DataFrame
    conclusion: str
    html: str

    @property
    def page(self) -> Path:
        """The page, to be opened in a browser."""
        return self.path / PAGE

    @property
    def picture(self) -> Path:
        """The picture of error against iteration."""
        return self.path / PICTURE

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r}: {self.conclusion})"

    def _repr_html_(self) -> str:
        return self.html


def write_report(out_dir: str | Path, curves: Curves, meta: Meta) -> Report:
    """Write a report: page, picture, results and environment, each file atomically and the page last.

    Args:
        out_dir: The report's folder; made where it is missing, files of an older report in it are replaced.
        curves: The results.
        meta: What is said about them.

    Returns:
        The report, with its table.
    """
    out = Path(out_dir)
    table = summarise(curves, meta.baseline)
    said, title = conclusion(curves, meta, table), headline(curves, meta, table)
    png = draw_png(curves, title=title, caption=_caption(meta))
    page = render_page(curves, meta, table=table, conclusion=said, png=png)
    html = render_fragment(curves, meta, table=table, conclusion=said, png=png)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / RESULTS, curves.to_csv())
    write_atomically(out / ENVIRONMENT, to_json(meta.environment))
    write_atomically(out / PICTURE, png)
    if curves.summary is not None:
        write_atomically(out / SUMMARY, to_csv(curves.summary))
    write_atomically(out / CARD, _card(curves, meta, said))
    write_atomically(out / PAGE, page)
    return Report(path=out, results=curves.frame.copy(), summary=table, conclusion=said, html=html)


def _caption(meta: Meta) -> str:
    return (
        f"Median and quartiles over {meta.problems.sentence()}. Reference: {meta.reference}. The last iterate counts."
    )


def rebuild_report(folder: str | Path) -> Report:
    """Make a report again from what ``write_report`` saved; nothing is measured.

    Args:
        folder: The report's folder.

    Returns:
        The report.

    Raises:
        ValueError: If the folder was written by a version that saved less.
    """
    path = Path(folder)
    card = json.loads((path / CARD).read_text(encoding="utf-8"))
    if "meta" not in card:
        raise ValueError(f"{path / CARD} says too little to make the report again; measure it again: {card['command']}")
    told = dict(card["meta"])
    meta = Meta(**{
        **told,
        "problems": ProblemSet(**told["problems"]),
        "generated_at": datetime.fromisoformat(card["generated_at"]),
        "environment": json.loads((path / ENVIRONMENT).read_text(encoding="utf-8")),
    })
    summary = read_csv(path / SUMMARY, card["summary"]) if card["summary"] else None
    frame = read_results((path / RESULTS).read_text(encoding="utf-8"))
    return write_report(path, Curves(frame=frame, summary=summary), meta)


def _card(curves: Curves, meta: Meta, said: str) -> str:
    card = {
        "title": meta.title,
        "conclusion": said,
        "generated_at": meta.generated_at.isoformat(timespec="seconds"),
        "command": meta.command,
        "problems": meta.problems.sentence(),
        "meta": {
            "title": meta.title,
            "command": meta.command,
            "problems": asdict(meta.problems),
            "reference": meta.reference,
            "notes": meta.notes,
            "subjects": meta.subjects,
            "baseline": meta.baseline,
            "error": meta.error,
        },
        "summary": None if curves.summary is None else column_kinds(curves.summary),
    }
    return to_json(card)
