"""Files and names made to harm: each is refused in one line, with no more memory than the file itself takes."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import precisionlab
from precisionlab import config as configs
from precisionlab.cli import main
from precisionlab.runs import Card, RunConfig, RunDirectory, checkpoints, files, zoo

from .small import NAME, SMALL

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a sound run."""
    directory = tmp_path_factory.mktemp("sound") / "run"
    precisionlab.train(NAME, run_dir=directory, progress=False, **SMALL)
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture
def run(sound: dict[str, bytes], tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    for name, content in sound.items():
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def refused(*arguments: object) -> str:
    """The one line with which the command line refuses."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def load_is_refused(run: Path, tmp_path: Path) -> str:
    return refused("report", run, "--out", tmp_path / "report")


# A card that lies


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"parameters": 10**9}, "parameters is 1000000000, the run's is 386"),
        ({"dtype": "float32"}, "dtype is 'float32', the run's is 'float64'"),
        ({"name": "../../etc/passwd"}, "name is '../../etc/passwd', the run's is"),
        ({"seed": 5}, "seed is 5, the run's is 0"),
        ({"test_mse": "0"}, "test_mse: Input should be a valid number"),
        ({"ended": "perfectly"}, "ended: Input should be 'reached'"),
        ({"extra": 1}, "extra: unknown setting; known: name, summary"),
    ],
)
def test_a_card_that_lies(run: Path, tmp_path: Path, lie: dict[str, Any], says: str) -> None:
    card = json.loads((run / "card.json").read_text())
    (run / "card.json").write_text(json.dumps(card | lie))
    told = load_is_refused(run, tmp_path)
    assert f"{run / 'card.json'}: {says}" in told


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 10**5, "\0", '{"seed": ' + "9" * 5000 + "}"])
@pytest.mark.parametrize("name", ["card.json", "metrics.jsonl"])
def test_malformed_json(run: Path, tmp_path: Path, name: str, text: str) -> None:
    if name == "metrics.jsonl" and text in {"", "[]"}:
        return  # a table without rows, or with one that is empty
    (run / name).write_text(text)
    assert str(run / name) in load_is_refused(run, tmp_path)


def test_a_card_cannot_put_markup_into_a_notebook(sound: dict[str, bytes]) -> None:
    card = Card(**json.loads(sound["card.json"]) | {"summary": "<script>alert(1)</script>"})
    assert "<script>" not in card._repr_html_()


def test_a_card_without_end(run: Path, tmp_path: Path) -> None:
    (run / "card.json").write_bytes(b" " * (2 * files.TEXT_BYTES))
    assert "longer than the 1048576 bytes it may have" in load_is_refused(run, tmp_path)


# Configurations


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("width = 6", "width = 1000000000", "width: Input should be less than or equal to 16384"),
        ("layers = 2", "layers = 1000000000", "layers: Input should be less than or equal to 256"),
        ("width = 6", "width = 16384", "the model would have 2e+09 parameters"),
        ("width = 6", "width = 1024", "a Jacobian would hold"),
        ("n = 2\nrows = 4", "n = 1000\nrows = 1000000000", "task.rows: Input should be less than or equal to"),
        ("n = 2\nrows = 4", "n = 1000\nrows = 1000000", "task: a problem would hold"),
        ("batch = 128", "batch = 1000000000000", "a batch would hold"),
        ("width = 6", "width = '6'", "width: Input should be a valid integer"),
        ("width = 6", "width = 6\nwidht = 7", "widht: unknown setting; did you mean 'width'?"),
        ("seed = 0", "seed = 1979-05-27", "seed: Input should be a valid integer (got datetime.date"),
        ("seed = 0", "seed = nan", "seed: Input should be a valid integer"),
        ("learning_rate = 0.01", "learning_rate = inf", "learning_rate: Input should be a finite number"),
        ("seed = 0", "seed = " + "9" * 5000, "not valid TOML"),
        ("seed = 0", "seed = " + "[" * 10**5, "not valid TOML"),
        ("seed = 0", "seed = ", "not valid TOML"),
        (NAME, "../../etc/passwd", "name: String should match pattern"),
        (NAME, "/etc/passwd", "name: String should match pattern"),
        ('device = "cpu"', 'device = "cuda:99"', "is not available here"),
        ('device = "cpu"', 'device = "meta"', "is not available here"),
    ],
)
def test_a_hostile_configuration(run: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new))
    for told in (load_is_refused(run, tmp_path), refused("train", NAME, "--run-dir", run, "--resume")):
        assert says in told


@FUZZ
@given(data=st.data())
def test_a_fuzzed_configuration_is_refused_or_sound(sound: dict[str, bytes], data: st.DataObject) -> None:
    text = sound["config.toml"].decode()
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 20))
    junk = data.draw(st.text(max_size=20) | st.sampled_from(["nan", "1e999", "-1", "[[", '"', "9" * 30, "\0", "{}"]))
    told = "fuzzed: "
    try:
        configs.loads(RunConfig, text[:at] + junk + text[at + length :], source="fuzzed")
    except ValueError as error:
        told = str(error)
    assert told.startswith("fuzzed: ")


# Checkpoints


def _safetensors(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = {
    "promises 8 EiB": _safetensors({"w": {"dtype": "F64", "shape": [2**60], "data_offsets": [0, 2**63]}}),
    "promises 8 TiB": _safetensors({"w": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}),
    "overflows": _safetensors({"w": {"dtype": "F64", "shape": [2**33, 2**33], "data_offsets": [0, 8]}}, b"\0" * 8),
    "overlaps": _safetensors({n: {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]} for n in "ab"}, b"\0" * 8),
    "a header of 8 EiB": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": _safetensors(b"\xff\xfe"),
    "deep JSON": _safetensors(b"[" * 10**5),
    "deep facts": _safetensors({"__metadata__": {"facts": "[" * 10**5}}),
    "facts that are no table": _safetensors({"__metadata__": {"facts": "3"}}),
    "a pickle": b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
    "another model": _safetensors({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
    "path in a name": _safetensors({"../../x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_checkpoint(run: Path, tmp_path: Path, content: bytes) -> None:
    (run / "model.safetensors").write_bytes(content)
    tracemalloc.start()
    try:
        told = load_is_refused(run, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "model.safetensors: " in told
    assert peak < 64 * MEBIBYTE


def test_a_checkpoint_larger_than_its_model_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole of a tebibyte, which takes no space
    with pytest.raises(ValueError, match="1099511627776 bytes, want at most"):
        checkpoints.load_checkpoint(path, numbers=386)


@FUZZ
@given(data=st.data())
def test_a_fuzzed_checkpoint_is_refused(sound: dict[str, bytes], tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(sound["model.safetensors"])
    whole = bytes(content)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "fuzzed.safetensors"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        tensors, facts = checkpoints.load_checkpoint(path, numbers=386)
    except ValueError:
        return
    path.write_bytes(whole)
    sound_tensors, sound_facts = checkpoints.load_checkpoint(path, numbers=386)
    assert facts == sound_facts
    assert all(torch.equal(tensors[name], sound_tensors[name]) for name in sound_tensors)


# Names


@pytest.mark.parametrize("name", ["../../etc", "/etc", "..", "linear-attention/../..", "a\0b", "~root", "x" * 5000, ""])
def test_a_name_does_not_leave_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert zoo.path(name) is None
    assert "unknown experiment" in refused("train", name)
    refused("report", name, "--out", "report")
    refused("verify", name)
    assert not list(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="name"):
        precisionlab.train(NAME, progress=False, name=name)


# Arrays


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


ARRAYS = {
    "objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"\x80\x04K\x01."),
    "8 TB": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }", b"\0" * 64),
    "overflow": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4), }"),
    "negative": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 3), }", b"\0" * 64),
    "code": _npy("__import__('os').system('id')"),
    "unclosed": _npy("{'descr': '<f8', 'shape': ("),
    "deep": _npy("(" * 5000),
    "empty": b"",
    "text": b"1 2 3\n",
    "pickle": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_a_hostile_array(tmp_path: Path, content: bytes) -> None:
    A, b = tmp_path / "A.npy", tmp_path / "b.npy"
    np.save(b, np.ones(3))
    A.write_bytes(content)
    told = refused("solve", "--A", A, "--b", b, "--solver", "qr")
    assert told.startswith(f"error: --A: {A} is not a .npy file of numbers")


def test_an_array_of_python_objects_and_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.ones(3))
    np.save(tmp_path / "A.npy", np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "A.npz", a=np.ones((3, 2)))
    for name in ("A.npy", "A.npz"):
        told = refused("solve", "--A", tmp_path / name, "--b", tmp_path / "b.npy", "--solver", "qr")
        assert "is not a .npy file of numbers" in told


@FUZZ
@given(data=st.data())
def test_a_fuzzed_array_is_refused_or_solved(tmp_path: Path, data: st.DataObject) -> None:
    np.save(tmp_path / "A.npy", np.eye(3, 2))
    np.save(tmp_path / "b.npy", np.ones(3))
    content = bytearray((tmp_path / "A.npy").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "A.npy").write_bytes(content)
    arguments = ["solve", "--A", str(tmp_path / "A.npy"), "--b", str(tmp_path / "b.npy"), "--solver", "qr"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in {0, 1, 2}
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_sound_run_is_loaded(run: Path) -> None:
    assert RunDirectory(run).load().card.parameters == 386
