"""Dependencies run one way, and nothing installs a module called `kernels`."""

import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_linter_finds_no_broken_contract() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("heavy", ["precisionlab", "hypothesis", "matplotlib", "pandas"])
def test_importing_solvers_brings_in_nothing_heavier(heavy: str) -> None:
    assert run(f"import solvers, solvers.learned.gradient, sys; print({heavy!r} in sys.modules)") == "False"


def test_the_distribution_installs_no_package_called_kernels() -> None:
    installed = files("precisionlab") or []
    assert installed
    assert not [path for path in installed if path.parts[0] == "kernels"]


def test_imports_set_no_process_wide_state() -> None:
    code = (
        "import torch; before = (torch.get_default_dtype(), torch.get_num_threads());"
        "import precisionlab, solvers; print(before == (torch.get_default_dtype(), torch.get_num_threads()))"
    )
    assert run(code) == "True"
