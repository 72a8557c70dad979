"""Processes that a test starts: they take signals whatever the suite was started under, and none outlives its test."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(command: Sequence[object], **options: int) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, killed with all that it started when the test is over.

    Under `nohup`, or in the background of a script, SIGINT is ignored and a child inherits that: it is set back here.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one thread starts it
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options},
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
