"""Settings: frozen, typed, strict about what they are told; and the kinds of settings that anyone may add to.

A configuration is a tree of frozen dataclasses that pydantic checks: no unknown name, no coercion from one type to
another. A `Registry` holds the classes that may stand in one place of it, by their kind: our own tasks, mixers and
phases are registered as a user's are. This module turns configurations into TOML and back; `precisionlab.overrides`
changes them by name. An error is one line that says what is wrong and what is allowed.
"""

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, wraps
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from precisionlab import plugins

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)
"""What holds for every configuration."""


class UnknownKind(ValueError):
    """A kind that nothing is registered under."""


class SettingError(ValueError):
    """A setting that is not allowed.

    Args:
        owner: What it is a setting of.
        where: Its name, or nothing where several do not fit together.
        message: What is wrong.
    """

    def __init__(self, owner: str, where: str, message: str) -> None:
        super().__init__(": ".join(part for part in (owner, where, message) if part))
        self.where, self.message = where, message


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


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen, strict, keyword-only dataclass whose errors are one line.

    Args:
        cls: Annotated fields, and whatever methods.

    Returns:
        The dataclass.
    """
    made: Any = dataclass(cls, frozen=True, kw_only=True, config=STRICT)
    checked: Callable[..., None] = made.__init__
    known = [field.name for field in dataclasses.fields(made) if field.init]

    @wraps(checked)
    def initialise(self: Any, **values: Any) -> None:
        for name in values:
            if name not in known:
                raise SettingError(made.__name__, name, f"unknown setting; {near_miss(name, known)}")
        try:
            checked(self, **values)
        except ValidationError as error:
            raise SettingError(made.__name__, *_first_fault(error)) from None

    made.__init__ = initialise
    checked_class: type[T] = made
    return checked_class


class Registry:
    """The classes of settings that may stand in one place of a configuration, by their kind.

    Put into a field's annotation, ``task: Annotated[Task, TASKS]``, it lets these classes in and no others: a subclass
    that is not registered under a kind of its own is refused, since a file could not tell it from its parent.

    Args:
        noun: What they are.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._classes: dict[str, type] = {}

    def register(self, kind: str) -> Callable[[type[T]], type[T]]:
        """A decorator: make a class settings, and let files name it.

        Args:
            kind: The name.

        Returns:
            The decorator.

        Raises:
            ValueError: If the name is taken by another class.
        """  # noqa: DOC502 - raised by the decorator

        def registered(cls: type[T]) -> type[T]:
            taken = self._classes.get(kind)
            # A notebook's cell that is run again defines its class again.
            if taken is not None and (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"{self.noun} {kind!r}: the kind is taken by {taken.__module__}.{taken.__qualname__}")
            made = settings(cls)
            if "kind" in {field.name for field in dataclasses.fields(made)}:  # type: ignore[arg-type]
                raise ValueError(
                    f"{made.__name__}: kind is what the class itself is called; name the setting otherwise"
                )
            made.kind = kind  # type: ignore[attr-defined]
            self._classes[kind] = made
            return made

        return registered

    def kinds(self) -> list[str]:
        """The kinds there are, sorted."""
        plugins.use_installed()
        return sorted(self._classes)

    def get(self, kind: Any) -> type:
        """The class of a kind.

        Args:
            kind: Its name.

        Returns:
            The class.

        Raises:
            UnknownKind: If there is none of that name.
        """
        if kind not in self.kinds():
            hint = f"{near_miss(str(kind), self.kinds())}; one of your own is known once its module is imported"
            raise UnknownKind(f"unknown {self.noun} {kind!r}: {hint}")
        return self._classes[kind]

    def check(self, value: Any) -> Any:
        """Let settings of a registered class pass; anything else is a ValueError."""
        cls = type(value)
        if self._classes.get(getattr(cls, "kind", "")) is not cls:
            fix = f"decorate the class with @precisionlab.{self.noun}('a-kind-of-its-own')"
            raise ValueError(f"{cls.__name__} is not registered as a {self.noun}: {fix}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(self.check)


def kind_of(settings: Any) -> str:
    """The kind that settings are registered under.

    Args:
        settings: Of a registered class.

    Returns:
        Its name.
    """
    kind: str = settings.kind
    return kind


def origins(config: Any) -> list[str]:
    """The plugins without which a configuration cannot be read.

    Args:
        config: A configuration.

    Returns:
        Modules and files, for `precisionlab.plugins.use`.
    """
    return sorted({name for node in _nodes(config) if (name := plugins.origin(type(node))) is not None})


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain data, without the entries that are None (TOML has no null).

    Args:
        config: A configuration.

    Returns:
        Nested dictionaries and lists; what a registry holds has its kind as first entry.
    """
    data: dict[str, Any] = plain(config)
    return data


def from_dict(cls: type[T], data: Mapping[str, Any], *, source: str) -> T:
    """A configuration from plain data.

    Args:
        cls: The configuration's class.
        data: Nested dictionaries and lists.
        source: Where the data came from, for the error.

    Returns:
        The configuration.

    Raises:
        UnknownKind: If there is no class of a kind.
        ValueError: If a name is unknown or missing, or a value is of the wrong type or out of range.
    """
    try:
        own = getattr(cls, "kind", None)
        if own is not None and isinstance(data, Mapping) and data.get("kind") == own:
            data = {name: entry for name, entry in data.items() if name != "kind"}
        return _made(cls, data, "")
    except UnknownKind as error:
        raise UnknownKind(f"{source}: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{source}: {error}") from None


def dumps(config: Any) -> str:
    """A configuration as TOML.

    Args:
        config: A configuration.

    Returns:
        The text.
    """
    return tomli_w.dumps(to_dict(config))


def loads(cls: type[T], text: str, *, source: str) -> T:
    """A configuration from TOML.

    Args:
        cls: The configuration's class.
        text: The TOML text.
        source: Where the text came from, for the error.

    Returns:
        The configuration.

    Raises:
        ValueError: If the text is not TOML, or not this configuration.
    """  # noqa: DOC502 - raised by what this calls
    return from_dict(cls, parsed(text, source=source), source=source)


def parsed(text: str, *, source: str) -> dict[str, Any]:
    """TOML as plain data.

    Args:
        text: The TOML text.
        source: Where the text came from, for the error.

    Returns:
        Nested dictionaries and lists.

    Raises:
        ValueError: If the text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a ValueError of its own, and that of a number of 10⁴ digits
        raise ValueError(f"{source}: not valid TOML ({error})") from None


def plain(value: Any) -> Any:
    """A setting as plain data.

    Args:
        value: Anything that may stand in a configuration.

    Returns:
        Numbers, strings, truth values, and lists and dictionaries of them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": kind_of(value)} if hasattr(type(value), "kind") else {}
        entries = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        empty = [f.name for f in dataclasses.fields(value) if f.default_factory is dict and not entries[f.name]]
        return kind | plain({name: entry for name, entry in entries.items() if name not in empty})
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _made(cls: type[T], data: Any, where: str) -> T:
    """Settings of a class from a table that stands at a place."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{where and f'{where}: '}want a table, got {data!r}")
    prefix = f"{where}." if where else ""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise ValueError(f"{prefix}{name}: unknown setting; {near_miss(str(name), list(fields))}")
    owner: Any = cls
    values = {name: _value(_hints(owner)[name], entry, f"{prefix}{name}") for name, entry in data.items()}
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{prefix}{name}: missing")
    try:
        return cls(**values)
    except SettingError as error:
        place = f"{prefix}{error.where}" if error.where else where
        raise ValueError(f"{place}: {error.message}" if place else error.message) from None


