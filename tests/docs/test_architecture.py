"""What docs/architecture.md says is so."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SOURCES = list((ROOT / "precisionlab").rglob("*.py"))
BESIDE = {"overrides", "plugins", "precision", "zoo"}
"""Rooms that share another's row."""


def layers() -> list[set[str]]:
    """Floors as import-linter has them, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rooms,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["precisionlab"])
    return [{name.strip(" ()") for name in re.split(r"[|:]", floor)} for floor in rooms]


def test_the_table_of_rooms_is_what_import_linter_holds() -> None:
    rows = [(int(floor), room) for floor, room in re.findall(r"^\| (\d) \| `(\w+)` \|", TEXT, re.MULTILINE)]
    told = {floor: {room for number, room in rows if number == floor} for floor, _ in rows}
    assert [told[floor] for floor in sorted(told, reverse=True)] == [floor - BESIDE for floor in layers()]


def test_every_room_is_in_it_and_says_what_it_is_for() -> None:
    package = ROOT / "precisionlab"
    rooms = {path.stem for path in package.iterdir() if not path.name.startswith(("_", "py.typed"))}
    assert rooms - set().union(*layers()) - BESIDE == set()
    for room in rooms - {"zoo"}:
        source = package / room / "__init__.py" if (package / room).is_dir() else package / f"{room}.py"
        assert source.read_text(encoding="utf-8").startswith(('"""', 'r"""')), room


def test_what_is_named_is_there() -> None:
    for name in re.findall(r"`((?:precisionlab|reports|solvers|kernels|tests)/?[\w/.]*)`", TEXT):
        assert (ROOT / name).exists(), name


def test_four_files_know_of_several_processes() -> None:
    known = {path.name for path in SOURCES if re.search(r"\bdistributed\.\w+\(", path.read_text(encoding="utf-8"))}
    assert known - {"distributed.py"} == {"objective.py", "training.py", "directory.py", "cli.py"}


def test_what_must_never_be_is_not() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"set_default_dtype|torch\.load\(|pickle\.loads?\(|weights_only=False", text), path
        owners = {"precision.py"}
        flags = r"set_float32_matmul_precision\(|use_deterministic_algorithms\(|allow_tf32 ="
        assert path.name in owners or not re.search(flags, text), path
