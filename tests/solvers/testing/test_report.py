"""What the battery hands back: a report that reads, an exception that travels, the same result twice."""

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

import solvers
from solvers.testing import CHECKS, Finding, SolverCheckFailed, check_solver

from .defects import Float32Inside


@pytest.fixture(scope="module")
def report():
    return check_solver(solvers.get("qr"), max_condition=1e4, max_examples=40)


@pytest.fixture(scope="module")
def failure():
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(Float32Inside(), max_condition=1e4, max_examples=40)
    return caught.value


def test_report_lists_every_check(report):
    assert [check.name for check in report.checks] == [check.name for check in CHECKS]
    assert report.passed
    assert report.failures == ()
    assert 0 < report.worst <= 1
    assert report.examples == sum(check.examples for check in report.checks) > 40
    assert report.seconds > 0
    assert "solver 'qr' passes" in repr(report)
    for check in CHECKS:
        assert check.name in repr(report)
        assert check.name in report._repr_html_()
    assert "skipped: no max_iterations" in repr(report)
    with pytest.raises(FrozenInstanceError):
        report.solver = "other"


def test_html_is_escaped(report):
    hostile = replace(report, solver="<script>alert(1)</script>")
    assert "<script>" not in hostile._repr_html_()


def test_shares_add_up():
    assert sum(check.share for check in CHECKS) == 100


def test_failure_is_an_assertion_with_the_report(failure):
    assert isinstance(failure, AssertionError)
    assert not failure.report.passed
    assert all(isinstance(finding, Finding) for finding in failure.failures)
    assert str(failure).startswith("solver 'qr' fails")
    assert "as float32 inside would have" in str(failure)
    assert "FAILED" in repr(failure.report)
    assert "float32" in failure.report._repr_html_()


def test_failure_travels_between_processes(failure):
    again = pickle.loads(pickle.dumps(failure))
    assert str(again) == str(failure)
    assert again.failures == failure.failures


def test_same_seed_same_findings(failure):
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(Float32Inside(), max_condition=1e4, max_examples=40)
    assert caught.value.failures == failure.failures


def test_other_seeds_draw_other_problems():
    first, second = (
        check_solver(solvers.get("qr"), max_condition=1e4, max_examples=40, seed=seed).worst for seed in (1, 2)
    )
    assert first != second or first > 0


@pytest.mark.parametrize(
    ("solver", "options", "error", "message"),
    [
        ("qr", {"max_examples": 0}, ValueError, "max_examples: got 0"),
        ("qr", {"max_examples": 1.5}, TypeError, "max_examples: got 1.5"),
        ("qr", {"max_condition": 0.1}, ValueError, "max_condition: got 0.1"),
        ("qr", {"max_condition": float("inf")}, ValueError, "max_condition: got inf"),
        ("qr", {"seed": -1}, ValueError, "seed: got -1"),
        (None, {}, TypeError, "solver: got NoneType"),
    ],
)
def test_options_are_checked(solver, options, error, message):
    with pytest.raises(error) as caught:
        check_solver(solvers.get(solver) if solver else None, **options)
    assert str(caught.value).startswith(message)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_solvers_does_not_need_hypothesis():
    done = run("import sys, solvers; solvers.get('qr'); assert 'hypothesis' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_without_hypothesis_one_line_says_what_to_install():
    done = run("import sys; sys.modules['hypothesis'] = None; import solvers.testing")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: solvers.testing needs hypothesis: pip install 'precisionlab[testing]'"


def test_no_database_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_solver(solvers.get("qr"), max_condition=10.0, max_examples=5)
    assert list(tmp_path.iterdir()) == []
