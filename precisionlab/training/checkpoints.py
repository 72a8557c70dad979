"""Files that are either whole or not there.

A checkpoint is one safetensors file: tensors as tensors, numbers as JSON in its header, and a SHA-256 of both, so that
a flipped bit is noticed as a truncation is. Nothing is unpickled, and nothing is read that is larger than it may be.
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

PART = ".part"
"""How the name of a file in the making ends; it begins with a dot."""
HEADER_BYTES = 2**27
"""Room for a checkpoint's header: safetensors itself allows 100 MB."""
TEXT_BYTES = 2**20
"""The largest configuration or card that is read."""


def write_atomically(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one and nothing between.

    Args:
        path: Where to.
        content: What.
        previous: Where the file that is replaced is kept, in the same folder; None keeps it not. A cut between the two
            renames leaves the old file there and none at `path`.

    Raises:
        OSError: If the disk is full or the folder may not be written to; it names `path`, which is as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(path, content)
        try:
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def remove_drafts(folder: Path) -> None:
    """Remove what killed writers left; only for who knows that nobody writes there now.

    Args:
        folder: Where; it need not exist.
    """
    for draft in folder.glob(f".*{PART}"):
        draft.unlink(missing_ok=True)


def save_checkpoint(
    path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any], *, previous: Path | None = None
) -> None:
    """Write tensors and JSON-able facts as one safetensors file.

    Args:
        path: Where to.
        tensors: By name.
        facts: Numbers, strings and containers of them.
        previous: Where the file that is replaced is kept.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry: safetensors writes several in an order that changes from process to process.
    metadata = {"facts": json.dumps({**facts, "sha256": _digest(contiguous, facts)})}
    write_atomically(path, save(contiguous, metadata=metadata), previous=previous)


def load_checkpoint(path: Path, *, numbers: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Args:
        path: Where from.
        numbers: The most numbers that its tensors may hold together; a larger file is not read.

    Returns:
        Tensors by name, and the facts.

    Raises:
        ValueError: If the file is missing, truncated, corrupted, too large or not such a checkpoint.
    """
    largest = 8 * numbers + HEADER_BYTES
    if path.is_file() and (size := path.stat().st_size) > largest:
        raise ValueError(f"{path}: {size} bytes, want at most {largest} for such a model")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        facts = json.loads(metadata.get("facts", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from None
    if not isinstance(facts, dict):
        raise ValueError(f"{path}: not a readable checkpoint (its facts are no table)")
    # A file written by other tools has no digest; one of ours has, and holds to it.
    written = facts.pop("sha256", None)
    if written is not None and written != _digest(tensors, facts):
        raise ValueError(f"{path}: corrupted (its content does not have the SHA-256 it was written with)")
    return tensors, facts


def read_text(path: Path, *, limit: int = TEXT_BYTES) -> str:
    """Read a text file that ought to be small.

    Args:
        path: Where from.
        limit: The most bytes.

    Returns:
        The text.

    Raises:
        ValueError: If it is missing, not UTF-8, or longer.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(size, limit) + 1)
        if len(content) > min(size, limit):
            raise ValueError(f"longer than the {limit} bytes it may have")
        return content.decode()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable ({error})") from None


def _draft(path: Path, content: bytes) -> Path:
    """The content in a file beside `path`, safe on the disk."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # mkstemp's files are for their owner alone
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
