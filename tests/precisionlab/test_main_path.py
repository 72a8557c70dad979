"""The whole path: train, load, solve. At a small size from random weights, and with what is shipped."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import precisionlab
from precisionlab.runs import Run, zoo
from precisionlab.tasks.accuracy import mean_squared_error
from solvers import errors, reference
from solvers.problems import random_problem
from solvers.result import Status

NAME = "linear-attention/explicit-gradient"
SMALL = {"n": 2, "rows": 6, "width": 8}
U = 2.0**-53


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("runs") / "small"
    return precisionlab.train(NAME, seed=1, run_dir=directory, progress=False, **SMALL)


def test_training_ends_at_the_floor(run: Run) -> None:
    assert run.card.ended == "reached"
    assert run.card.test_mse is not None
    assert run.card.test_mse <= (64 * U) ** 2 * 3  # the targets' mean square is between 2 and 3
    assert list(run.metrics["phase"].unique()) == ["adam", "gauss-newton"]
    assert not run.metrics.duplicated(["attempt", "phase", "step"]).any()


def test_a_run_is_what_was_written(run: Run) -> None:
    assert run.directory is not None
    names = {path.name for path in run.directory.iterdir() if not path.name.startswith(".")}
    assert names >= {"config.toml", "environment.json", "metrics.jsonl", "model.safetensors", "card.json", "state"}
    again = precisionlab.load(run.directory)
    assert again.experiment == run.experiment
    assert again.card == run.card
    pd.testing.assert_frame_equal(again.metrics, run.metrics, check_dtype=False)
    prompt = torch.randn(3, 7, 3, dtype=torch.float64)
    assert torch.equal(again.model(prompt), run.model(prompt))


def test_the_same_seed_gives_the_same_bits(run: Run) -> None:
    again = precisionlab.train(NAME, seed=1, progress=False, **SMALL)
    for one, two in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_stopped_run_resumed_ends_in_the_same_bits(run: Run, tmp_path: Path) -> None:
    part = precisionlab.train(NAME, seed=1, run_dir=tmp_path / "run", time_limit=1e-9, progress=False, **SMALL)
    assert part.card.ended == "unfinished"
    whole = precisionlab.train(NAME, seed=1, run_dir=tmp_path / "run", resume=True, progress=False)
    for one, two in zip(run.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert whole.metrics["mse"].tolist() == run.metrics["mse"].tolist()


@pytest.mark.parametrize("refinement", [None, 10])
def test_the_trained_model_solves_fresh_problems(run: Run, refinement: int | None) -> None:
    problem = random_problem(9, 2, condition=4, batch=(50,), generator=torch.Generator().manual_seed(0))
    result = precisionlab.load_solver(run, refinement=refinement).solve(problem.A, problem.b)
    # Alone, what the model emits is off by a little more than the stopping rule asks for, now and then.
    assert refinement is None or (result.status == Status.CONVERGED).all()
    exact = tuple(torch.as_tensor(part) for part in reference.solve_exact(problem.A, problem.b))
    assert (errors.forward_error(result.x, exact) <= 64 * U * problem.condition**2).all()


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_checkpoint_is_as_good_as_its_card_says(name: str) -> None:
    run = precisionlab.load(name)
    assert run.card.test_mse is not None
    task = run.experiment.task
    example = task.sample(1000, generator=torch.Generator().manual_seed(77), dtype=torch.float64)
    measured = float(mean_squared_error(task, run.model(example.prompt), example.prompt))
    assert measured <= 4 * run.card.test_mse


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: precisionlab.train("linear-atention/explicit-gradient"), f"did you mean '{NAME}'?"),
        (lambda: precisionlab.train(NAME, widht=3), "unknown override 'widht': did you mean 'width'?"),
        (lambda: precisionlab.train(NAME, seed=-1), "seed: got -1"),
        (lambda: precisionlab.train(NAME, seed=1.5), "seed: got 1.5"),
        (lambda: precisionlab.train(NAME, device="gpu"), "device: 'gpu' is not available"),
        (lambda: precisionlab.train(NAME, time_limit=0), "time_limit: got 0"),
        (lambda: precisionlab.train(NAME, resume=True), "resume: there is nothing to resume"),
        (lambda: precisionlab.load("nothing/here"), "nothing/here: no shipped checkpoint and no run directory"),
        (lambda: precisionlab.load_solver(NAME, stepsize=1), "unknown option 'stepsize'"),
        (lambda: precisionlab.load_solver(NAME).solve(np.ones((4, 6)), np.ones(4)), "A"),
        (lambda: precisionlab.load_solver(NAME).solve(np.eye(8, 6), np.ones(8)), "want at most 5"),
        (lambda: precisionlab.load_solver(NAME).solve(np.ones((8, 3)), np.ones(7)), "b"),
        (lambda: precisionlab.load_solver(NAME).solve(np.full((8, 3), np.nan), np.ones(8)), "A"),
        (lambda: precisionlab.load_solver(NAME).solve(np.ones((8, 3), dtype=int), np.ones(8)), "A"),
    ],
)
def test_bad_input_is_one_line_that_names_it(call: object, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(says)) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_directory_that_holds_a_run_is_not_overwritten(run: Run) -> None:
    assert run.directory is not None
    with pytest.raises(ValueError, match="holds a run already"):
        precisionlab.train(NAME, run_dir=run.directory, progress=False, **SMALL)
