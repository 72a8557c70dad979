"""A report measures what it says, shows a learned solver beside its model and its control, and can be made again."""

import json
import math
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import precisionlab
import solvers
from precisionlab import Run
from precisionlab.cli import main
from precisionlab.config import kind_of
from precisionlab.report.measure import COLUMNS
from precisionlab.runs import zoo
from precisionlab.runs.tables import read_table
from precisionlab.tasks import SolverTask
from solvers.problems import LstsqProblem, gaussian_problem

from ..small import SMALL

NAME = "linear-attention/explicit-gradient"
PARTS = (NAME, f"{NAME}, alone", f"{NAME}, control")
U = 2.0**-53


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return precisionlab.train(NAME, seed=1, run_dir=tmp_path_factory.mktemp("runs") / "small", progress=False, **SMALL)


def given(n: int = 5) -> LstsqProblem:
    return gaussian_problem(20, n, batch=(8,), generator=torch.Generator().manual_seed(5))


def test_a_report_is_complete(run: Run, tmp_path: Path) -> None:
    entries = [run, "gradient-descent", "cgls", "qr", "reference"]
    report = precisionlab.report(entries, out=tmp_path / "report", problems=20, iterations=30, title="Small")
    files = {path.name for path in (tmp_path / "report").iterdir()}
    assert files == {"report.html", "README.md", "mse_vs_iteration.png", "results.csv", "environment.json"}
    results = pd.read_csv(tmp_path / "report" / "results.csv")
    assert tuple(results.columns) == COLUMNS
    assert (results["problems"] == 20).all()
    last = results.groupby("solver")["iteration"].max()
    assert set(last.index) == {*PARTS, *entries[1:]}
    assert last["gradient-descent"] == 30
    assert last["qr"] == last["reference"] == 0
    assert "Small" in report.page.read_text("utf-8")
    pd.testing.assert_frame_equal(read_table(tmp_path / "report/results.csv"), report.results, check_exact=True)


