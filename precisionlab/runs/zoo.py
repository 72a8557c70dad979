"""Shipped checkpoints: each a run directory of safetensors and text, named as its experiment is."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1] / "zoo"


def names() -> list[str]:
    """The shipped checkpoints.

    Returns:
        Their names.
    """
    return sorted(path.parent.relative_to(_ROOT).as_posix() for path in _ROOT.glob("*/*/model.safetensors"))


def path(name: str) -> Path | None:
    """Where a shipped checkpoint lies.

    Args:
        name: Such as ``"linear-attention/explicit-gradient"``.

    Returns:
        Its directory, or None where there is none of that name.
    """
    return _ROOT / name if name in names() else None
