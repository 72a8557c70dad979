"""The math flags, owned in one place.

What a float32 product means on a GPU (TF32 or not), and whether kernels may pick another order of summation from run
to run, are process-wide switches of torch. `math_flags` sets them for a block, records them, and restores them.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class MathFlags:
    """The process-wide switches that change bits.

    Args:
        matmul_precision: What float32 products are computed in: "highest" is float32 itself.
        tf32: Whether cuDNN may use TF32.
        deterministic: Whether only deterministic kernels are allowed.
    """

    matmul_precision: str = "highest"
    tf32: bool = False
    deterministic: bool = True


def current_math_flags() -> MathFlags:
    """The switches as they are.

    Returns:
        A record of them.
    """
    return MathFlags(
        matmul_precision=torch.get_float32_matmul_precision(),
        tf32=torch.backends.cudnn.allow_tf32,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )


@contextmanager
def math_flags(flags: MathFlags | None = None) -> Iterator[MathFlags]:
    """Set the switches for a block, and restore them after it.

    Args:
        flags: The switches wanted; None asks for full precision and deterministic kernels.

    Yields:
        The switches in force.
    """
    before, wanted = current_math_flags(), flags or MathFlags()
    # cuBLAS is deterministic only with a fixed workspace, which it reads once, from the environment.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        _apply(wanted)
        yield wanted
    finally:
        _apply(before)


def _apply(flags: MathFlags) -> None:
    torch.set_float32_matmul_precision(flags.matmul_precision)
    torch.backends.cudnn.allow_tf32 = flags.tf32
    torch.use_deterministic_algorithms(flags.deterministic)


def check_device(device: str) -> None:
    """Refuse a device that cannot compute here.

    Args:
        device: A torch device.

    Raises:
        ValueError: If there is none of that name here.
    """
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device: {device!r} is not available here ({reason})") from None


def _processor() -> str:
    """The processor's name and instruction set, which decides the order of summation."""
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def environment(device: str, *, processes: int = 1) -> dict[str, Any]:
    """What could change the bits of a result, as it is now: to be called where the result is computed.

    Args:
        device: The torch device that computes.
        processes: How many train together.

    Returns:
        Versions, processor, device, threads and math flags, ready for JSON.
    """
    from importlib.metadata import version

    flags = current_math_flags()
    accelerator = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("precisionlab", "torch", "numpy", "scipy", "mpmath")},
        "platform": platform.system(),
        "processor": _processor(),
        "device": device,
        "accelerator": accelerator,
        "threads": torch.get_num_threads(),
        "processes": processes,
        "math_flags": {
            "matmul_precision": flags.matmul_precision,
            "tf32": flags.tf32,
            "deterministic": flags.deterministic,
        },
    }


def _commit() -> str | None:
    """The commit of the source tree, where the package runs from one, and whether its code was changed since."""
    import subprocess
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def told(*words: str) -> str | None:
        answer = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit, changed = told("rev-parse", "HEAD"), told("status", "--porcelain", "--", "*.py", "kernels")
    return f"{commit}, and changes" if commit and changed else commit