def test_the_environment_is_that_of_measuring(tmp_path: Path) -> None:
    torch.set_float32_matmul_precision("high")
    try:
        precisionlab.report(["qr"], out=tmp_path, problems=2, iterations=1)
    finally:
        torch.set_float32_matmul_precision("highest")
    saved = json.loads((tmp_path / "environment.json").read_text("utf-8"))
    assert saved["math_flags"] == {"matmul_precision": "highest", "tf32": False, "deterministic": True}
    assert saved["threads"] == torch.get_num_threads()
    assert "matmul_precision: highest" in (tmp_path / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("report")
    report = precisionlab.report([NAME, "gradient-descent"], out=out, problems=256, iterations=150)
    return report.summary.set_index("solver")


def test_the_model_alone_is_near_the_floor_of_its_dtype(shipped: pd.DataFrame) -> None:
    """Where a model's gradient has an absolute error of ε, its iterates end at ε κ²: a float32 one is at 1e-15."""
    assert shipped.loc[PARTS[1], "floor"] <= (256 * U) ** 2
    assert shipped.loc[PARTS[1], "floor"] > shipped.loc["gradient-descent", "floor"]


def test_refinement_hides_the_model_and_the_report_says_so(shipped: pd.DataFrame, tmp_path: Path) -> None:
    whole, control = shipped.loc[PARTS[0], "floor"], shipped.loc[PARTS[2], "floor"]
    assert whole == control
    assert whole < shipped.loc[PARTS[1], "floor"]
    said = precisionlab.report([NAME], out=tmp_path, problems=32, iterations=150).conclusion
    assert "are the wrapper's and not the model's" in said
    assert f"{NAME} alone ends at" in said


@pytest.mark.parametrize("name", [name for name in zoo.names() if not name.startswith("softmax")])
def test_a_control_takes_the_step_that_the_model_was_trained_to_emit(name: str) -> None:
    run = precisionlab.load(name)
    task = run.experiment.task
    assert isinstance(task, SolverTask)
    step = task.control
    rows, n = min(task.rows, 20), task.n
    A, X = torch.randn(2, 16, rows, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / rows**0.5
    b = torch.randn(16, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x, y = torch.randn(2, 16, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = {
        "newton-schulz": (A, X.mT),
        "heavy-ball": (A, b, x, y),
        "chebyshev": (A, b, x, y, b[:, 0]),
        "least-squares": (rows**0.5 * A, b),  # of the size of its training
    }.get(kind_of(task), (A, b, x))
    with torch.no_grad():
        emitted, exact = task.step(run.model)(*inputs), step(*inputs)
    assert (emitted - exact).norm() <= 2048 * U * exact.norm()


def test_a_control_keeps_the_options_and_refuses_a_task_without_a_step() -> None:
    control = precisionlab.load_control(NAME, max_iterations=3, tolerance=0.0)
    assert control.name == PARTS[2]
    problem = given()
    assert int(torch.as_tensor(control.solve(problem.A, problem.b).iterations).max()) == 3
    in_context = precisionlab.load(NAME)
    object.__setattr__(in_context.card, "name", "mine")
    assert precisionlab.load_control(in_context).name == "mine, control"


def test_two_entries_of_one_name_stay_apart(run: Run, tmp_path: Path) -> None:
    other = precisionlab.train(NAME, seed=2, progress=False, time_limit=1e-9, **SMALL)
    report = precisionlab.report([run, other, "qr", solvers.get("qr")], out=tmp_path, problems=4, iterations=2)
    names = list(dict.fromkeys(report.results["solver"]))
    seeds = [f"{NAME} (seed {seed}){part}" for seed in (1, 2) for part in ("", ", alone", ", control")]
    assert names == [*seeds, "qr (3)", "qr (4)"]
    assert not report.results.duplicated(["solver", "dtype", "iteration"]).any()


def made_again(command: str) -> pd.DataFrame:
    words = shlex.split(command)
    assert words[0] == "precisionlab"
    out = Path(words[words.index("--out") + 1])
    before = read_table(out / "results.csv")
    (out / "results.csv").unlink()
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code == 0, done.output
    after = read_table(out / "results.csv")
    said = ["solver", "dtype", "iteration", "problems"]
    pd.testing.assert_frame_equal(after[said], before[said])
    # A matrix product's last bit depends on where in memory its factors lie.
    roots = [frame["mse_median"].to_numpy() ** 0.5 for frame in (before, after)]
    assert (abs(roots[0] - roots[1]) <= 2048 * U * (1 + roots[0])).all()
    return before


def test_the_command_of_a_report_makes_it_again(run: Run, tmp_path: Path) -> None:
    """Solver options and given problems included, whether the entries were names or objects."""
    entries = [
        precisionlab.load_solver(run, refinement=None, step_size=1e-2),
        solvers.get("cgls", max_iterations=3),
        "lsqr:max_iterations=2",
        run.directory or "",
    ]
    report = precisionlab.report(entries, out=tmp_path / "page", problems=given(2), iterations=4, title="Given ones")
    frame = made_again(report.command)
    assert frame.groupby("solver")["iteration"].max()["cgls"] == 3
    assert frame.groupby("solver")["iteration"].max()["lsqr"] == 2
    assert report.command in (tmp_path / "page/README.md").read_text("utf-8")
    assert "step_size=0.01" in report.command


def test_drawn_problems_are_drawn_again(tmp_path: Path) -> None:
    report = precisionlab.report(["qr"], out=tmp_path / "page", problems=8, iterations=3, title="Eight problems")
    assert made_again(report.command)["problems"].tolist() == [8]


def test_what_only_python_can_hand_over_is_said(run: Run, tmp_path: Path) -> None:
    kept = Run(model=run.model, experiment=run.experiment, metrics=run.metrics, card=run.card)
    report = precisionlab.report([kept, "qr"], out=tmp_path, problems=2, iterations=2)
    assert report.command.endswith(f"# from Python, with the objects {NAME}")


def test_the_report_counts_the_last_iterate_of_the_true_error(tmp_path: Path) -> None:
    problem = given()
    report = precisionlab.report(["gradient-descent"], out=tmp_path, problems=problem, iterations=7)
    x = torch.as_tensor(problem.x0)
    s = torch.linalg.svdvals(problem.A)
    eta = (2 / (s[:, 0] ** 2 + s[:, -1] ** 2))[:, None]
    for _ in range(7):
        x = x - eta * (problem.A.mT @ (problem.A @ x[..., None] - problem.b[..., None]))[..., 0]
    expected = float((x - problem.x).square().mean(dim=-1).sort().values[round(0.5 * 7)])
    measured = float(report.results["mse_median"].iloc[-1])
    assert math.isclose(measured, expected, rel_tol=1e4 * U)


BAD = {
    "entries: got none": {"entries": []},
    "unknown report entry 'qrr'": {"entries": ["qrr"]},
    "unknown option": {"entries": [f"{NAME}:stepsize=1"]},
    "write key=value": {"entries": ["cgls:three"]},
    "iterations: got 0": {"iterations": 0},
    "problems: got 0": {"problems": 0},
}


@pytest.mark.parametrize("says", BAD)
def test_bad_input_is_one_line_that_names_it(tmp_path: Path, says: str) -> None:
    options = {"entries": ["qr"], "out": tmp_path / "x", **BAD[says]}
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        precisionlab.report(**options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()
