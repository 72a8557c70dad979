"""Every registered experiment builds and goes into its file and back; every study makes its page from its table."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

import precisionlab
from precisionlab import config as configs
from precisionlab.experiments import get, registry
from precisionlab.precision import DTYPES
from precisionlab.runs import RunConfig
from precisionlab.tasks import ExplicitGradient, Ode
from precisionlab.tasks.exact_least_squares import solve

from .load import REPORTS, load

STUDIES = {script.parent.name: load(script.parent.name) for script in sorted(REPORTS.glob("*/study.py"))}
TABLES = {name: module for name, module in STUDIES.items() if hasattr(module, "cells")}
jacobian_spectrum, ode, self_term_plateau = (
    STUDIES[name] for name in ("jacobian-spectrum", "ode", "self-term-plateau")
)
levenberg_marquardt_ablation = STUDIES["levenberg-marquardt"]


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
    with torch.no_grad():
        emitted = experiment.backbone()(example.prompt)
    assert emitted.shape == example.target.shape
    assert emitted.isfinite().all()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_study_trains(name: str) -> None:
    experiment = TABLES[name].cells()[0].config.experiment
    run = precisionlab.train(experiment, progress=False, time_limit=1e-9, **{"phases.0.steps": 1, "phases.0.batch": 4})
    assert run.card.test_mse is not None
    assert run.card.test_mse > 0


def _made_up(module: ModuleType) -> pd.DataFrame:
    """A table such as `study.run` returns: errors that fall from cell to cell."""
    return pd.DataFrame([
        {
            **(cell.labels or {"experiment": cell.config.experiment.name}),
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
    options = {"problems": 8} if name == "in-context" else {}
    module = TABLES[name]
    module.write(_made_up(module), tmp_path, f"python -m {name}", **options)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"python -m {name}" in text
    assert (tmp_path / "report.html").exists()


def test_a_conclusion_follows_the_table() -> None:
    module = STUDIES["softmax"]
    table = _made_up(module)
    assert module.conclusion(table).count("takes it to") == 2
    assert module.conclusion(table.assign(test_mse=0.1)).count("leaves it at") == 2
    only_large = table.assign(test_mse=0.1).where(table["recipe"] != module.LARGE, table)
    assert "leaves it at 1.0e-01 on small batches and takes it to" in module.conclusion(only_large)
    ablation = STUDIES["recipe-ablation"]
    better = ablation.summary(_made_up(ablation))
    assert "none off is worse" in ablation.conclusion(better)
    worse = _made_up(ablation).iloc[::-1].assign(test_mse=_made_up(ablation)["test_mse"].to_numpy())
    assert "times as high" in ablation.conclusion(ablation.summary(worse))


def test_the_variants_of_a_phase_start_from_the_same_weights() -> None:
    cells = levenberg_marquardt_ablation.cells()
    assert {len(cell.experiment.phases) for cell in cells} == {2}
    assert len({(cell.experiment.task, cell.experiment.model) for cell in cells}) == 1
    starts = {(cell.labels["start"], str(cell.experiment.phases[0])) for cell in cells}
    assert len(starts) == len({start for start, _ in starts}) == 3


def test_a_model_that_cannot_tell_the_iterate_from_a_row_is_found_on_the_plateau() -> None:
    n, rows, problems = 4, 12, 20_000
    generator = torch.Generator().manual_seed(0)
    x0, other = torch.randn(2, problems, n, dtype=torch.float64, generator=generator)
    error = x0 * (x0.square().sum(dim=-1, keepdim=True) - (n + 2)) / (rows + 1)
    c, share = self_term_plateau.self_term(error, x0, rows)
    assert abs(c - 1) <= 8 * n * torch.finfo(torch.float64).eps
    assert abs(share - 1) <= 8 * n * torch.finfo(torch.float64).eps
    squares = error.square().mean(dim=-1)
    # Four standard errors of a mean.
    assert abs(squares.mean() - self_term_plateau.plateau(n, rows)) <= 4 * squares.std() / problems**0.5
    _, share = self_term_plateau.self_term(other, x0, rows)
    assert share < 1 / problems**0.5


def test_the_page_on_the_plateau_is_written(tmp_path: Path) -> None:
    row = {
        "n": 5,
        "rows": 20,
        "active_rows": 5,
        "seed": 0,
        "test_mse": 1e-2,
        "plateau": 3e-2,
        "share": 0.5,
        "seconds": 1.0,
    }
    scales = zip(self_term_plateau.SCALES, (1.0, 0.01), strict=True)
    results = pd.DataFrame([row | {"x0_scale": scale, "coefficient": c} for scale, c in scales])
    self_term_plateau.write(results, tmp_path, "python -m plateau")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "0 of 1 models tell x₀ from a row, 1 of 1 where x₀ is 2 times as long" in text


def test_the_plateau_is_measured_with_the_registered_model() -> None:
    for n, name in self_term_plateau.NAMES.items():
        experiment = self_term_plateau.recipe(n, n, 2.0)
        assert (experiment.task, experiment.model) == (get(name).task, get(name).model)
        assert experiment.phases == get(name).phases[:1]


def test_the_rank_is_that_of_the_jacobian(tmp_path: Path) -> None:
    n, width = 2, 4
    run = precisionlab.train(
        replace(get("linear-attention/explicit-gradient"), task=ExplicitGradient(n=n, rows=3)),
        progress=False,
        time_limit=1e-9,
        **{"phases.adam.steps": 1, "batch": 4, "width": width},
    )
    values = jacobian_spectrum.spectrum(run, residuals=2.0)
    parameters = run.card.parameters
    assert len(values) == parameters
    assert values[0] == 1
    row = jacobian_spectrum.measured("tiny", values, parameters)
    # Keys and queries of a head change together by any invertible matrix, as values and output projection do, and the
    # gradient of no such change is felt: two (w/h)² directions for each of two heads in each of two layers, at least.
    free = 2 * (width // 2) ** 2 * 2 * 2
    assert 0 < row["stiff"] <= row["seen squared"] <= row["rank"] <= parameters - free
    curves = pd.DataFrame([{"model": "tiny", "place": i + 1, "value": float(v)} for i, v in enumerate(values)])
    jacobian_spectrum.write(pd.DataFrame([row]), curves, tmp_path, "python -m spectrum")
    assert f"{row['rank']} of {parameters} directions" in (tmp_path / "README.md").read_text(encoding="utf-8")


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
