"""Every study's page follows from its tables, and what it measures is what it says, at a small size."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import precisionlab
from precisionlab.experiments import get
from precisionlab.report import Content, Figure, Measured, Table, Text, Trained
from precisionlab.tasks import ExplicitGradient, Ode
from precisionlab.tasks.exact_least_squares import solve
from precisionlab.training import Adam

from .load import REPORTS, load
from .test_sentences import table

STUDIES = {script.parent.name: load(script.parent.name) for script in sorted(REPORTS.glob("*/study.py"))}
SAVED = [name for name, module in STUDIES.items() if (module.STUDY.folder / "results.csv").exists()]
TRAINED = [name for name, module in STUDIES.items() if isinstance(module.STUDY.tables["results"], Trained)]
jacobian_spectrum, ode, self_term_plateau, k_steps, mesa = map(
    load, ("jacobian-spectrum", "ode", "self-term-plateau", "k-steps", "mesa")
)


@pytest.mark.parametrize("name", SAVED)
def test_the_page_of_what_is_saved_is_the_one_that_is_published(name: str, tmp_path: Path) -> None:
    study = STUDIES[name].STUDY
    for path in study.folder.glob("*.*"):
        if path.suffix in {".csv", ".json"}:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    study.write(tmp_path)
    for made in tmp_path.glob("*.md"):
        assert made.read_text("utf-8") == (study.folder / made.name).read_text("utf-8"), f"make reports: {name}"


@pytest.mark.parametrize("name", SAVED)
def test_what_is_saved_is_current(name: str) -> None:
    study = STUDIES[name].STUDY
    known = study._known(study.folder)
    for table_name, made in study.tables.items():
        if isinstance(made, Measured):
            assert known[table_name]["settings"] == made.key(), f"run {study.command}"
        else:
            saved = pd.read_csv(study.folder / f"{table_name}.csv", dtype={"key": str})
            assert {cell.key for cell in made.cells} == set(saved["key"]), f"run {study.command}"


@pytest.mark.parametrize("name", TRAINED)
def test_a_study_trains(name: str) -> None:
    experiment = STUDIES[name].STUDY.tables["results"].cells[0].config.experiment
    short = replace(experiment, phases=(Adam(steps=1, batch=4),))
    run = precisionlab.train(short, progress=False, time_limit=1e-9)
    assert run.card.test_mse is not None
    assert run.card.test_mse > 0


@pytest.mark.parametrize("name", [name for name in TRAINED if len(STUDIES[name].STUDY.tables) == 1])
def test_a_page_is_made_of_any_results(name: str) -> None:
    content = STUDIES[name].page(table(name, 1e-3))
    assert isinstance(content, Content)
    assert {type(section) for section in content.sections} <= {Figure, Table, Text}


def test_the_variants_of_a_phase_start_from_the_same_weights() -> None:
    experiments = [cell.config.experiment for cell in STUDIES["levenberg-marquardt"].cells()]
    assert {len(experiment.phases) for experiment in experiments} == {2}
    assert len({(experiment.task, experiment.model) for experiment in experiments}) == 1


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


def test_the_plateau_is_measured_with_the_registered_model() -> None:
    for n, name in self_term_plateau.NAMES.items():
        experiment = self_term_plateau.recipe(n, n, 2.0)
        assert (experiment.task, experiment.model) == (get(name).task, get(name).model)
        assert experiment.phases == get(name).phases[:1]


def test_the_rank_is_that_of_the_jacobian() -> None:
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
    row: dict[str, Any] = jacobian_spectrum.row("tiny", values, parameters)
    # Keys and queries of a head change together by any invertible matrix, as values and output projection do, and the
    # gradient of no such change is felt: two (w/h)² directions for each of two heads in each of two layers, at least.
    free = 2 * (width // 2) ** 2 * 2 * 2
    assert 0 < row["stiff"] <= row["seen squared"] <= row["rank"] <= parameters - free
    assert row["last"] > row["next"]


def test_k_steps_are_measured_beside_the_formula() -> None:
    frame = k_steps.errors(precisionlab.load(k_steps.NAMES[0]), problems=64)
    errors = frame.pivot_table(index="k", columns="model", values="mse")
    u = 2.0**-53
    assert list(errors.index) == list(k_steps.STEPS)
    # A step rounds sums over rows and unknowns; the next contracts what it left.
    assert (errors[k_steps.CONTROL] <= (8 * 25 * u) ** 2).all()
    assert (errors[k_steps.NAMES[0]] <= (64 * 25 * u) ** 2).all()
    assert (errors[k_steps.CONTROL] < errors[k_steps.NAMES[0]]).all()


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


def test_equations_are_solved_by_each_learned_solver_alone_and_beside_its_control() -> None:
    def zero(_: Ode, prompt: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(prompt), 1, dtype=torch.float64)

    frame = ode.measure(dict.fromkeys(ode.MIXERS.values(), zero), problems=4)
    for task, names in ((ode.SMALL, (ode.NEWTON, ode.LEARNED)), (ode.MIDDLE, (ode.NEWTON,))):
        there = set(frame[frame["sensors"] == task.sensors]["predictor"])
        assert there >= {part for name in names for part in (name, f"{name}, alone", f"{name}, control")}
    assert isinstance(ode.page(frame), Content)


@pytest.mark.parametrize("shift", mesa.SHIFTS)
def test_a_mesa_layer_keeps_what_the_recurrence_loses(shift: float) -> None:
    u, (tokens, d) = 2.0**-53, (70, 8)
    rows = pd.DataFrame(mesa.cell((tokens, d, 0.9, 1.0), shift, "float64")).set_index("method")
    ours = rows.loc[mesa.OURS]
    assert max(ours["output"], ours["gradient"]) <= 2 * u
    # A denominator that is off by 1e-5 shows where steps are short; one that is not, in no more than the condition.
    assert rows.loc[mesa.RIVAL, "output"] > mesa.DENOMINATOR
    condition = tokens / (0.6 * shift)
    assert 2 * u < rows.loc[mesa.FACTOR, "output"] <= tokens * d * u * condition


def test_nothing_imports_a_study() -> None:
    root = REPORTS.parent
    for path in (*root.glob("precisionlab/**/*.py"), *root.glob("solvers/**/*.py")):
        text = path.read_text("utf-8")
        assert "import reports" not in text, path
        assert "from reports" not in text, path
