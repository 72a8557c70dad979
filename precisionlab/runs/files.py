"""Files that are either whole or not there, and text that is read with bounded memory.

A leaf: it knows nothing of what is written. Training, grids and reports write through it.
"""

import os
import secrets
import stat
from pathlib import Path

PART = ".part"
"""How the name of a file in the making ends; it begins with a dot."""
TEXT_BYTES = 2**20
"""The largest configuration or card that is read."""


def write_atomically(path: Path, content: bytes | str, *, previous: Path | None = None) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one and nothing between.

    Args:
        path: Where to; folders that are missing are made.
        content: Bytes, or text to be written as UTF-8.
        previous: Where the file that is replaced is kept, in the same folder; None keeps it not. A cut between the two
            renames leaves the old file there and none at `path`.

    Raises:
        OSError: If the disk is full or the folder may not be written to; it names `path`, which is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        make_folder(path.parent)
        draft = _draft(path, data)
        try:
            _replace(draft, path, previous)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a power cut does not take them away with what is written there.

    Args:
        folder: Which; it may exist.

    Raises:
        OSError: If it cannot be made.
    """  # noqa: DOC502 - raised by what this calls
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_drafts(folder: Path) -> None:
    """Remove what killed writers left; only for who knows that nobody writes there now.

    Args:
        folder: Where; it need not exist.
    """
    for draft in folder.glob(f".*{PART}"):
        draft.unlink(missing_ok=True)


def require_regular(path: Path) -> None:
    """Refuse what is no file: opening a pipe waits for ever, and a device has no end.

    Args:
        path: What is about to be opened.

    Raises:
        ValueError: If it is there and is neither a file nor a link to one.
    """
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path}: not a regular file")


def read_text(path: Path, *, limit: int = TEXT_BYTES) -> str:
    """Read a text file that ought to be small.

    Args:
        path: Where from.
        limit: The most bytes.

    Returns:
        The text.

    Raises:
        ValueError: If it is missing, no regular file, not UTF-8, or longer.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(size, limit) + 1)
        if len(content) > min(size, limit):
            raise ValueError(f"longer than the {limit} bytes it may have")
        return content.decode()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error})") from None


def _replace(draft: Path, path: Path, previous: Path | None) -> None:
    if previous is None or not path.exists():
        os.replace(draft, path)
        return
    os.replace(path, previous)
    try:
        os.replace(draft, path)
    except OSError:
        os.replace(previous, path)  # the one before it is lost, the last is not
        raise


def _draft(path: Path, content: bytes) -> Path:
    """The content in a new file beside `path`, safe on the disk; who may read it is the umask's affair."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
