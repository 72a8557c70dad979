"""The open registry: classes of a user's own, what is refused of them, and what a file may not do."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import precisionlab
from precisionlab import config as configs
from precisionlab import plugins
from precisionlab.models import LinearAttention, Mixer, ModelConfig
from precisionlab.overrides import changes, override
from precisionlab.tasks import Example, ExplicitGradient
from precisionlab.training import Adam, GaussNewton, phase

from .own import registries_restored, written
from .small import NAME, SMALL


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registries_restored(), monkeypatch.context():
        yield


def example(batch: int, generator: torch.Generator, dtype: torch.dtype) -> Example:
    prompt = torch.randn(batch, 3, 2, generator=generator, dtype=dtype)
    return Example(prompt, prompt[:, 0])


@precisionlab.task("registry-test")
class First:
    """Emit the first token."""

    rows: int = 3

    def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
        return example(batch, generator, dtype)

    def exact(self, prompt: torch.Tensor) -> torch.Tensor:
        return prompt[:, 0].double()


def experiment(task: object) -> precisionlab.Experiment:
    return precisionlab.Experiment(name="mine/first", task=task, model=ModelConfig(width=4), phases=(Adam(steps=50),))  # type: ignore[arg-type]


# Classes


def test_the_decorator_makes_a_frozen_strict_keyword_only_dataclass() -> None:
    assert First(rows=4) == First(rows=4) != First()
    with pytest.raises(dataclasses.FrozenInstanceError):
        First().rows = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        First(4)  # type: ignore[misc]
    for wrong, says in (
        ({"rosw": 4}, "First: rosw: unknown setting; did you mean 'rows'? known: rows"),
        ({"rows": 4.0}, "First: rows: Input should be a valid integer (got 4.0)"),
        ({"rows": "4"}, "First: rows: Input should be a valid integer (got '4')"),
    ):
        with pytest.raises(ValueError, match=re.escape(says)) as caught:
            First(**wrong)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


def test_it_is_kept_in_a_file_under_its_kind() -> None:
    written_down = configs.dumps(experiment(First(rows=7)))
    assert 'kind = "registry-test"\nrows = 7' in written_down
    assert configs.loads(precisionlab.Experiment, written_down, source="test").task == First(rows=7)


@pytest.mark.parametrize("parent", [First, ExplicitGradient])
def test_a_subclass_without_a_kind_of_its_own_is_refused(parent: type) -> None:
    class Mine(parent):  # type: ignore[misc]
        def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
            raise AssertionError

    with pytest.raises(ValueError, match=r"Mine is not registered as a task: .*@precisionlab.task\("):
        experiment(Mine())


def test_a_subclass_with_one_keeps_its_own_behaviour(tmp_path: Path) -> None:
    calls = []

    @precisionlab.task("one-row")
    class OneRow(ExplicitGradient):
        factor: float = 1.0

        def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
            calls.append(batch)
            return super().sample(batch, generator=generator, dtype=dtype)

    run = precisionlab.train(experiment(OneRow(n=2, rows=4, factor=2.0)), run_dir=tmp_path, progress=False)
    assert 128 in calls
    loaded = precisionlab.load(run.directory or "").experiment.task
    assert type(loaded) is OneRow
    assert loaded == OneRow(n=2, rows=4, factor=2.0)


def test_two_classes_may_not_have_one_kind() -> None:
    with pytest.raises(ValueError, match=r"task 'explicit-gradient': the kind is taken by precisionlab\.tasks\."):
        precisionlab.task("explicit-gradient")(type("Other", (), {}))
    with pytest.raises(ValueError, match="kind is what the class itself is called"):
        precisionlab.task("other")(type("Other", (), {"__annotations__": {"kind": str}, "kind": "mine"}))


@pytest.mark.parametrize(
    ("prompt", "target", "says"),
    [
        ((3, 2), (2,), "want (1, T, F) and (1, E) or (1, T, E)"),
        ((1, 3, 2), (1, 4, 2), "want (1, T, F) and (1, E) or (1, T, E)"),
        ((1, 3, 2), (1, 2), "torch.float32"),
    ],
)
def test_a_sample_of_another_shape_is_refused(prompt: tuple[int, ...], target: tuple[int, ...], says: str) -> None:
    @precisionlab.task("wrong")
    class Wrong:
        def sample(self, batch: int, *, generator: torch.Generator, dtype: torch.dtype) -> Example:
            dtype = torch.float32 if says.startswith("torch") else dtype
            return Example(torch.zeros(prompt, dtype=dtype), torch.zeros(target, dtype=dtype))

        def exact(self, prompt: torch.Tensor) -> torch.Tensor:
            return prompt

    with pytest.raises(ValueError, match=re.escape(says)):
        experiment(Wrong())


# Files


@pytest.fixture
def run(tmp_path: Path) -> Path:
    precisionlab.train(NAME, run_dir=tmp_path / "run", progress=False, **SMALL)
    return tmp_path / "run"


def test_an_unknown_kind_says_what_to_import_and_imports_nothing(run: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('imported')")
    config = (run / "config.toml").read_text()
    config = config.replace('kind = "explicit-gradient"', 'kind = "cube-mean"').replace(
        "plugins = []", f'plugins = ["trap", "{trap}"]'
    )
    (run / "config.toml").write_text(config)
    with pytest.raises(ValueError, match="unknown task 'cube-mean'") as caught:
        precisionlab.load(run)
    assert f"made with trap, {trap}: import that first, or give --plugin trap --plugin {trap}" in str(caught.value)
    load = f"import sys, precisionlab\ntry: precisionlab.load({str(run)!r})"
    code = f"{load}\nexcept ValueError: print('trap' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("named", ["plugins = 3", 'plugins = [["x"]]', f'plugins = ["{"x" * 2000}"]'])
def test_a_file_that_names_no_plugins_is_refused_in_a_line(run: Path, named: str) -> None:
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace("plugins = []", named))
    with pytest.raises(ValueError, match="plugins") as caught:
        precisionlab.load(run)
    assert "\n" not in str(caught.value)


def test_a_plugin_is_a_module_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "plugin_of_a_test.py")
    monkeypatch.delitem(sys.modules, "plugin_of_a_test", raising=False)
    module = plugins.use(str(path))
    assert plugins.use(str(path)) is module
    cube = vars(module)["CUBE"]
    assert configs.origins(cube) == [str(path)]
    for name, says in (
        ("nothing.py", "no such file"),
        ("no.such.module", "no such module"),
        ("", "not the name of a module"),
        (str(tmp_path / "elsewhere" / "plugin_of_a_test.py"), "there is a module 'plugin_of_a_test' already"),
    ):
        with pytest.raises(ValueError, match=says):
            plugins.use(name)


# Overrides


@phase("still")
class Still:
    """A phase with a batch."""

    batch: int = 1

    def start(self, *_: object) -> None:
        raise AssertionError


TWICE = precisionlab.Experiment(
    name="mine/twice",
    task=ExplicitGradient(n=2, rows=4),
    model=ModelConfig(mixer=LinearAttention(heads=2), width=6),
    phases=(Adam(steps=5), GaussNewton(steps=7, easier={"active_rows": 2}), Still(), GaussNewton(steps=9)),
)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("phases.0.steps", 0, 3),
        ("phases.adam.steps", 0, 3),
        ("phases.gauss-newton.0.steps", 1, 3),
        ("phases.1.steps", 1, 3),
        ("phases.gauss-newton.1.steps", 3, 3),
        ("phases.3.steps", 3, 3),
    ],
)
def test_every_phase_can_be_named(name: str, place: int, value: int) -> None:
    changed = override(TWICE, {name: value})
    expected = list(TWICE.phases)
    expected[place] = dataclasses.replace(expected[place], steps=value)  # type: ignore[type-var]
    assert changed == dataclasses.replace(TWICE, phases=tuple(expected))
    (found,) = (changes(TWICE, changed) or {}).items()
    assert override(TWICE, dict([found])) == changed


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "phases.gauss-newton.steps",
            "ambiguous: write one of phases.gauss-newton.0.steps, phases.gauss-newton.1.steps",
        ),
        (
            "steps",
            "ambiguous: write one of phases.adam.steps, phases.gauss-newton.0.steps, phases.gauss-newton.1.steps",
        ),
        ("phases.gauss-newton.2.steps", "unknown override 'phases.gauss-newton.2.steps'"),
        ("phases.7.steps", "unknown override 'phases.7.steps'"),
        ("phases.gauss-newton.easier.steps", "ambiguous"),
    ],
)
def test_a_name_that_means_several_or_none_is_refused(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        override(TWICE, {name: 7})


@pytest.mark.parametrize(
    "value",
    ["softmax", {"kind": "linear-attention", "heads": 3}, LinearAttention(heads=3)],
)
def test_a_mixer_can_be_replaced_whole(value: object) -> None:
    changed = override(TWICE, {"mixer": value})
    mixer: Mixer = changed.model.mixer
    assert configs.kind_of(mixer) == ("softmax" if value == "softmax" else "linear-attention")
    assert changes(TWICE, changed) is not None
    assert override(TWICE, changes(TWICE, changed) or {}) == changed


def test_what_eases_a_phase_can_be_set_and_taken_back() -> None:
    assert override(TWICE, {"phases.1.easier.active_rows": 3}).phases[1].easier == {"active_rows": 3}  # type: ignore[attr-defined]
    assert override(TWICE, {"phases.adam.easier.iterate_scale": 2.0}).phases[0].easier == {"iterate_scale": 2.0}  # type: ignore[attr-defined]
    plain = override(TWICE, {"phases.1.easier": {}})
    assert plain.phases[1].easier == {}  # type: ignore[attr-defined]
    assert override(TWICE, changes(TWICE, plain) or {}) == plain


def test_recipes_of_other_phases_are_no_change_of_settings() -> None:
    assert changes(TWICE, dataclasses.replace(TWICE, phases=TWICE.phases[:1])) is None
