"""Several processes under torchrun: the same sums to rounding, the same floor, one writer."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import precisionlab
from precisionlab.training import distributed
from precisionlab.training.gauss_newton import FLOOR_ULPS

from .processes import ROOT, started
from .sharded import DAMPING, PROBLEMS
from .small import NAME

U = torch.finfo(torch.float64).eps / 2
QUICK = {"n": 2, "rows": 4, "width": 6, "heads": 1, "phases.adam.until": 0.05, "phases.adam.easier": {}}
"""With seed 6 it reaches the floor in 16 rows."""


@pytest.fixture(autouse=True)
def _one_group_at_a_time() -> Iterator[None]:
    # A group asks for a free port and binds it later: beside another it may find it taken.
    with (Path(tempfile.gettempdir()) / "precisionlab-one-group.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def torchrun(processes: int, *arguments: object) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, *map(str, arguments)]


def train(directory: Path, processes: int, *arguments: str) -> list[str]:
    return torchrun(processes, "-m", "precisionlab", "train", NAME, "--run-dir", directory, *arguments)


SETTINGS = ["--seed", "6", *(word for key, value in QUICK.items() for word in ("--set", f"{key}={value}"))]


@pytest.mark.parametrize("processes", [2, 4])
def test_sums_over_shares_are_those_of_one_process(tmp_path: Path, processes: int) -> None:
    out = tmp_path / "differences.json"
    command = torchrun(processes, "-m", "tests.precisionlab.sharded", out)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert found["processes"] == processes
    assert found["spread"] == 0.0
    # A sum of R terms is off by R u at most; a step, by that times the condition of the damped system.
    residuals = max(PROBLEMS.values()) * 5
    for name in ("loss", "gradient", "validation"):
        assert found[name] <= residuals * U, name
    for name in (*PROBLEMS, "blocked"):
        assert found[name] <= residuals * U / DAMPING, name
    # Rows are computed one problem at a time; a polish ends at the floor, wherever its rows came from.
    for name in ("few", "snap"):
        assert found[name] <= residuals * U, name


def test_on_a_gpu_each_process_takes_its_own_before_the_group_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs two GPUs to run is at least said in the right order."""
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    done: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, device_id=None: done.append((backend, device_id))
    )
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: done.append("left"))
    with distributed.joined("cuda"):
        done.append(distributed.own_device("cuda"))
    own = torch.device("cuda:1")
    assert done == [own, ("nccl", own), "cuda:1", "left"]


def test_two_processes_reach_the_floor_and_one_writes(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    # Stopped on the way, so that resuming is tested too.
    done = subprocess.run(
        train(directory, 2, "--time-limit", "1e-9", *SETTINGS), cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.count("the time is up") == 1
    done = subprocess.run(train(directory, 2, "--resume"), cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.count("Run(") == 1
    run = precisionlab.load(directory)
    alone = precisionlab.train(NAME, seed=6, progress=False, **QUICK)
    assert run.card.ended == alone.card.ended == "reached"
    assert run.card.test_mse is not None
    assert run.card.test_mse <= (FLOOR_ULPS * U) ** 2
    assert json.loads((directory / "environment.json").read_text())["processes"] == 2
    assert not run.metrics.duplicated(["attempt", "phase", "step"]).any()


def test_a_killed_group_is_resumed_by_one_process(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with started(train(directory, 2, "--set", "phases.adam.steps=1000000", *SETTINGS[:-2])) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("start 1, adam"):  # said after the first row
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    before = (directory / "metrics.jsonl").read_text()
    assert before
    precisionlab.train(NAME, run_dir=directory, resume=True, time_limit=1e-9, progress=False)
    assert (directory / "metrics.jsonl").read_text().startswith(before)
