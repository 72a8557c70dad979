"""What is measured of solvers and models, and the pages that show it.

``report`` measures solvers and writes error against iteration. For a page of anything else, ``write_page`` takes a list
of ``Figure``, ``Table`` and ``Text``; a ``Study`` makes one from saved results, or measures again.
"""

from precisionlab.report.page import Page, write_index, write_page
from precisionlab.report.report import Report, report
from precisionlab.report.sections import Figure, Section, Table, Text
from precisionlab.report.study import Content, Measured, Study, Trained

__all__ = [
    "Content",
    "Figure",
    "Measured",
    "Page",
    "Report",
    "Section",
    "Study",
    "Table",
    "Text",
    "Trained",
    "report",
    "write_index",
    "write_page",
]
