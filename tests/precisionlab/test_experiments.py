"""Every registered experiment builds and goes into its file and back; every study makes its page from its table."""

import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import precisionlab
from precisionlab import config as configs
from precisionlab.experiments import _STUDIES, get, ode, registry
from precisionlab.models import Backbone
from precisionlab.precision import DTYPES
from precisionlab.runs import RunConfig
from precisionlab.tasks import Ode
from precisionlab.tasks.exact_least_squares import solve

STUDIES = {name: importlib.import_module(f"precisionlab.experiments.{name}") for name in _STUDIES}
TABLES = {name: module for name, module in STUDIES.items() if hasattr(module, "cells")}


@pytest.mark.parametrize("name", sorted(registry()))
def test_an_experiment_is_what_its_file_says(name: str) -> None:
    config = RunConfig(experiment=get(name), seed=3, device="cpu")
    assert get(name).name == name
    assert get(name).cost
    assert configs.loads(RunConfig, configs.dumps(config), source=name) == config


@pytest.mark.parametrize("name", sorted(registry()))
def test_a_model_emits_what_its_task_asks_for(name: str) -> None:
    experiment = get(name)
    if experiment.parameters > 10**5:
        assert name.startswith("paper/")
        return
    task, dtype = experiment.task, DTYPES[experiment.dtype]
    example = task.sample(2, generator=torch.Generator().manual_seed(0), dtype=dtype)
    sizes = {"in_features": task.in_features, "out_features": task.out_features, "tokens": task.tokens}
    with torch.no_grad():
        emitted = Backbone(experiment.model, **sizes, dtype=dtype)(example.prompt)
    assert emitted.shape == example.target.shape
    assert emitted.isfinite().all()


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_has_both_scales(name: str) -> None:
    papers = [experiment.name.startswith("paper/") for experiment in STUDIES[name].EXPERIMENTS]
    assert any(papers)
    assert not all(papers)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_study_trains(name: str) -> None:
    experiment = TABLES[name].cells()[0].experiment
    run = precisionlab.train(experiment, progress=False, time_limit=1e-9, **{"phases.adam.steps": 1, "batch": 4})
    assert run.card.test_mse is not None
    assert run.card.test_mse > 0


def _made_up(module: ModuleType) -> pd.DataFrame:
    """A table such as `study.run` returns: errors that fall from cell to cell."""
    return pd.DataFrame([
        {
            **cell.labels,
            "seed": cell.seed,
            "parameters": 10,
            "test_mse": 10.0**-place,
            "target_mean_square": 2.0,
            "seconds": 1.0,
            "ended": "exhausted",
        }
        for place, cell in enumerate(module.cells())
    ])


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_study_writes_its_page(name: str, tmp_path: Path) -> None:
    options = {"problems": 8} if name == "in_context" else {}
    TABLES[name].write(_made_up(TABLES[name]), tmp_path, f"python -m {name}", **options)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"python -m {name}" in text
    assert (tmp_path / "report.html").exists()


def test_a_conclusion_follows_the_table() -> None:
    module = STUDIES["softmax_explicit_gradient"]
    table = _made_up(module)
    assert "recipe takes it to" in module.conclusion(table)
    assert "leaves it at" in module.conclusion(table.assign(test_mse=0.1))
    ablation = STUDIES["recipe_ablation"]
    better = ablation.summary(_made_up(ablation))
    assert "none off is worse" in ablation.conclusion(better)
    worse = _made_up(ablation).iloc[::-1].assign(test_mse=_made_up(ablation)["test_mse"].to_numpy())
    assert "times as high" in ablation.conclusion(ablation.summary(worse))


def test_equations_are_solved_to_rounding_by_least_squares_and_not_by_zero() -> None:
    task = Ode(sensors=3, points=21)
    prompt = task.sample(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64).prompt
    predicted, exact = task.predictions(prompt, solve), ode.exact_answers(task, prompt)
    errors = ode.squared_errors(predicted, exact)
    nothing = ode.squared_errors(torch.zeros_like(predicted), exact)
    A, b, query = task.read(prompt)
    condition = torch.linalg.cond(A)
    x = solve(A, b).norm(dim=-1)
    rows, n = A.shape[-2:]
    bound = rows * n * 2.0**-53 * condition * query.norm(dim=-1) * x
    assert (errors.sqrt() <= bound).all()
    assert torch.allclose(nothing, predicted.squeeze(-1).square())


def test_the_page_on_equations_is_written(tmp_path: Path) -> None:
    models = {"linear attention, end to end": lambda task, prompt: torch.zeros(len(prompt), 1, dtype=torch.float64)}
    ode.write(ode.measure(models, problems=4), tmp_path, "python -m ode")
    assert (tmp_path / "report.html").exists()
