"""Results made into tables, pictures and pages; nothing is computed here.

``Curves`` and ``Meta`` are what a report of error against iteration is made from, and ``write_report`` makes it. For a
page of anything else, ``write_page`` takes a list of ``Figure``, ``Table`` and ``Text``. ``rebuild`` makes a page again
from what was saved, ``write_index`` lists many.
"""

from precisionlab.reporting.document import Page, write_page
from precisionlab.reporting.index import write_index
from precisionlab.reporting.rebuild import rebuild, rebuild_all
from precisionlab.reporting.report import Report, write_report
from precisionlab.reporting.results import RESULT_COLUMNS, UNIT_ROUNDOFF, Curves, Meta, ProblemSet, read_results
from precisionlab.reporting.sections import Figure, Section, Table, Text

__all__ = [
    "RESULT_COLUMNS",
    "UNIT_ROUNDOFF",
    "Curves",
    "Figure",
    "Meta",
    "Page",
    "ProblemSet",
    "Report",
    "Section",
    "Table",
    "Text",
    "read_results",
    "rebuild",
    "rebuild_all",
    "write_index",
    "write_page",
    "write_report",
]
