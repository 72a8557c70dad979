"""Checkpoints that can be trusted.

A checkpoint is one safetensors file: tensors as tensors, numbers as JSON in its header, and a SHA-256 of both, so that
a flipped bit is noticed as a truncation is. Nothing is unpickled, and nothing is read that is larger than it may be.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from precisionlab.runs.files import require_regular, write_atomically

HEADER_BYTES = 2**27
"""Room for a checkpoint's header: safetensors itself allows 100 MB."""


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
        ValueError: If the file is missing, no regular file, truncated, corrupted, too large or not such a checkpoint.
    """
    require_regular(path)
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


def _digest(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
