"""Fused or eager: who decides, and what is said where there is no choice."""

import re
import subprocess
import sys
import textwrap

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from solvers import fused
from solvers.fused import householder

from .cases import normal


def test_without_the_module_eager_code_runs_and_it_is_said_once():
    program = """
        import sys, warnings
        sys.modules["precisionlab_kernels"] = None  # as where it was not built
        import torch
        import solvers
        from solvers import gradient_descent

        A, b, x0 = torch.randn(3, 5, 2).double(), torch.randn(3, 5).double(), torch.zeros(3, 2).double()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                ours = gradient_descent.iterates(A, b, x0, 0.01, 4)
                solvers.get("qr").solve(A, b)
        assert torch.equal(ours, gradient_descent.iterates_eager(A, b, x0, 0.01, 4))
        assert [str(w.message).count("without its compiled kernels") for w in caught] == [1], caught
        try:
            gradient_descent.iterates(A, b, x0, 0.01, 4, backend="fused")
        except RuntimeError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "was not built" in done.stdout


@pytest.mark.parametrize(
    ("tensor", "options", "said"),
    [
        (torch.zeros(2, dtype=torch.float32), {}, "float32"),
        (torch.zeros(2, dtype=torch.float64, requires_grad=True), {}, "gradient"),
        (torch.zeros(2, dtype=torch.float64), {"columns": 33}, "33 columns"),
        (torch.zeros(2, dtype=torch.float64), {"entries": 1 << 20}, "entries"),
        (torch.zeros(2, dtype=torch.float64), {}, None),
        (torch.zeros(2, dtype=torch.float64, requires_grad=True), {"differentiable": True}, None),
    ],
)
def test_what_the_kernels_take(kernels, tensor, options, said):
    reason = fused.obstacle(tensor, **options)
    assert reason is None if said is None else said in reason


def test_a_gradient_that_is_not_asked_for_is_no_obstacle(kernels):
    with torch.no_grad():
        assert fused.obstacle(torch.zeros(2, dtype=torch.float64, requires_grad=True)) is None


def on_a_gpu(monkeypatch, *, cannot="", takes=()):
    """A tensor that says that it is on a GPU, and what the module would say of that GPU."""
    monkeypatch.setattr(fused, "_gpu_obstacle", lambda: cannot)
    monkeypatch.setattr(fused, "_gpu_takes", lambda kernel, sizes, device: (kernel, sizes, device) in takes)
    with FakeTensorMode():
        return torch.empty(2, dtype=torch.float64, device="cuda:1")


@pytest.mark.parametrize(
    ("cannot", "gpu", "said"),
    [
        ("no driver", ("solve_by_householder", 20, 5), "no driver"),
        ("", None, "no CUDA kernel"),
        ("", ("solve_by_householder", 20, 9), "does not take [20, 9] on cuda:1"),
        ("", ("solve_by_householder", 20, 5), None),
    ],
)
def test_what_a_gpu_does_not_take_goes_to_eager_code(kernels, monkeypatch, cannot, gpu, said):
    tensor = on_a_gpu(monkeypatch, cannot=cannot, takes={("solve_by_householder", (20, 5), 1)})
    assert fused.chosen("auto", tensor, gpu=gpu) == (said is None)
    if said is not None:
        with pytest.raises(RuntimeError, match=re.escape(said)):
            fused.chosen("fused", tensor, gpu=gpu)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="auto, fused, eager"):
        fused.chosen("quick")


def test_a_lazily_negated_tensor_is_read_with_its_sign(kernels, rng):
    A, b = normal(rng, 3, 6, 2), normal(rng, 3, 6)
    lazy = torch._neg_view(-A)  # as arithmetic on imaginary parts hands on: contiguous, the other sign in memory
    assert lazy.is_neg()
    assert lazy.is_contiguous()
    for one, other in zip(
        householder.solve_by_householder(lazy, b), householder.solve_by_householder(A, b), strict=True
    ):
        assert torch.equal(one, other)
