"""The CUDA kernels without a GPU: run on the host (kernels/tests/emulation.h) their sources give the CPU's numbers."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "emulation"
# One instruction set and little optimising: seconds to compile, and nothing where nothing has changed since.
SETTINGS = {
    "CMAKE_BUILD_TYPE": "None",
    "CMAKE_CXX_FLAGS": "-O1",
    "PRECISIONLAB_MODULE": "OFF",
    "PRECISIONLAB_TESTS": "ON",
    "PRECISIONLAB_CUDA": "OFF",
    "PRECISIONLAB_ALL_LEVELS": "OFF",
}


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler here")
def test_the_cuda_kernels_run_on_the_host_give_the_cpus_numbers():
    options = [f"-D{name}={value}" for name, value in SETTINGS.items()]
    for command in (
        ["cmake", "-S", ROOT / "kernels", "-B", BUILD, *options],
        ["cmake", "--build", BUILD, "--target", "device_driver"],
        [BUILD / "device_driver", "few"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "all agree" in done.stdout
