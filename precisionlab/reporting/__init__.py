"""Results made into tables, pictures and pages; nothing is computed here.

``Curves`` and ``Meta`` are what a report is made from, ``write_report`` makes it, ``write_index`` lists many.
"""

from precisionlab.reporting.index import write_index
from precisionlab.reporting.report import Report, write_report
from precisionlab.reporting.results import RESULT_COLUMNS, UNIT_ROUNDOFF, Curves, Meta, ProblemSet, read_results

__all__ = [
    "RESULT_COLUMNS",
    "UNIT_ROUNDOFF",
    "Curves",
    "Meta",
    "ProblemSet",
    "Report",
    "read_results",
    "write_index",
    "write_report",
]
