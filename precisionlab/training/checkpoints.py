"""Files that are either whole or not there.

A checkpoint is one safetensors file: tensors as tensors, numbers as JSON in its header. Nothing is ever unpickled.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, sees the old one or the new one and nothing between.

    Args:
        path: Where to.
        content: What.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # mkstemp's files are for their owner alone
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_checkpoint(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and JSON-able facts as one safetensors file.

    Args:
        path: Where to.
        tensors: By name.
        facts: Numbers, strings and containers of them.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata={"facts": json.dumps(facts)}))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Args:
        path: Where from.

    Returns:
        Tensors by name, and the facts.

    Raises:
        ValueError: If the file is missing, truncated or not such a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error})") from None
    return tensors, facts
