"""Overrides: settings changed by name, from Python or a command line, and the way back from a change to its name."""

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from precisionlab.config import from_dict, plain, to_dict

T = TypeVar("T")


def override(config: T, changes: Mapping[str, Any]) -> T:
    """A configuration with some settings changed.

    A setting is named by its path (``model.width``) or, where only one path ends in it, by its last part (``width``).
    An entry of a list is named by its place (``phases.0.steps``), by its kind where it is the only one
    (``phases.adam.steps``), or by both (``phases.gauss-newton.1.steps`` is of the second Gauss–Newton phase). What a
    registry holds may be replaced whole, by settings, by a table with a kind, or by a kind alone (``mixer=softmax``).

    Args:
        config: The configuration to start from.
        changes: New values by name.

    Returns:
        The changed configuration.

    Raises:
        ValueError: If a name is unknown or ambiguous, or a value is of the wrong type or out of range.
    """  # noqa: DOC502 - raised by what this calls
    data, places = to_dict(config), list(_places(config))
    for name, value in changes.items():
        place, rest = _resolve(name, places)
        *way, last = place.path
        owner: Any = data
        for step in way:
            owner = owner[step]
        if rest is not None:
            owner, last = owner.setdefault(last, {}), rest
        new = {"kind": value} if place.registered and isinstance(value, str) else plain(value)
        if new is not None:
            owner[last] = new
        elif last in owner:
            del owner[last]
    return from_dict(type(config), data, source="override")


def changes(base: Any, config: Any) -> dict[str, Any] | None:
    """What `override` has to be given to make one configuration of another.

    Args:
        base: The one that there is.
        config: The one that is wanted.

    Returns:
        New values by the shortest name; None where the two differ in more than values.
    """
    before, after = list(_places(base)), {place.path: place for place in _places(config)}
    found: dict[tuple[str | int, ...], tuple[str, Any]] = {}
    for place in before:
        if any(place.path[: len(path)] == path for path in found):
            continue
        other = after.get(place.path)
        if other is None:
            return None
        if place.registered:
            if type(place.value) is not type(other.value):
                found[place.path] = _shortest(place, before), plain(other.value)
        elif place.value != other.value:
            found[place.path] = _shortest(place, before), plain(other.value)
    wanted = dict(found.values())
    try:
        return wanted if override(base, wanted) == config else None
    except ValueError:
        return None


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


def format_override(key: str, value: Any) -> str:
    """The inverse of `parse_override`.

    Args:
        key: The name of a setting.
        value: Plain data.

    Returns:
        ``key=value``.
    """
    return f"{key}={_inline(value)}"


def _inline(value: Any) -> str:
    """A value as TOML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(entry) for entry in value) + "]"
    return json.dumps(value)  # a number, a truth value or a string is the same in JSON


@dataclasses.dataclass(frozen=True)
class _Place:
    """A setting that can be named: the way to it in plain data, its names, and what stands there."""

    path: tuple[str | int, ...]
    names: tuple[str, ...]
    value: Any
    registered: bool = False


def _places(node: Any, path: tuple[str | int, ...] = (), prefixes: tuple[str, ...] = ("",)) -> Iterator[_Place]:
    """Every setting below a node."""
    for field in dataclasses.fields(node):
        value, here = getattr(node, field.name), (*path, field.name)
        names = tuple(f"{prefix}{field.name}" for prefix in prefixes)
        if dataclasses.is_dataclass(value):
            registered = hasattr(type(value), "kind")
            if registered:
                yield _Place(here, names, value, registered=True)
            yield from _places(value, here, tuple(f"{name}." for name in names))
        elif isinstance(value, tuple) and value and all(map(dataclasses.is_dataclass, value)):
            kinds = [getattr(type(entry), "kind", "") for entry in value]
            for place, (entry, kind) in enumerate(zip(value, kinds, strict=True)):
                number = kinds[:place].count(kind)
                ways = tuple(f"{name}.{way}." for name in names for way in (kind, f"{kind}.{number}", place))
                yield from _places(entry, (*here, place), ways)
        else:
            yield _Place(here, names, value)


def _shortest(place: _Place, places: list[_Place]) -> str:
    """The first name of a place that no other has."""
    return next(name for name in place.names if sum(name in other.names for other in places) == 1)


def _resolve(name: str, places: list[_Place]) -> tuple[_Place, str | None]:
    """The place that a name means, and a key where it is that of an entry in an open table."""
    matches = [place for place in places if name in place.names]
    matches = matches or [place for place in places if any(known.endswith(f".{name}") for known in place.names)]
    if len(matches) == 1:
        return matches[0], None
    if matches:
        told = ", ".join(_shortest(place, places) for place in matches)
        raise ValueError(f"override {name!r} is ambiguous: write one of {told}")
    table, dot, key = name.rpartition(".")
    if dot and (tables := [p for p in places if isinstance(p.value, Mapping) and _means(table, p)]):
        if len(tables) == 1:
            return tables[0], key
        told = ", ".join(f"{_shortest(place, places)}.{key}" for place in tables)
        raise ValueError(f"override {name!r} is ambiguous: write one of {told}")
    leaves = {known.rpartition(".")[2] for place in places for known in place.names}
    close = get_close_matches(name.rpartition(".")[2], sorted(leaves), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(f"unknown override {name!r}: {hint}known: {', '.join(_shortest(p, places) for p in places)}")


def _means(name: str, place: _Place) -> bool:
    return any(known == name or known.endswith(f".{name}") for known in place.names)