def _value(hint: Any, data: Any, where: str) -> Any:
    """What stands in a field, from plain data."""
    metadata: tuple[Any, ...] = ()
    bare = hint
    if get_origin(hint) is Annotated:
        bare, *rest = get_args(hint)
        metadata = tuple(rest)
    registry = next((entry for entry in metadata if isinstance(entry, Registry)), None)
    if registry is not None:
        return _entry(registry, data, where)
    if dataclasses.is_dataclass(bare):
        return _made(bare, data, where)  # type: ignore[arg-type]
    arguments = get_args(bare)
    if get_origin(bare) is tuple and len(arguments) == 2 and _structured(arguments[0]):
        if not isinstance(data, list):
            raise ValueError(f"{where}: want a list, got {data!r}")
        return tuple(_value(arguments[0], entry, f"{where}.{place}") for place, entry in enumerate(data))
    if not isinstance(data, list | Mapping):
        return data
    try:
        # JSON mode is strict about types and yet takes a list for a tuple.
        return TypeAdapter(hint, config=STRICT).validate_json(json.dumps(data))
    except ValidationError as error:
        inner, message = _first_fault(error)
        raise ValueError(f"{where}{inner and '.'}{inner}: {message}") from None
    except TypeError as error:  # TOML knows dates, JSON does not, and no setting is one
        raise ValueError(f"{where}: {error}") from None


def _entry(registry: Registry, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping) or "kind" not in data:
        raise ValueError(f"{where}: want a table with a kind, got {data!r}")
    try:
        cls = registry.get(data["kind"])
    except UnknownKind as error:
        raise UnknownKind(f"{where}: {error}") from None
    return _made(cls, {name: entry for name, entry in data.items() if name != "kind"}, where)


def _structured(hint: Any) -> bool:
    return any(isinstance(entry, Registry) for entry in get_args(hint)[1:]) or dataclasses.is_dataclass(hint)


def _nodes(node: Any) -> Iterator[Any]:
    """Every registered piece of a configuration."""
    if dataclasses.is_dataclass(node):
        if hasattr(type(node), "kind"):
            yield node
        for field in dataclasses.fields(node):
            yield from _nodes(getattr(node, field.name))
    elif isinstance(node, tuple):
        for entry in node:
            yield from _nodes(entry)


def _first_fault(error: ValidationError) -> tuple[str, str]:
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    got = f" (got {fault['input']!r})" if fault["type"] not in {"missing", "value_error"} else ""
    return where, f"{message}{got}"
