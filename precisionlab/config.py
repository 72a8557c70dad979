"""Configurations: frozen, typed, and strict about what they are told.

A configuration is a frozen dataclass that pydantic checks: no unknown key, no coercion from one type to another. This
module turns one into TOML and back, and applies overrides such as ``model.width=24``, with errors of one line that
say what is wrong and what is allowed.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

import tomli_w
from pydantic import ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)
"""What every configuration dataclass passes as ``config``."""


def near_miss(name: str, known: list[str]) -> str:
    """The end of an error about an unknown name: the likely one, and what there is.

    Args:
        name: What was asked for.
        known: What there is.

    Returns:
        A phrase such as ``"did you mean 'width'? known: heads, width"``.
    """
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain data, without the entries that are None (TOML has no null).

    Args:
        config: A configuration dataclass.

    Returns:
        Nested dictionaries and lists.
    """
    data: dict[str, Any] = _without_none(dataclasses.asdict(config))
    return data


def from_dict(kind: type[T], data: Mapping[str, Any], *, source: str) -> T:
    """A configuration from plain data.

    Args:
        kind: The configuration's class.
        data: Nested dictionaries and lists.
        source: Where the data came from, for the error.

    Returns:
        The configuration.

    Raises:
        ValueError: If a key is unknown or missing, or a value is of the wrong type or out of range.
    """
    try:
        # JSON mode is strict about types and yet takes a list for a tuple, and a table for a dataclass.
        return TypeAdapter(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(f"{source}: {_first_fault(error)}") from None
    except TypeError as error:  # TOML knows dates, JSON does not, and no setting is one
        raise ValueError(f"{source}: {error}") from None


def dumps(config: Any) -> str:
    """A configuration as TOML.

    Args:
        config: A configuration dataclass.

    Returns:
        The text.
    """
    return tomli_w.dumps(to_dict(config))


def loads(kind: type[T], text: str, *, source: str) -> T:
    """A configuration from TOML.

    Args:
        kind: The configuration's class.
        text: The TOML text.
        source: Where the text came from, for the error.

    Returns:
        The configuration.

    Raises:
        ValueError: If the text is not TOML, or not this configuration.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError of its own, and that of a number of 10⁴ digits
        raise ValueError(f"{source}: not valid TOML ({error})") from None
    return from_dict(kind, data, source=source)


def override(config: T, changes: Mapping[str, Any]) -> T:
    """A configuration with some settings changed.

    A setting is named by its path (``model.width``, ``phases.adam.steps``) or, where only one path ends in it, by its
    last part (``width``). An entry of a list is named by its kind.

    Args:
        config: The configuration to start from.
        changes: New values by name.

    Returns:
        The changed configuration.

    Raises:
        ValueError: If a name is unknown or ambiguous, or a value is of the wrong type or out of range.
    """  # noqa: DOC502 - raised by what this calls
    data = dataclasses.asdict(config)  # type: ignore[call-overload]  # T is a dataclass by convention
    places = {path: (owner, key) for path, owner, key in _settings(data)}
    for name, value in changes.items():
        owner, key = places[_resolve(name, list(places))]
        owner[key] = value
    return from_dict(type(config), _without_none(data), source="override")


def parse_override(text: str) -> tuple[str, Any]:
    """Read ``key=value`` from a command line; the value is read as TOML, and as a string where it is not TOML.

    Args:
        text: Such as ``model.width=24``.

    Returns:
        The key and the value.

    Raises:
        ValueError: If there is no ``=`` or no key.
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ValueError(f"override {text!r}: write key=value, such as width=24")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    if isinstance(data, list | tuple):
        return [_without_none(value) for value in data]
    return data


def _settings(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every setting: its path, the table it lies in, and its key there."""
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _settings(value, f"{path}.")
        elif isinstance(value, list | tuple) and value and all(isinstance(entry, dict) for entry in value):
            for entry in value:
                yield from _settings(entry, f"{path}.{entry['kind']}.")
        elif key != "kind":
            yield path, data, key


def _resolve(name: str, paths: list[str]) -> str:
    if name in paths:
        return name
    matches = [path for path in paths if path.endswith(f".{name}")]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"override {name!r} is ambiguous: write one of {', '.join(matches)}")
    leaves = {path.rpartition(".")[2] for path in paths}
    close = get_close_matches(name.rpartition(".")[2], sorted(leaves), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"unknown override {name!r}: {hint}known: {', '.join(paths)}")


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    got = f" (got {fault['input']!r})" if fault["type"] not in {"missing", "value_error"} else ""
    return f"{where}: {message}{got}" if where else message
