"""Metrics sent on: every row arrives once, into the run directory, and nothing is imported that was not asked for."""

import json
import subprocess
import sys
from types import ModuleType

import pytest

import precisionlab

from .small import NAME, SMALL


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library that reads events
def test_tensorboard_reads_every_row_once_also_of_a_resumed_run(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = {"run_dir": tmp_path, "progress": False, "log": "tensorboard"}
    precisionlab.train(NAME, time_limit=1e-6, **settings, **SMALL)
    precisionlab.train(NAME, resume=True, **settings)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    logged = events.Scalars("mse")
    rows = rows_of(tmp_path)
    assert [event.step for event in logged] == list(range(len(rows)))
    assert [event.value for event in logged] == pytest.approx([row["mse"] for row in rows], rel=2**-23)


class FakeRun:
    def __init__(self, given):
        self.given, self.rows, self.finished = given, {}, False

    def log(self, values, step):
        self.rows[step] = values

    def finish(self):
        self.finished = True


@pytest.fixture(name="fake")
def fixture_fake(monkeypatch):
    module = ModuleType("wandb")
    module.runs = []
    module.init = lambda **given: module.runs.append(FakeRun(given)) or module.runs[-1]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return module


def test_weights_and_biases_is_offline_and_gets_every_row(fake, tmp_path):
    precisionlab.train(NAME, run_dir=tmp_path, progress=False, log="wandb", **SMALL)
    (run,) = fake.runs
    assert (run.given["mode"], run.given["dir"]) == ("offline", tmp_path)
    assert run.given["config"]["experiment"]["name"] == NAME
    rows = rows_of(tmp_path)
    assert [values["mse"] for values in run.rows.values()] == [row["mse"] for row in rows]
    assert run.finished


def test_weights_and_biases_goes_online_where_the_environment_says_so(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    precisionlab.train(NAME, run_dir=tmp_path, time_limit=1e-6, progress=False, log="wandb", **SMALL)
    assert fake.runs[0].given["mode"] == "online"


REFUSED = {
    "no such logger": ({"log": "tensorbord"}, "did you mean|tensorboard"),
    "nowhere to write": ({"log": "tensorboard", "run_dir": None}, "run_dir"),
    "not installed": ({"log": "wandb"}, r"pip install 'precisionlab\[wandb\]'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_logger_that_cannot_be_had_is_refused_before_training(case, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        precisionlab.train(NAME, **{"run_dir": tmp_path / "run", "progress": False, **changes})
    assert not (tmp_path / "run").exists()


EXTRAS = ("hypothesis", "flint", "ray", "tensorboard", "wandb", "IPython", "ipykernel", "nbclient", "sphinx", "pytest")


def test_importing_the_packages_imports_no_extra():
    program = f"import sys, precisionlab, solvers, precisionlab.cli; print([m for m in {EXTRAS} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
