"""A script of reports/, which nothing imports, as a module."""

import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

REPORTS = Path(__file__).parents[2] / "reports"


@cache
def load(page: str, script: str = "study.py") -> ModuleType:
    path = REPORTS / page / script
    spec = spec_from_file_location(f"{page}.{path.stem}".replace("-", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and processes look it up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
