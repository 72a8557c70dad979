"""The command line: help with an example, one line for a mistake, exit codes."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from precisionlab.cli import main

NAME = "linear-attention/explicit-gradient"
COMMANDS = sorted(main.commands)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Example:" in result.output
    assert "precisionlab " in result.output.split("Example:")[1]


def test_list_names_everything() -> None:
    result = invoke("list")
    assert result.exit_code == 0
    for name in (NAME, "qr", "gradient-descent"):
        assert name in result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    A = generator.standard_normal((12, 3))
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "b.npy", A @ np.ones(3))
    np.save(tmp_path / "short.npy", np.ones(11))
    np.save(tmp_path / "whole.npy", np.ones(12, dtype=int))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("1 2 3")
    return tmp_path


@pytest.mark.parametrize("solver", ["qr", "cgls", NAME])
def test_solve_writes_the_solution(data: Path, solver: str) -> None:
    out = data / "x.npy"
    result = invoke(
        "solve", "--A", f"{data}/A.npy", "--b", f"{data}/b.npy", "--solver", solver, "--out", str(out), "--certify"
    )
    assert result.exit_code == 0, result.output
    assert "CONVERGED" in result.output
    assert np.abs(np.load(out) - 1).max() <= 2.0**-40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["train"], "Missing argument"),
        (["train", "nothing/here"], "unknown experiment 'nothing/here'"),
        (["train", NAME, "--set", "widht=3"], "did you mean 'width'?"),
        (["train", NAME, "--set", "width"], "write key=value"),
        (["train", NAME, "--set", "width=3"], "heads must divide width"),
        (["train", NAME, "--seed", "-1"], "--seed"),
        (["train", NAME, "--device", "tpu"], "device"),
        (["report", NAME], "--out"),
        (["report", "qrr", "--out", "x"], "did you mean 'qr'?"),
        (["report", "qr", "--out", "x", "--iterations", "0"], "--iterations"),
        (["verify", "qrr"], "unknown solver 'qrr'"),
        (["solve", "--A", "{data}/no.npy", "--b", "{data}/b.npy", "--solver", "qr"], "no.npy"),
        (["solve", "--A", "{data}/A.npy", "--b", "{data}/short.npy", "--solver", "qr"], "b"),
        (["solve", "--A", "{data}/A.npy", "--b", "{data}/whole.npy", "--solver", "qr"], "b"),
        (["solve", "--A", "{data}/A.npy", "--b", "{data}/objects.npy", "--solver", "qr"], "--b"),
        (["solve", "--A", "{data}/A.npy", "--b", "{data}/text.npy", "--solver", "qr"], "--b"),
        (["solve", "--A", "{data}/A.npy", "--b", "{data}/b.npy", "--solver", "qrr"], "unknown solver 'qrr'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(data: Path, arguments: list[str], says: str) -> None:
    result = invoke(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert "Traceback" not in result.output
