"""What goes wrong outside the laboratory: disks, folders, files, other processes, numbers. Each with its message."""

import errno
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import precisionlab
from precisionlab.cli import main
from precisionlab.runs import RunDirectory, checkpoints, determinism, files, training
from precisionlab.tasks import Example, ExplicitGradient
from precisionlab.training import Adam, GaussNewton, Objective
from precisionlab.training.gauss_newton import GaussNewtonRun, ScaledSystem
from precisionlab.training.objective import Stream
from precisionlab.training.phase import Outcome, Place

from .small import NAME, SMALL, settings

ROOT = Path(__file__).parents[2]
LAST, BEFORE = "state/checkpoint.safetensors", "state/previous.safetensors"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["train", NAME, *map(str, arguments)])


def one_line(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def whole() -> precisionlab.Run:
    return precisionlab.train(NAME, progress=False, **SMALL)


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped after its third row, with a checkpoint of each."""
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)
    for row in range(3):
        precisionlab.train(
            NAME, run_dir=tmp_path / "run", resume=row > 0, time_limit=1e-9, progress=False, **({} if row else SMALL)
        )
    return tmp_path / "run"


# Disks and folders


def _no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(half: Path, whole: precisionlab.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (half / LAST).read_bytes()
    with pytest.MonkeyPatch.context() as full:
        full.setattr(os, "fsync", _no_space)
        told = one_line(invoke("--run-dir", half, "--resume"))
    resume = f"go on with: precisionlab train {NAME} --run-dir {half} --resume"
    assert told == f"error: {half}/metrics.jsonl: No space left on device; what was saved is whole, {resume}"
    assert (half / LAST).read_bytes() == before
    run = precisionlab.train(NAME, run_dir=half, resume=True, progress=False)
    assert determinism.compare(run, whole).identical


def test_a_write_that_the_system_cuts_short(tmp_path: Path) -> None:
    """A limit on the size of files stands for a disk that fills up in the middle of a file."""
    directory = tmp_path / "run"
    command = [sys.executable, "-m", "precisionlab", "train", NAME, "--run-dir", str(directory), *settings()]
    done = subprocess.run(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {directory / LAST}: File too large; what was saved is whole"
    )
    assert not list((directory / "state").iterdir())
    precisionlab.train(NAME, run_dir=directory, resume=True, progress=False)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that this process may not write to, though the tests may run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def test_a_read_only_folder(unprivileged: Path) -> None:
    told = one_line(invoke("--run-dir", unprivileged / "run"))
    assert told == f"error: {unprivileged / 'run'}: Permission denied"
    told = one_line(invoke("--run-dir", unprivileged))
    assert told == f"error: {unprivileged / '.lock'}: Permission denied"


def test_a_folder_that_becomes_read_only(half: Path, whole: precisionlab.Run) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_draft", read_only)
        told = one_line(invoke("--run-dir", half, "--resume"))
    assert told.startswith(f"error: {half}/metrics.jsonl: Read-only file system; what was saved is whole, go on with:")
    run = precisionlab.train(NAME, run_dir=half, resume=True, progress=False)
    assert determinism.compare(run, whole).identical


# Checkpoints


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _not_finite(path: Path) -> None:
    tensors, facts = checkpoints.load_checkpoint(path, numbers=10**6)
    tensors["theta"][0] = torch.nan
    checkpoints.save_checkpoint(path, tensors, facts)


def _wrong_length(path: Path) -> None:
    tensors, facts = checkpoints.load_checkpoint(path, numbers=10**6)
    checkpoints.save_checkpoint(path, {**tensors, "best": torch.zeros(3, dtype=torch.float64)}, facts)


def _without(path: Path) -> None:
    tensors, facts = checkpoints.load_checkpoint(path, numbers=10**6)
    checkpoints.save_checkpoint(path, tensors, {key: facts[key] for key in facts if key != "rows"})


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (_truncate, "not a readable checkpoint"),
    (_flip, "corrupted"),
    (_empty, "not a readable checkpoint"),
    (Path.unlink, "not a readable checkpoint"),
    (_not_finite, "theta is not finite"),
    (_wrong_length, "best is (3,) torch.float64, want (386,) torch.float64"),
    (_without, "not the state of such a run (KeyError: 'rows')"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    half: Path,
    whole: precisionlab.Run,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    says: str,
) -> None:
    damage(half / LAST)
    run = precisionlab.train(NAME, run_dir=half, resume=True, progress=False)
    assert f"{half / LAST}: {says}" in caplog.text
    assert "going on from the checkpoint before it" in caplog.text
    assert determinism.compare(run, whole).identical


@pytest.mark.parametrize("damage", [_truncate, _flip])
def test_two_damaged_checkpoints_are_refused(half: Path, damage: Callable[[Path], None]) -> None:
    damage(half / LAST)
    damage(half / BEFORE)
    told = one_line(invoke("--run-dir", half, "--resume"))
    assert "nor can the one before it" in told
    assert "start again in another directory" in told


def test_a_damaged_model_is_not_loaded(half: Path) -> None:
    _flip(half / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: corrupted"):
        precisionlab.load(half)


# Other processes, time


def test_a_second_process_is_refused(half: Path) -> None:
    with RunDirectory(half).locked():
        assert one_line(invoke("--run-dir", half, "--resume")) == f"error: {half}: another process is training here"


def test_a_file_system_without_locks_is_named(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert one_line(invoke("--run-dir", half, "--resume")).startswith(f"error: {half}/.lock: No locks available;")


def test_the_lock_is_given_back_on_failure(half: Path) -> None:
    with pytest.raises(RuntimeError, match="gone wrong"), RunDirectory(half).locked():
        raise RuntimeError("gone wrong")
    with RunDirectory(half).locked():
        assert (half / ".lock").stat().st_mode & 0o111 == 0


def test_the_time_limit_says_how_to_go_on(tmp_path: Path) -> None:
    result = invoke("--run-dir", tmp_path / "run", "--time-limit", "1e-9", *settings())
    assert result.exit_code == 0
    again = f"precisionlab train {NAME} --run-dir {tmp_path / 'run'} --resume"
    assert f"the time is up; go on with: {again}" in result.output


@pytest.mark.parametrize("option", ["--resume", "--run-dir=x", "--time-limit=1"])
def test_a_determinism_check_keeps_no_run(option: str) -> None:
    assert "keeps no run" in one_line(invoke("--check-determinism", option))


def test_a_determinism_check_says_what_agrees_and_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke("--check-determinism", *settings())
    assert result.exit_code == 0, result.output
    assert "386 parameters agree in every bit" in result.output
    sample = ExplicitGradient.sample

    def unseeded(self: ExplicitGradient, batch: int, **options: object) -> Example:
        return sample(self, batch, generator=torch.default_generator, dtype=torch.float64)

    monkeypatch.setattr(ExplicitGradient, "sample", unseeded)
    result = invoke("--check-determinism", *settings())
    assert result.exit_code == 1
    assert "not deterministic: row 1, adam step 50: mse is" in result.output


# Numbers


@pytest.fixture
def objective() -> Objective:
    experiment = precisionlab.load(NAME).experiment
    return Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=0)


def _spoil(monkeypatch: pytest.MonkeyPatch, objective: Objective, steps: set[int], value: float) -> None:
    """Put a number that is not finite into the training batches of some steps."""
    batch = objective.batch

    def spoilt(stream: Stream, *place: int, size: int) -> Example:
        example = batch(stream, *place, size=size)
        if stream == Stream.TRAINING and place[-1] in steps:
            example.prompt[0, 0, 0] = value
        return example

    monkeypatch.setattr(objective, "batch", spoilt)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
@pytest.mark.parametrize("phase", [Adam(steps=100, batch=8), GaussNewton(steps=3, residuals=0.01)], ids=["adam", "gn"])
def test_a_step_that_is_not_finite_is_rejected_and_counted(
    objective: Objective, monkeypatch: pytest.MonkeyPatch, phase: Adam | GaussNewton, value: float
) -> None:
    theta = objective.initial(0)
    run = phase.start(objective, theta, Place(attempt=0, phase=0))
    _spoil(monkeypatch, objective, {0}, value)
    row = run.advance()
    assert row["rejected"] == 1
    assert bool(run.theta.isfinite().all())
    assert all(bool(part.isfinite().all()) for part in run.state().values() if isinstance(part, torch.Tensor))
    if isinstance(phase, GaussNewton):
        assert torch.equal(run.theta, theta)
        assert row["damping"] == phase.damping
    # A restored run counts the same steps, and so goes on in the same bits.
    again = phase.start(objective, theta, Place(attempt=0, phase=0))
    again.restore(run.state())
    for _ in range(2):
        if run.outcome is None:
            assert run.advance() == again.advance()
    assert torch.equal(run.theta, again.theta)


def test_nothing_but_rejected_steps_ends_the_start(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    theta = objective.initial(0)
    run = Adam(steps=100, batch=8).start(objective, theta, Place(attempt=0, phase=0))
    _spoil(monkeypatch, objective, set(range(100)), torch.nan)
    assert run.advance()["rejected"] == 50
    assert run.outcome is Outcome.STALLED
    assert torch.equal(run.theta, theta)


def test_an_indefinite_system_is_damped_and_a_hopeless_one_rejected() -> None:
    ones = torch.ones(4, 3, dtype=torch.float64)
    system = ScaledSystem(ones.clone(), ones[:, 0])
    assert system.finite
    system._gram.diagonal().sub_(2.0)
    assert system.solve(1e-3) is None
    step = system.solve(10.0)
    assert step is not None
    assert bool(step.isfinite().all())
    ones[0, 0] = torch.nan
    assert not ScaledSystem(ones, torch.ones(4, dtype=torch.float64)).finite


def test_no_start_with_a_finite_error(tmp_path: Path) -> None:
    told = one_line(invoke("--run-dir", tmp_path / "run", *settings(**{"phases.adam.learning_rate": 1e308})))
    assert told == "error: no start had a finite error; try a smaller learning rate"


def test_parameters_that_are_not_finite_are_never_saved(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, state = checkpoints.load_checkpoint(half / LAST, numbers=10**6), GaussNewtonRun.state
    monkeypatch.setattr(GaussNewtonRun, "state", lambda self: state(self) | {"trial": self.theta / 0})
    told = one_line(invoke("--run-dir", half, "--resume"))
    assert told == "error: gauss-newton, step 2: trial is no longer finite; try a smaller learning rate"
    tensors, facts = checkpoints.load_checkpoint(half / LAST, numbers=10**6)
    assert facts == before[1]
    assert all(torch.equal(tensors[name], before[0][name]) for name in tensors)
