"""A run says what made it: its card, its configuration and its environment are those of what was trained."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import precisionlab
from precisionlab.cli import main
from precisionlab.experiments import get
from precisionlab.models import SoftmaxAttention
from precisionlab.overrides import override, parse_override
from precisionlab.precision import current_math_flags
from precisionlab.runs import Run, again, determinism, zoo
from precisionlab.training import Adam, Objective

from .small import NAME, SMALL

CHANGES = {**SMALL, "mixer": SoftmaxAttention(heads=2), "phases.adam.easier": {"iterate_scale": 2.0}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return precisionlab.train(NAME, seed=3, run_dir=tmp_path_factory.mktemp("run"), progress=False, **SMALL)


def test_the_summary_is_of_what_was_trained(run: Run) -> None:
    assert run.card.parameters == 386
    assert run.card.summary == "linear-attention emits the least-squares gradient Aᵀ(A x₀ − b)/N (n = 2, N = 4)"


@pytest.mark.parametrize(
    "changes", [SMALL, CHANGES, {**SMALL, "dtype": "float32"}], ids=["small", "changed", "float32"]
)
def test_the_command_of_a_card_makes_the_run_again(changes: dict[str, object], tmp_path: Path) -> None:
    run = precisionlab.train(NAME, seed=3, run_dir=tmp_path / "run", progress=False, **changes)
    program, *words = shlex.split(run.card.command)
    assert program == "precisionlab"
    result = CliRunner().invoke(main, [*words, "--run-dir", str(tmp_path / "copy")])
    assert result.exit_code == 0, result.output
    copy = precisionlab.load(tmp_path / "copy")
    assert copy.experiment == run.experiment
    assert copy.card.command == run.card.command
    assert determinism.compare(run, copy).identical


def test_a_run_directory_is_enough_to_make_its_run_again(run: Run, tmp_path: Path) -> None:
    assert run.directory is not None
    assert determinism.compare(run, again(run.directory, into=tmp_path / "again", progress=False)).identical
    result = CliRunner().invoke(main, ["train", "--again", str(run.directory), "--run-dir", str(tmp_path / "copy")])
    assert result.exit_code == 0, result.output
    assert determinism.compare(run, precisionlab.load(tmp_path / "copy")).identical


def test_a_recipe_of_ones_own_is_made_again_from_its_directory(tmp_path: Path) -> None:
    experiment = replace(get(NAME), name="mine/adam", phases=(Adam(steps=50),), attempts=1)
    kept = precisionlab.train(experiment, run_dir=tmp_path / "run", progress=False, n=2, rows=4)
    assert kept.card.command == f"precisionlab train --again {tmp_path / 'run'}"
    assert "trained from Python" in precisionlab.train(experiment, progress=False, n=2, rows=4).card.command


@pytest.mark.parametrize("name", zoo.names())
def test_the_command_of_a_shipped_card_is_of_its_configuration(name: str) -> None:
    run = precisionlab.load(name)
    words = shlex.split(run.card.command)
    assert words[:4] == ["precisionlab", "train", name, "--seed"]
    settings = dict(parse_override(words[place + 1]) for place, word in enumerate(words) if word == "--set")
    assert replace(override(get(name), settings), cost=run.experiment.cost) == run.experiment


def test_the_environment_is_that_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    loss = Objective.loss

    def watched(self: Objective, theta: torch.Tensor, example: object) -> torch.Tensor:
        seen.append(current_math_flags())
        return loss(self, theta, example)  # type: ignore[arg-type]

    monkeypatch.setattr(Objective, "loss", watched)
    precisionlab.train(NAME, run_dir=tmp_path, time_limit=1e-9, progress=False, **SMALL)
    flags = json.loads((tmp_path / "environment.json").read_text())["math_flags"]
    assert {tuple(vars(one).items()) for one in seen} == {tuple(flags.items())}
    assert flags == {"matmul_precision": "highest", "tf32": False, "deterministic": True}


# A run directory may be run again


def test_the_same_call_begins_goes_on_and_ends(run: Run, tmp_path: Path) -> None:
    def call(**limit: float) -> Run:
        return precisionlab.train(NAME, seed=3, run_dir=tmp_path, resume=True, progress=False, **SMALL, **limit)  # type: ignore[arg-type]

    assert call(time_limit=1e-9).card.ended == "unfinished"
    assert determinism.compare(run, call()).identical
    assert determinism.compare(run, call()).identical


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({**SMALL, "width": 8}, "holds a run of other settings, but for model.width"),
        ({"seed": 4}, "holds a run of seed 3, not 4"),
    ],
)
def test_a_run_of_other_settings_is_not_taken_for_the_one_asked_for(
    run: Run, changes: dict[str, object], says: str
) -> None:
    assert run.directory is not None
    with pytest.raises(ValueError, match=says):
        precisionlab.train(NAME, run_dir=run.directory, resume=True, progress=False, **{"seed": 3, **changes})  # type: ignore[arg-type]
    other = replace(get(NAME), phases=(Adam(steps=1),))
    with pytest.raises(ValueError, match="holds a run of other settings"):
        precisionlab.train(other, run_dir=run.directory, resume=True, progress=False)


def test_a_run_is_not_taken_up_unasked(run: Run) -> None:
    with pytest.raises(ValueError, match=r"holds a run already; resume it \(--resume\), or choose another directory"):
        precisionlab.train(NAME, seed=3, run_dir=run.directory, progress=False, **SMALL)
