"""The CUDA kernels without a GPU: they compile for sm_80 and sm_90, and keep to the registers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"
NVCC = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
ARCHITECTURES = ("80", "90")

# Doubles that must be at hand, at two registers each, and 64 registers for addresses, sizes and coefficients. Residual
# form: ROWS (D + 1) of A and b; Gram form: D² + D of G and c; both x, g, and the gradient under way. Householder: x,
# two columns of R, and of its inverse a column, units and reciprocals.
CEILINGS = {
    "residual_form": lambda team, rows, n: 2 * (rows * (n + 1) + 3 * n) + 64,
    "gram_form": lambda n: 2 * (n * n + 4 * n) + 64,
    "householder": lambda n: 2 * 6 * n + 64,
    "convolution": lambda: 64,
    "sum_chunks": lambda: 64,
}


def kernels_of(log):
    """(name, template arguments, architecture, registers, bytes of spills and stack) of each kernel ptxas speaks of."""
    found = []
    for entry in log.split("Compiling entry function '")[1:]:
        mangled, architecture = re.match(r"(\w+)' for 'sm_(\d+)'", entry).groups()
        length, rest = re.search(r"_cu_[0-9a-f]{8}(\d+)(\w+)", mangled).groups()
        arguments = [int(value) for value in re.findall(r"L[bi](\d+)E", rest)]
        stack, stores, loads = map(
            int,
            re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry).groups(),
        )
        registers = int(re.search(r"Used (\d+) registers", entry).group(1))
        found.append((rest[: int(length)], arguments, architecture, registers, stack + stores + loads))
    return found


@pytest.mark.skipif(NVCC is None, reason="no nvcc here")
@pytest.mark.parametrize("source", sorted((KERNELS / "cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_nothing_spills(tmp_path, source):
    command = [NVCC, "-std=c++17", "-O3", "-fmad=false", "-Xptxas", "-v", "-fatbin", "-I", KERNELS / "include"]
    command += [f"-gencode=arch=compute_{number},code=sm_{number}" for number in ARCHITECTURES]
    built = subprocess.run(
        [*command, "-o", tmp_path / "out.fatbin", source], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    kernels = kernels_of(built.stdout + built.stderr)
    assert {architecture for _, _, architecture, _, _ in kernels} == set(ARCHITECTURES)
    for name, arguments, architecture, registers, spilled in kernels:
        assert spilled == 0, (name, arguments, architecture)
        assert registers <= min(255, CEILINGS[name](*arguments)), (name, arguments, architecture)


def test_a_spill_is_seen():
    log = """ptxas info    : Compiling entry function '_Z_cu_c003d3bc11householderILi5EEEv' for 'sm_90'
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers"""
    assert kernels_of(log) == [("householder", [5], "90", 255, 16)]
