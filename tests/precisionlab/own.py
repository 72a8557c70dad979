"""The file of the how-to: a task, a mixer with a hyperparameter and a phase, outside the package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from precisionlab.models import MIXERS
from precisionlab.tasks import TASKS
from precisionlab.training import PHASES

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "bring-your-own.md"


def written(folder: Path, name: str = "mine.py") -> Path:
    """The file, in a folder."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return path


@contextmanager
def registries_restored() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    registries = (TASKS, MIXERS, PHASES)
    before = [dict(registry._classes) for registry in registries]
    try:
        yield
    finally:
        for registry, classes in zip(registries, before, strict=True):
            registry._classes.clear()
            registry._classes.update(classes)
