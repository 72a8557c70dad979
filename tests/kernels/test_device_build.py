"""The CUDA kernels without a GPU: they compile for sm_80 and sm_90, and keep to the registers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"
NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")

# ROWS (D + 1) doubles of A and b, or D² + D of G and c, then x, g, d and the gradient under way (4 D), at two registers
# a double; 64 for addresses, sizes and coefficients.
CEILINGS = {
    "residual_form": lambda rows, n: 2 * (rows * (n + 1) + 4 * n) + 64,
    "gram_form": lambda n: 2 * (n * n + 5 * n) + 64,
    "householder": lambda n: 2 * 4 * (n + 1) + 64,
}


def kernels_of(log):
    """(name, template arguments, registers, bytes spilled, bytes of stack) for each kernel in what ptxas says."""
    found = []
    for entry in log.split("Compiling entry function '")[1:]:
        name = next(known for known in CEILINGS if known in entry)
        mangled = entry.split("'")[0]
        arguments = [int(value) for value in re.findall(r"Li(\d+)E", mangled)]
        stack, stores, loads = map(
            int,
            re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry).groups(),
        )
        registers = int(re.search(r"Used (\d+) registers", entry).group(1))
        found.append((name, arguments, registers, stores + loads, stack))
    return found


@pytest.mark.skipif(NVCC is None, reason="no nvcc here")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("source", sorted((KERNELS / "cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_nothing_spills(tmp_path, source, architecture):
    command = [NVCC, "-std=c++17", "-O3", f"-arch={architecture}", "-fmad=false", "-Xptxas", "-v", "-cubin"]
    command += ["-I", KERNELS / "include", "-o", tmp_path / "out.cubin", source]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    kernels = kernels_of(built.stdout + built.stderr)
    assert len(kernels) >= 7
    for name, arguments, registers, spilled, stack in kernels:
        assert (spilled, stack) == (0, 0), (name, arguments)
        assert registers <= min(255, CEILINGS[name](*arguments)), (name, arguments)


def test_a_spill_is_seen():
    log = """ptxas info    : Compiling entry function '_ZN9householderILi5EEEv' for 'sm_90'
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers"""
    assert kernels_of(log) == [("householder", [5], 255, 8, 8)]
