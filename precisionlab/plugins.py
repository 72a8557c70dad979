"""Code of a user's own: modules whose import registers tasks, mixers, phases and experiments.

Nothing that is read from a run directory is imported. A plugin is imported because its user named it, with
``--plugin`` or as ``path/to/file.py:NAME``, or because it was installed under the entry-point group
``precisionlab.plugins``.
"""

import importlib
import importlib.util
import logging
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

GROUP = "precisionlab.plugins"

_log = logging.getLogger(__name__)
_FILES: dict[str, str] = {}
"""The files that modules were loaded from, as their user named them, by the module's name."""


def use(plugin: str) -> ModuleType:
    """Import a plugin.

    Args:
        plugin: A module, such as ``mine`` or ``mine.tasks``, or the path of a Python file.

    Returns:
        The module; one that is imported already is not run again.

    Raises:
        ValueError: If there is none of that name, or the name of the file is that of another module.
        ModuleNotFoundError: If it imports what is not there.
    """
    if plugin.endswith(".py"):
        return _from_file(plugin)
    try:
        return importlib.import_module(plugin)
    except ModuleNotFoundError as error:
        if error.name is None or not (plugin == error.name or plugin.startswith(f"{error.name}.")):
            raise  # it is there, and imports what is not
        raise ValueError(f"plugin {plugin!r}: no such module; give a module that Python finds, or a .py file") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"plugin {plugin!r}: not the name of a module ({error})") from None


def origin(cls: type) -> str | None:
    """What `use` has to be told for a class to be defined.

    Args:
        cls: A class.

    Returns:
        A module or a file; None for our own, and for what was typed into an interactive session.
    """
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return None
    if cls.__module__ in {"__main__", "__mp_main__"}:
        return getattr(sys.modules["__main__"], "__file__", None)
    return _FILES.get(cls.__module__, cls.__module__)


@cache
def use_installed() -> None:
    """Import what is installed under the entry-point group; one that fails is told of and left out."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            _log.warning("plugin %s (%s) left out: %s: %s", entry.name, entry.value, type(error).__name__, error)


def _from_file(name: str) -> ModuleType:
    path = Path(name).resolve()
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() != path:
            raise ValueError(f"plugin {name!r}: there is a module {path.stem!r} already; give the file another name")
        return known
    if not path.is_file():
        raise ValueError(f"plugin {name!r}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # a dataclass looks its own module up
    _FILES[path.stem] = name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
