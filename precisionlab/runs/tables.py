"""Tables as CSV files, every number to its last bit."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from precisionlab.runs.files import write_atomically

_TRUTH = {"True": True, "False": False}
_READERS: tuple[Callable[[str], object], ...] = (int, float, _TRUTH.__getitem__)


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table.

    Args:
        path: Where to.
        frame: Of text, numbers and truth values; NaN is written as nan.
    """
    write_atomically(path, frame.to_csv(index=False, na_rep="nan", lineterminator="\n"))


def read_table(path: Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read what `write_table` wrote.

    Args:
        path: Where from.
        text: Columns that are text whatever they look like.

    Returns:
        The same frame: a column is of whole numbers, of numbers or of truth values where every cell is, else of text.
    """
    # Python's own conversion is exact in every version of pandas, and no text is mistaken for a missing value.
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.DataFrame({name: frame[name] if name in text else _converted(frame[name]) for name in frame})


def _converted(column: pd.Series) -> pd.Series:
    for reader in _READERS:
        try:
            return pd.Series([reader(cell) for cell in column], name=column.name)
        except (ValueError, KeyError):
            continue
    return column
