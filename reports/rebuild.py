"""Make every page of this folder from what is saved, the list of them, and README.md's table; nothing is measured.

    python reports/rebuild.py

A page is made by the ``study.py`` beside it. One of which nothing is saved is named at the end,
and the exit status is then 1.
"""

import runpy
import sys
from pathlib import Path

from precisionlab.report import write_index

FOLDER = Path(__file__).parent


def main() -> None:
    """Make them, and name those that nothing is saved of: their pages stay as they are."""
    missing = []
    for script in sorted(FOLDER.glob("*/study.py")):
        study = runpy.run_path(str(script))["STUDY"]
        try:
            print(study.write(study.folder))
        except ValueError as error:
            missing.append(str(error))
    write_index(FOLDER)
    try:
        runpy.run_path(str(FOLDER / "readme.py"))["main"]()
    except ValueError as error:
        missing.append(f"README.md stays as it is: {error}")
    if missing:
        sys.exit("\n".join(missing))


if __name__ == "__main__":
    main()
