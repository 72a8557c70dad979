"""A study measures what is not current, and nothing else; its page says what it was measured in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from precisionlab import Cell
from precisionlab.report import Content, Measured, Study, Table, Trained

from ..small import NAME, SMALL

QUICK: dict[str, Any] = SMALL | {"attempts": 1, "phases.gauss-newton.steps": 1, "phases.adam.steps": 20}


def study(folder: Path, measured: list[int], *, steps: int = 3, width: int | None = None) -> Study:
    def measure() -> pd.DataFrame:
        measured.append(steps)
        return pd.DataFrame({"flags": [torch.are_deterministic_algorithms_enabled()], "steps": [steps]})

    def page(*frames: pd.DataFrame) -> Content:
        return Content(f"{len(frames)} tables", [Table(frame=frame, title="t") for frame in frames], "one seed")

    tables: dict[str, Trained | Measured] = {"results": Measured(function=measure, settings={"steps": steps})}
    if width is not None:
        cells = [Cell(experiment=NAME, settings=QUICK | {"width": width}, seed=seed) for seed in (0, 1)]
        tables["runs-table"] = Trained(cells=cells)
    return Study(script=str(folder / "study.py"), tables=tables, page=page)


def test_what_is_current_is_not_measured_again(tmp_path: Path) -> None:
    measured: list[int] = []
    for steps in (3, 3, 4, 4):
        study(tmp_path, measured, steps=steps).measure(tmp_path)
    assert measured == [3, 4]
    study(tmp_path, measured, steps=4).measure(tmp_path, again=True)
    assert measured == [3, 4, 4]


def test_a_page_of_other_settings_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path, []).measure(tmp_path)
    study(tmp_path, []).write(tmp_path)
    assert "other settings" not in (tmp_path / "README.md").read_text("utf-8")
    study(tmp_path, [], steps=4).write(tmp_path)
    assert "results.csv was measured with other settings" in (tmp_path / "README.md").read_text("utf-8")
    assert "other settings" in capsys.readouterr().err


def test_the_environment_is_that_of_measuring(tmp_path: Path) -> None:
    made = study(tmp_path, [])
    made.measure(tmp_path)
    (environment,) = json.loads((tmp_path / "environment.json").read_text("utf-8")).values()
    assert environment["math_flags"]["deterministic"]
    assert environment["threads"] == torch.get_num_threads()
    page = (made.write(tmp_path).path / "README.md").read_text("utf-8")
    assert "| True | 3 |" in page
    assert "math_flags.deterministic: True" in page
    settings = json.loads((tmp_path / "settings.json").read_text("utf-8"))
    settings["results"]["environment"] = ""
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    made.write(tmp_path)
    page = (tmp_path / "README.md").read_text("utf-8")
    assert "Not recorded." in page
    assert "math_flags" not in page


def test_nothing_saved_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing is saved of it; run python .*/study.py"):
        study(tmp_path, []).write(tmp_path)


def test_trainings_are_rows_of_this_study_alone(tmp_path: Path) -> None:
    narrow = study(tmp_path, [], width=4)
    narrow.measure(tmp_path, processes=1)
    assert "have 0 of" not in str(narrow.write(tmp_path))
    wide = study(tmp_path, [], width=6)
    with pytest.raises(ValueError, match="nothing is saved"):
        wide.write(tmp_path)
    wide.measure(tmp_path, processes=1)
    rows = pd.read_csv(tmp_path / "runs-table.csv")
    assert sorted(rows["width"]) == [4, 4, 6, 6]
    for made, width in ((narrow, 4), (wide, 6)):
        (_, table) = made.write(tmp_path).sections
        assert isinstance(table, Table)
        assert set(table.frame["width"]) == {width}


def test_a_study_is_a_command(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "two"
    folder.mkdir(parents=True)
    (folder / "study.py").write_text(
        "import pandas as pd\n"
        "from precisionlab.report import Content, Measured, Study, Table\n"
        "def measure():\n"
        "    print('measured')\n"
        "    return pd.DataFrame({'x': [1.5]})\n"
        "STUDY = Study(script=__file__, tables={'results': Measured(function=measure)},\n"
        "              page=lambda frame: Content('x is 1.5', [Table(frame=frame, title='t')], 'none'))\n"
        "if __name__ == '__main__':\n"
        "    STUDY.main()\n"
    )
    told = [
        subprocess.run([sys.executable, folder / "study.py", *words], capture_output=True, text=True, check=True).stdout
        for words in (["--again"], [])
    ]
    assert [text.count("measured") for text in told] == [1, 0]
    assert "x is 1.5" in told[0]
    assert "    python reports/two/study.py\n" in (folder / "README.md").read_text("utf-8")
