"""Files that are whole or not there: whatever fails on the way, and whoever may read them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from precisionlab.runs.checkpoints import load_checkpoint
from precisionlab.runs.files import make_folder, read_text, write_atomically


@pytest.fixture(params=[0o022, 0o077], ids=["open", "private"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was brought to the disk, as (device, inode), in order."""
    fsync, seen = os.fsync, []

    def noted(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        seen.append((facts.st_dev, facts.st_ino))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return seen


def place(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def test_who_may_read_is_the_umasks_affair(tmp_path: Path, umask: int) -> None:
    write_atomically(tmp_path / "file", b"content")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_the_file_its_folder_and_every_new_folder_reach_the_disk(tmp_path: Path, synced: list[tuple[int, int]]) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "text")
    assert path.read_text() == "text"
    # The file before its name, its name last.
    assert synced[-2:] == [place(path), place(path.parent)]
    assert {place(tmp_path), place(tmp_path / "a")} <= set(synced)
    synced.clear()
    make_folder(path.parent)
    assert not synced


def test_the_last_file_stays_where_the_new_one_cannot_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    path.write_text("last")
    replace = os.replace

    def refused(source: Path, target: Path) -> None:
        if source.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(path, "new", previous=previous)
    assert caught.value.filename == str(path)
    assert path.read_text() == "last"
    assert os.listdir(tmp_path) == ["file"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: not a regular file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: not a regular file"):
        load_checkpoint(tmp_path / "pipe", numbers=1)
