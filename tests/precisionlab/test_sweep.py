"""A sweep of small runs, killed and started again: every run once, one table."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import precisionlab
from precisionlab import config as configs
from precisionlab.cli import main
from precisionlab.runs import RunDirectory
from precisionlab.sweep import LARGEST_SWEEP, SweepConfig, plan

from .processes import started
from .small import NAME

SWEEP = f"""
experiments = ["{NAME}"]
seeds = [0, 1, 2, 3, 4]

[settings]
n = [2]
rows = [4]
width = [4, 6]
heads = [1]
attempts = [1]
"phases.adam.steps" = [100, 150]
"phases.adam.until" = [2.0]
"phases.gauss-newton.steps" = [4]
"""
RUNS = 20


def start(folder: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "precisionlab", "sweep", folder / "sweep.toml", "--out", folder / "out"]
    return started([*command, "--processes", "2"], stdout=subprocess.PIPE)


def test_a_killed_sweep_started_again_does_no_run_twice(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "sweep.toml").write_text(SWEEP)
    cards = tmp_path / "out" / "runs"
    with start(tmp_path) as process:
        while len(list(cards.rglob("card.json"))) < RUNS // 4 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in cards.rglob("card.json")}
    assert RUNS // 4 <= len(done) < RUNS

    with start(tmp_path) as again:
        told, errors = again.communicate()
    assert again.returncode == 0, errors
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(table) == RUNS
    assert not table.duplicated(["seed", "width", "phases.adam.steps"]).any()
    assert table["test_mse"].notna().all()
    assert f"in {tmp_path / 'out' / 'results.csv'}" in told
    assert done == {path: path.stat().st_mtime_ns for path in done}, "a run that had ended was done again"
    for directory in table["directory"]:
        run = precisionlab.load(tmp_path / "out" / directory)
        assert not run.metrics.duplicated(["attempt", "phase", "step"]).any()
    sample = table.iloc[0]
    assert sample["test_mse"] == precisionlab.load(tmp_path / "out" / sample["directory"]).card.test_mse

    finished = {path: path.stat().st_mtime_ns for path in cards.rglob("card.json")}
    with start(tmp_path) as third:
        third.communicate()
    assert third.returncode == 0
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


def test_a_run_that_fails_is_a_row_that_says_so(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    text = SWEEP.replace("[0, 1, 2, 3, 4]", "[0]").replace("[4, 6]", "[4]").replace("[100, 150]", "[100]")
    (tmp_path / "sweep.toml").write_text(text + '"phases.adam.learning_rate" = [0.01, 1e308]\n')
    with start(tmp_path) as process:
        told, _ = process.communicate()
    assert process.returncode == 1
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert table["ended"].tolist()[1] == "failed: no start had a finite error; try a smaller learning rate"
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[0, 1, 2, 3, 4]", "[0, 0]", "a run occurs twice"),
        ("[0, 1, 2, 3, 4]", "[]", "seeds: Tuple should have at least 1 item"),
        ("[0, 1, 2, 3, 4]", f"{[*range(LARGEST_SWEEP)]}", f"runs, want at most {LARGEST_SWEEP}"),
        ("width = [4, 6]", "widht = [4, 6]", "did you mean 'width'?"),
        ("width = [4, 6]", "width = [1000000000]", "width: Input should be less than or equal to"),
        (NAME, "../../etc", "unknown experiment '../../etc'"),
        ("experiments", "experiment", "experiments: Field required"),
    ],
)
def test_a_sweep_is_checked_before_it_starts(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP.replace(old, new))
    result = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_directory_keeps_to_its_sweep(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sweep.toml").write_text(SWEEP.replace("4]", "5]"))
    result = CliRunner().invoke(main, ["sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "holds another sweep" in result.stderr


def test_every_combination_has_a_directory_of_its_own(tmp_path: Path) -> None:
    runs = plan(configs.loads(SweepConfig, SWEEP, source="sweep"), tmp_path)
    assert len({run.directory for run in runs}) == len(runs) == RUNS
    assert all(run.directory.is_relative_to(tmp_path) for run in runs)
    assert not any(RunDirectory(run.directory).started for run in runs)
    assert os.listdir(tmp_path) == []
