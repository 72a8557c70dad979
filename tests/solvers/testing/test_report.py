"""What the battery hands back: a report that reads, an exception that travels, the same result twice."""

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest

import solvers
from solvers.testing import CHECKS, Finding, SolverCheckFailed, check_solver, parametrize_with_checks

from .defects import Float32Inside

FEW = {"max_condition": 1e4, "max_examples": 40, "max_rows": 12, "max_unknowns": 5}


class Vague:
    """Right, but for what it says of malformed input."""

    name = "vague"

    def solve(self, A, b, *, x0=None, record=False):
        try:
            return solvers.get("svd").solve(A, b, x0=x0, record=record)
        except (ValueError, TypeError) as error:
            raise ValueError("invalid input") from error


@pytest.fixture(scope="module")
def report():
    return check_solver(solvers.get("svd"), **FEW)


@pytest.fixture(scope="module")
def failure():
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(Float32Inside(), **FEW)
    return caught.value


def test_report_lists_every_check(report):
    assert [check.name for check in report.checks] == [check.name for check in CHECKS]
    assert report.passed
    assert report.failures == ()
    assert 0 < report.worst <= 1
    assert report.examples == sum(check.examples for check in report.checks) > 40
    assert report.seconds > 0
    held = sum(not check.skipped for check in report.checks)
    assert f"solver 'svd' passes {held} checks" in repr(report)
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
        check_solver(Float32Inside(), **FEW)
    assert caught.value.failures == failure.failures


def test_other_seeds_draw_other_problems(report):
    other = check_solver(solvers.get("svd"), seed=1, **FEW)
    assert report.checks[0].name == other.checks[0].name == "accuracy"
    assert report.checks[0].worst != other.checks[0].worst


EXPECTED = {"validation": "its messages are vague"}


def test_expected_failures_are_no_failures_and_what_passes_unexpectedly_is_one():
    report = check_solver(Vague(), expected_failures=EXPECTED, **FEW)
    (one,) = [check for check in report.checks if check.expected]
    assert one.name == "validation"
    assert one.outcome == "fails as expected: its messages are vague"
    with pytest.raises(SolverCheckFailed) as caught:
        check_solver(solvers.get("svd"), expected_failures=EXPECTED, **FEW)
    (finding,) = caught.value.failures
    assert (finding.check, finding.measured) == ("validation", "it holds")
    assert "its messages are vague" in finding.allowed


@parametrize_with_checks([Vague(), solvers.get("svd")], max_examples=20, max_rows=8)
def test_one_test_a_check(solver, check):
    if solver.name == "vague" and check.keywords["checks"][0].name == "validation":
        with pytest.raises(SolverCheckFailed, match="names no argument"):
            check(solver)
    else:
        assert check(solver).passed


def test_marks_of_what_is_expected_are_strict():
    cases = parametrize_with_checks([Vague()], expected_failures=EXPECTED).args[1]
    marked = {case.id: case.marks for case in cases if case.marks}
    assert list(marked) == ["vague-validation"]
    assert marked["vague-validation"][0].name == "xfail"
    assert marked["vague-validation"][0].kwargs == {"reason": EXPECTED["validation"], "strict": True}


def test_parametrized_checks_have_ids_and_leave_out_what_does_not_apply():
    mark = test_one_test_a_check.pytestmark[0]
    ids = [case.id for case in mark.args[1]]
    assert "svd-extreme_scales" in ids
    assert "vague-inputs" in ids
    assert "svd-cap" not in ids
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("solver", "options", "error", "message"),
    [
        ("qr", {"max_examples": 0}, ValueError, "max_examples: got 0"),
        ("qr", {"max_examples": 1.5}, TypeError, "max_examples: got 1.5"),
        ("qr", {"max_rows": 0}, ValueError, "max_rows: got 0"),
        ("qr", {"max_unknowns": 0}, ValueError, "max_unknowns: got 0"),
        ("qr", {"max_condition": 0.1}, ValueError, "max_condition: got 0.1"),
        ("qr", {"max_condition": float("inf")}, ValueError, "max_condition: got inf"),
        ("qr", {"seed": -1}, ValueError, "seed: got -1"),
        ("qr", {"expected_failures": {"acuracy": ""}}, ValueError, "expected_failures: got 'acuracy'"),
        (None, {}, TypeError, "solver: got NoneType"),
    ],
)
def test_options_are_checked(solver, options, error, message):
    with pytest.raises(error) as caught:
        check_solver(solvers.get(solver) if solver else None, **options)
    assert str(caught.value).startswith(message)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_battery_does_not_need_hypothesis():
    code = "import sys; sys.modules['hypothesis'] = None; import solvers; from solvers.testing import *"
    done = run(f"{code}; check_solver(solvers.get('svd'), max_examples=1, max_rows=4)")
    assert done.returncode == 0, done.stderr


def test_without_hypothesis_one_line_says_what_to_install():
    done = run("import sys; sys.modules['hypothesis'] = None; import solvers.testing; solvers.testing.lstsq_problems()")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == "ImportError: lstsq_problems needs hypothesis: pip install 'precisionlab[testing]'"


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_solver(solvers.get("svd"), max_condition=10.0, max_examples=5)
    assert list(tmp_path.iterdir()) == []
