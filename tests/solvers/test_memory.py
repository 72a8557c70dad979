"""Iterations hold a few copies of A, whatever they multiply: by the high-water mark of a process of its own."""

import subprocess
import sys

import pytest

from .cases import ITERATIVE

MEASURE = """
import sys, torch, solvers

def peak():
    line, = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

torch.set_num_threads(1)
A = torch.randn(8, 400, 150, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
b = A.sum(dim=-1)
for name in sys.argv[1:]:
    solver = solvers.get(name, max_iterations=40)
    solver.solve(A[:, :20, :10], b[:, :20])  # what libraries hold for good
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    solver.solve(A, b)
    print(name, (peak() - before) / (8 * A.numel()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the high-water mark is read from /proc")
def test_memory_is_some_copies_of_the_matrix():
    run = subprocess.run([sys.executable, "-c", MEASURE, *ITERATIVE], check=True, capture_output=True, text=True)
    copies = {name: float(value) for name, value in (line.split() for line in run.stdout.splitlines())}
    assert list(copies) == ITERATIVE
    # Some four for the judgement on rank; for Newton–Schulz, eight: X, the next, and what chooses between them.
    assert max(copies.values()) <= 12, copies
