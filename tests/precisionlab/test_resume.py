"""A run that was stopped anywhere, by anything, ends in the bits of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import precisionlab
from precisionlab.runs import RunDirectory, determinism, files, training
from precisionlab.training import trainer

from .processes import ROOT, started
from .small import NAME, SMALL, settings


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> precisionlab.Run:
    directory = tmp_path_factory.mktemp("whole") / "run"
    return precisionlab.train(NAME, run_dir=directory, progress=False, **SMALL)


@pytest.fixture(autouse=True)
def _save_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)


def rows(directory: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != determinism.MEASURED} for row in lines]


def assert_same(directory: Path, whole: precisionlab.Run) -> None:
    assert whole.directory is not None
    assert rows(directory) == rows(whole.directory)
    weights = "model.safetensors"
    assert (directory / weights).read_bytes() == (whole.directory / weights).read_bytes()
    assert determinism.compare(precisionlab.load(directory), whole).identical
    assert not [path for path in directory.rglob(".*") if path.name != ".lock"]


def test_it_goes_through_both_phases(whole: precisionlab.Run) -> None:
    assert set(whole.metrics["phase"]) == {"adam", "gauss-newton"}


def test_stopped_after_every_row(whole: precisionlab.Run, tmp_path: Path) -> None:
    run = precisionlab.train(NAME, run_dir=tmp_path / "run", time_limit=1e-9, progress=False, **SMALL)
    while run.card.ended == "unfinished":
        run = precisionlab.train(NAME, run_dir=tmp_path / "run", resume=True, time_limit=1e-9, progress=False)
    assert_same(tmp_path / "run", whole)


def test_stopped_after_every_row_of_a_run_that_snaps(tmp_path: Path) -> None:
    name, settings = "linear-attention/newton-schulz", {"task.n": 2, "task.rows": 6, "width": 6, "adam.steps": 300}
    whole = precisionlab.train(name, run_dir=tmp_path / "whole", progress=False, **settings)
    assert set(whole.metrics["phase"]) == {"adam", "gauss-newton", "snap"}
    run = precisionlab.train(name, run_dir=tmp_path / "run", time_limit=1e-9, progress=False, **settings)
    while run.card.ended == "unfinished":
        run = precisionlab.train(name, run_dir=tmp_path / "run", resume=True, time_limit=1e-9, progress=False)
    assert_same(tmp_path / "run", whole)


class _Cut(BaseException):
    """A power cut: no handler runs."""


def _cut_at(monkeypatch: pytest.MonkeyPatch, call: int, *, before: bool) -> None:
    """Cut the power at one of the renames: nothing is written or cleaned after it."""
    rename, calls, off = os.replace, 0, False

    def cut(source: object, target: object) -> None:
        nonlocal calls, off
        calls += 1
        off = off or calls == call
        if off and before:
            raise _Cut
        if off and calls > call:
            raise _Cut
        rename(source, target)  # type: ignore[arg-type]
        if off:
            raise _Cut

    unlink = Path.unlink
    monkeypatch.setattr(os, "replace", cut)
    monkeypatch.setattr(Path, "unlink", lambda self, **options: None if off else unlink(self, **options))


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("call", range(3, 15))
def test_the_power_cut_at_any_rename(whole: precisionlab.Run, tmp_path: Path, call: int, before: bool) -> None:
    with pytest.MonkeyPatch.context() as cut:
        _cut_at(cut, call, before=before)
        with pytest.raises(_Cut):
            precisionlab.train(NAME, run_dir=tmp_path / "run", progress=False, **SMALL)
    assert before <= any(tmp_path.rglob(f".*{files.PART}"))
    precisionlab.train(NAME, run_dir=tmp_path / "run", resume=True, progress=False)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("row", [0, 1, 2, 5])
def test_an_exception_in_the_middle_of_a_step(whole: precisionlab.Run, tmp_path: Path, row: int) -> None:
    recorded, calls = trainer._recorded, 0

    def interrupted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls > row:
            raise KeyboardInterrupt
        return recorded(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_recorded", interrupted)
        with pytest.raises(KeyboardInterrupt):
            precisionlab.train(NAME, run_dir=tmp_path / "run", progress=False, **SMALL)
    precisionlab.train(NAME, run_dir=tmp_path / "run", resume=True, progress=False)
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    directory = tmp_path / "run"
    # Long enough to be interrupted; what is compared is that a resumed run goes on from the row it had.
    command = [sys.executable, "-m", "precisionlab", "train", NAME, "--run-dir", str(directory)]
    with started([*command, *settings(**{"phases.adam.steps": 10**6, "phases.adam.until": 1e-9})]) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("start 1, adam")  # said after the first row
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == code
    resume = f"go on with: precisionlab train {NAME} --run-dir {directory} --resume"
    assert told.splitlines()[-1] == f"interrupted; the state is saved, {resume}"
    before = rows(directory)
    assert before
    precisionlab.train(NAME, run_dir=directory, resume=True, time_limit=1e-9, progress=False)
    assert rows(directory)[: len(before)] == before
    assert len(rows(directory)) == len(before) + 1


def test_what_could_change_the_bits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "run"
    precisionlab.train(NAME, run_dir=directory, time_limit=1e-9, progress=False, **SMALL)
    facts = json.loads((directory / "environment.json").read_text())
    (directory / "environment.json").write_text(json.dumps(facts | {"threads": facts["threads"] + 1}))
    precisionlab.train(NAME, run_dir=directory, resume=True, progress=False)
    assert f"threads was {facts['threads'] + 1}, is {facts['threads']}" in caplog.text


def test_a_run_that_has_not_ended_says_so(tmp_path: Path) -> None:
    precisionlab.train(NAME, run_dir=tmp_path / "run", time_limit=1e-9, progress=False, **SMALL)
    (tmp_path / "run" / "card.json").unlink()
    with pytest.raises(ValueError, match="the run has not ended; resume it"):
        precisionlab.load(tmp_path / "run")
    assert RunDirectory(tmp_path / "run").started


def test_random_kills() -> None:
    command = [sys.executable, "-m", "tests.kill_runs", "--kills", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 identical" in done.stdout
