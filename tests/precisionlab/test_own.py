"""A user's own file, whole: trained, killed, resumed, loaded in a fresh process and swept, outside the package."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from precisionlab.runs.determinism import MEASURED

from .own import written

LONGER = ["--set", "phases.descent.steps=40", "--set", "phases.adam.steps=200"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    written(folder)
    return folder


def begin(folder: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "precisionlab", *map(str, words)]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    process = begin(folder, *words)
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def done(folder: Path, *words: object) -> str:
    result = command(folder, *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def bits(run: Path) -> tuple[bytes, list[dict[str, object]]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return (run / "model.safetensors").read_bytes(), [{k: v for k, v in row.items() if k != MEASURED} for row in rows]


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    done(folder, "train", "mine.py:CUBE", "--run-dir", "whole", *LONGER)
    return folder / "whole"


def test_it_is_trained_by_its_own_phase_first(whole: Path) -> None:
    assert [row["phase"] for row in bits(whole)[1]][:41] == ["descent"] * 40 + ["adam"]
    card = json.loads((whole / "card.json").read_text())
    assert card["summary"] == "gated-mean emits cube-mean (rows = 8)"
    assert card["command"].startswith("precisionlab train mine.py:CUBE --seed 0 --set phases.descent.steps=40")
    assert tomllib.loads((whole / "config.toml").read_text())["plugins"] == ["mine.py"]


def test_killed_and_resumed_it_ends_in_the_same_bits(folder: Path, whole: Path) -> None:
    words = ("train", "mine.py:CUBE", "--run-dir", "killed", *LONGER)
    done(folder, *words, "--time-limit", "1e-9")
    process = begin(folder, *words, "--resume")
    while process.poll() is None and not (folder / "killed" / ".lock").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done(folder, *words, "--resume")
    assert bits(folder / "killed") == bits(whole)
    # And once more, when there is nothing left to do.
    done(folder, *words, "--resume")
    assert bits(folder / "killed") == bits(whole)


def test_a_fresh_process_is_told_what_to_import_and_takes_it_as_a_plugin(folder: Path, whole: Path) -> None:
    code = "import precisionlab, sys; run = precisionlab.load('whole'); print(run.experiment.model.mixer.rank)"
    alone = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert "unknown task 'cube-mean'" in alone.stderr
    assert "This run was made with mine.py: import that first, or give --plugin mine.py" in alone.stderr
    imported = [sys.executable, "-c", f"import mine; {code}"]
    assert subprocess.run(imported, cwd=folder, capture_output=True, text=True, check=True).stdout == "2\n"
    refused = command(folder, "report", "whole", "--out", "page")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "--plugin mine.py" in refused.stderr


def test_a_plugin_that_is_installed_is_imported_by_itself(folder: Path, whole: Path) -> None:
    facts = folder / "site" / "mine-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[precisionlab.plugins]\nmine = mine\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(facts.parent)])}
    code = f"import precisionlab; print(precisionlab.load({str(whole)!r}).card.name)"
    words = [sys.executable, "-c", code]
    loaded = subprocess.run(words, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout == "mine/cube-mean\n"


def test_the_command_finds_a_module_in_the_folder_it_is_called_from(folder: Path, whole: Path) -> None:
    program = str(Path(sys.executable).with_name("precisionlab"))
    words = [program, "train", "--again", "whole", "--run-dir", "elsewhere", "--plugin", "mine", "--time-limit", "1e-9"]
    subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert bits(folder / "elsewhere")[1] == bits(whole)[1][:1]


def test_the_command_of_its_card_makes_it_again(folder: Path, whole: Path) -> None:
    words = json.loads((whole / "card.json").read_text())["command"].split()
    assert words[:2] == ["precisionlab", "train"]
    done(folder, *words[1:], "--run-dir", "by-its-card")
    assert bits(folder / "by-its-card") == bits(whole)
    done(folder, "train", "--again", "whole", "--run-dir", "again", "--plugin", "mine.py")
    assert bits(folder / "again") == bits(whole)


def test_it_is_reported(folder: Path, whole: Path) -> None:
    done(folder, "report", "whole", "--plugin", "mine.py", "--out", "page")
    text = (folder / "page" / "README.md").read_text(encoding="utf-8")
    assert "gated-mean emits cube-mean (rows = 8)" in text
    assert "precisionlab report whole --out page --plugin mine.py" in text
    assert len(pd.read_csv(folder / "page" / "results.csv")) == len(bits(whole)[1])


def test_it_is_swept(folder: Path) -> None:
    grid = 'experiments = ["mine.py:CUBE"]\nseeds = [0, 1, 2]\n[settings]\n"model.width" = [4, 6]\n'
    (folder / "grid.toml").write_text(grid + '"phases.gauss-newton.steps" = [1]\n')
    done(folder, "grid", "grid.toml", "--out", "grid", "--processes", "2")
    table = pd.read_csv(folder / "grid" / "results.csv")
    assert len(table) == 6
    assert table["ended"].tolist() == ["exhausted"] * 6
    assert table["test_mse"].nunique() == 6
    assert sorted(table["model.width"].unique()) == [4, 6]
