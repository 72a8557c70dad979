"""The examples of the README and the documentation do what they say.

Python blocks are executed in order, one namespace a document. Shell blocks are run line by line through the command
line, made small by further options; what is no command of this package is left out, but make targets must exist.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from precisionlab.cli import main
from precisionlab.models import MIXERS
from precisionlab.tasks import TASKS
from precisionlab.training import PHASES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|shell|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SMALL = "--set n=2 --set rows=4 --set width=6 --set heads=1 --set attempts=1 --set phases.adam.steps=20"
SMALL += " --set phases.adam.until=10 --set phases.gauss-newton.steps=2"
SMALLER = {
    "train": SMALL,
    "report": "--problems 8 --iterations 10",
    "verify": "--max-examples 1",
    "grid": "--help",
}


def blocks(path, kind):
    return [body for language, body in BLOCK.findall(path.read_text(encoding="utf-8")) if language == kind]


def told(path):
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True)
def fixture_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for registry in (TASKS, MIXERS, PHASES):  # an example may add to them
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    rng = np.random.default_rng(0)
    np.save("A.npy", rng.standard_normal((20, 4)))
    np.save("b.npy", rng.standard_normal(20))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "python")], ids=told)
def test_python_examples_run(path):
    namespace = {"__name__": "example"}
    for body in blocks(path, "python"):
        exec(compile(body, told(path), "exec"), namespace)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path, "shell")], ids=told)
def test_shell_examples_run(path):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in "".join(blocks(path, "shell")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line
        if words[:1] != ["precisionlab"]:
            continue
        kept = {"--resume", "--again", "--help"} & set(words)  # a run that there is keeps its settings
        arguments = words[1:] + ([] if kept else shlex.split(SMALLER.get(words[1], "")))
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, f"{line}: {done.output}"


def test_every_document_is_looked_at():
    assert {"README.md", "docs/tutorial.md"} <= {told(path) for path in DOCUMENTS}
    unlabelled = [
        told(path)
        for path in DOCUMENTS
        if re.search(r"^```\n(?=precisionlab|make|import)", path.read_text(), re.MULTILINE)
    ]
    assert unlabelled == []
