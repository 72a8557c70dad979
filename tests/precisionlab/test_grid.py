"""A grid of small runs: killed and started again, every run is made once, and no row is of other settings."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import precisionlab
from precisionlab import Cell, grid
from precisionlab.cli import main
from precisionlab.runs import RunDirectory
from precisionlab.runs.grid import LARGEST_GRID, saved
from precisionlab.runs.grid import _train as train_cell
from precisionlab.runs.tables import read_table

from .processes import started
from .small import NAME, SMALL

FILE = f"""
experiments = ["{NAME}"]
seeds = [0, 1, 2]

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
RUNS = 12
QUICK: dict[str, Any] = SMALL | {"attempts": 1, "phases.gauss-newton.steps": 1, "phases.adam.steps": 20}


def cell(seed: int = 0, **changes: Any) -> Cell:
    limit = changes.pop("time_limit", None)
    return Cell(experiment=NAME, seed=seed, labels={"what": "the same"}, settings=QUICK | changes, time_limit=limit)


def start(folder: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "precisionlab", "grid", folder / "grid.toml", "--out", folder / "out"]
    return started([*command, "--processes", "2"], stdout=subprocess.PIPE)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_grid_leaves_no_process_and_started_again_does_no_run_twice(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(FILE)
    cards = tmp_path / "out" / "runs"
    with start(tmp_path) as process:
        while len(list(cards.rglob("card.json"))) < RUNS // 4 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 20
        while (outlived := _alive(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not outlived
    done = {path: path.stat().st_mtime_ns for path in cards.rglob("card.json")}
    assert RUNS // 4 <= len(done) < RUNS

    with start(tmp_path) as again:
        told, errors = again.communicate()
    assert again.returncode == 0, errors
    table = read_table(tmp_path / "out" / "results.csv")
    assert len(table) == RUNS
    assert not table.duplicated(["seed", "width", "phases.adam.steps"]).any()
    assert table["test_mse"].notna().all()
    assert f"in {tmp_path / 'out' / 'results.csv'}" in told
    assert done == {path: path.stat().st_mtime_ns for path in done}, "a run that had ended was made again"
    for directory, mse in zip(table["directory"], table["test_mse"], strict=True):
        run = precisionlab.load(tmp_path / "out" / directory)
        assert not run.metrics.duplicated(["attempt", "phase", "step"]).any()
        assert mse == run.card.test_mse


def test_a_changed_setting_never_returns_an_old_row(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    first = grid([cell()], table, processes=1, progress=False)
    wider = grid([cell(width=8)], table, processes=1, progress=False)
    longer = grid([cell(**{"phases.adam.steps": 30})], table, processes=1, progress=False)
    assert first["what"].tolist() == wider["what"].tolist() == ["the same"]
    assert first["parameters"][0] < wider["parameters"][0]
    assert first["test_mse"][0] != longer["test_mse"][0]
    assert len(saved(table)) == 3
    again = grid([cell()], table, processes=1, progress=False)
    pd.testing.assert_series_equal(again.iloc[0], first.iloc[0], check_exact=True)


def test_what_is_saved_is_not_made_again_and_says_where_it_was_measured(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    frame = grid([cell(seed) for seed in (3, 1)], table, processes=2, progress=False)  # in processes of their own
    assert frame["seed"].tolist() == [3, 1]
    written = table.stat().st_mtime_ns
    again = grid([cell(seed) for seed in (1, 3)], table, progress=False)
    pd.testing.assert_frame_equal(again, frame.iloc[::-1].reset_index(drop=True), check_exact=True)
    assert table.stat().st_mtime_ns == written
    environments = json.loads((tmp_path / "environment.json").read_text())
    (key,) = set(frame["environment"])
    trained_in = json.loads((tmp_path / frame["directory"][0] / "environment.json").read_text())
    assert environments == {key: trained_in}
    assert trained_in["math_flags"]["deterministic"]
    assert trained_in["threads"] == 1


def test_a_cell_that_fails_is_a_row_that_says_so_and_is_tried_again(tmp_path: Path) -> None:
    cells = [cell(), cell(**{"phases.adam.learning_rate": 1e308})]
    frame = grid(cells, tmp_path / "results.csv", processes=1, progress=False)
    assert frame["ended"][1] == "failed: no start had a finite error; try a smaller learning rate"
    assert pd.isna(frame["test_mse"][1])
    assert not frame["ended"][0].startswith("failed")
    before = (tmp_path / "results.csv").stat().st_mtime_ns
    grid(cells, tmp_path / "results.csv", processes=1, progress=False)
    assert (tmp_path / "results.csv").stat().st_mtime_ns > before


def test_what_had_begun_goes_on_but_for_a_cell_that_is_timed(tmp_path: Path) -> None:
    for limit, expected in ((None, False), (60.0, True)):
        begun = cell(time_limit=limit)
        directory = RunDirectory(tmp_path / "runs" / begun.key)
        precisionlab.train(NAME, run_dir=directory.path, time_limit=1e-9, progress=False, **begun.settings)
        (directory.path / "card.json").unlink()
        mark = directory.path / "config.toml"
        mark.touch()
        before = mark.stat().st_mtime_ns
        assert train_cell(begun, tmp_path / "results.csv") is None
        assert directory.card().ended != "unfinished"
        assert (mark.stat().st_mtime_ns != before) == expected


def test_a_cluster_does_what_this_machine_does(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    here = grid([cell()], tmp_path / "here.csv", processes=1, progress=False)
    there = grid([cell()], tmp_path / "there" / "there.csv", address="local", progress=False)
    pd.testing.assert_frame_equal(here.drop(columns=["seconds"]), there.drop(columns=["seconds"]), check_exact=True)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[0, 1, 2]", "[0, 0]", "a run occurs twice"),
        ("[0, 1, 2]", "[]", "seeds: Tuple should have at least 1 item"),
        ("[0, 1, 2]", f"{[*range(LARGEST_GRID)]}", f"runs, want at most {LARGEST_GRID}"),
        ("width = [4, 6]", "widht = [4, 6]", "did you mean 'width'?"),
        ("width = [4, 6]", "width = [1000000000]", "width: Input should be less than or equal to"),
        (NAME, "../../etc", "unknown experiment '../../etc'"),
        ("experiments", "experiment", "experiment: unknown setting; did you mean 'experiments'?"),
    ],
)
def test_a_grid_is_checked_before_it_starts(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "grid.toml").write_text(FILE.replace(old, new))
    result = CliRunner().invoke(main, ["grid", str(tmp_path / "grid.toml"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
