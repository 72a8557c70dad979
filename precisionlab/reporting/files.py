"""What the files of a report are made of: JSON for people to read, and the templates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from numbers import Integral


def to_json(value: Mapping[str, object]) -> str:
    """Write a mapping as JSON for people to read: strict, with what JSON does not know as text.

    Args:
        value: The mapping.

    Returns:
        The text, with a newline at its end.
    """
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case float():
            return value if math.isfinite(value) else str(value)
        case None | bool() | int() | str():
            return value
        case Integral():
            return int(value)
        case _:
            return str(value)


def template_text(name: str) -> str:
    """Read a file of the templates folder, from a checkout or an installed package.

    Args:
        name: Its name.

    Returns:
        Its text.
    """
    return files("precisionlab.reporting").joinpath("templates", name).read_text(encoding="utf-8")
