"""Change a line of `solvers/` or of the kernels, and see a test go red.

    python -m tests.mutations --jobs 2
    python -m tests.mutations --only rank --jobs 1 --out build/mutations.md

Each mutation of `tests.mutations.table` is made in a copy of the tree, one at a time; the tests that it names must then
fail, and the first that does must pass in the end, without any mutation. What survives must have a reason in the table.
A mutation of the kernels is compiled first. With `--only`, the rows of other mutations stay as they are in the file.

No tool is used: those that mutate Python know no C++, and choose neither the mutation nor the tests that must see it.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]
ENOUGH = 0.95
SURVIVES = "survives: "
CPU_SECONDS = 900
"""Of the tests of one mutation; a loop without an end is a failure, a busy machine is none."""
ATTEMPTS = 3
"""Where a signal from outside ended the tests, they are run again."""
# The copy comes first on the path, and before what an editable install puts in the way.
PYTEST = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
sys.meta_path = [finder for finder in sys.meta_path if "Redirecting" not in type(finder).__name__]
sys.path.insert(0, "")
import pytest, solvers
assert solvers.__file__.startswith({copy!r}), solvers.__file__
sys.exit(pytest.main(sys.argv[1:]))
"""
BUILD = {
    "CMAKE_BUILD_TYPE": "None",
    "CMAKE_CXX_FLAGS": "-O1",
    "PRECISIONLAB_CUDA": "OFF",
    "Python_EXECUTABLE": sys.executable,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a mutation."""

    mutation: Mutation
    killed: bool
    by: str
    seconds: float


class Copy:
    """A copy of the tree, to be changed and put back."""

    def __init__(self, root: Path, *, kernels: bool) -> None:
        self.root, self.kernels = root, kernels
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        if kernels:
            found = [sys.executable, "-c", "import nanobind; print(nanobind.cmake_dir())"]
            nanobind = subprocess.run(found, capture_output=True, check=True, text=True).stdout.strip()
            options = [f"-D{name}={value}" for name, value in (BUILD | {"nanobind_DIR": nanobind}).items()]
            subprocess.run(
                ["cmake", "-S", "kernels", "-B", "build", *options], cwd=root, capture_output=True, check=True
            )
            self.build()

    def build(self) -> None:
        """Compile the kernels, and put them where this copy's Python finds them first."""
        done = subprocess.run(["cmake", "--build", "build"], cwd=self.root, capture_output=True, check=False, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        for module in (self.root / "build").glob("precisionlab_kernels*.so"):
            shutil.copyfile(module, self.root / module.name)

    def red(self, tests: tuple[str, ...]) -> str:
        """The first test that fails, or nothing."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
        program = PYTEST.format(copy=str(self.root), seconds=CPU_SECONDS)
        command = [sys.executable, "-c", program, "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
        for _ in range(ATTEMPTS):
            try:
                done = subprocess.run(
                    command,
                    cwd=self.root,
                    env=environment,
                    capture_output=True,
                    check=False,
                    text=True,
                    timeout=10 * CPU_SECONDS,
                )
            except subprocess.TimeoutExpired:
                return "no end"
            if done.returncode == -signal.SIGXCPU:
                return "no end"
            if done.returncode == 0:
                return ""
            if done.returncode == pytest.ExitCode.TESTS_FAILED:
                match = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, re.MULTILINE)
                return match.group(1) if match else "?"
            if done.returncode > 0:
                break
        raise SystemExit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    def judge(self, mutation: Mutation) -> Outcome:
        """Make the mutation, run its tests, and take it back."""
        path = self.root / mutation.file
        text, start = path.read_text(encoding="utf-8"), time.monotonic()
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        try:
            if self.kernels:
                self.build()
            by = self.red(mutation.tests)
        finally:
            path.write_text(text, encoding="utf-8")
        outcome = Outcome(mutation=mutation, killed=bool(by), by=by, seconds=time.monotonic() - start)
        print(f"{'killed  ' if by else 'SURVIVED'} {outcome.seconds:5.0f} s  {mutation}  {by}", flush=True)
        return outcome


def judged(mutations: list[Mutation], *, kernels: bool) -> list[Outcome]:
    """What becomes of some mutations, one after the other in one copy; what fails must pass without them."""
    if not mutations:
        return []
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder).resolve(), kernels=kernels)
        outcomes = [copy.judge(mutation) for mutation in mutations]
        if kernels:
            copy.build()
        failed = {outcome.by.partition("[")[0] for outcome in outcomes if "::" in outcome.by}
        if failed and (by := copy.red(tuple(sorted(failed)))):
            raise SystemExit(f"red without any mutation: {by}")
        return outcomes


def named(mutation: Mutation) -> str:
    """How a row begins."""
    cells = [mutation.file, *(f"`{' '.join(part.split())}`" for part in (mutation.old, mutation.new))]
    return f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |"


def markdown(outcomes: list[Outcome], before: str) -> str:
    """The table of what became of them, and, from the table before, of those that were not asked for."""
    rows = {}
    for outcome in outcomes:
        by = f"`{outcome.by.rpartition('/')[2]}`" if outcome.killed else f"{SURVIVES}{outcome.mutation.survives}"
        rows[named(outcome.mutation)] = f" {by.replace('|', '¦')} | {outcome.seconds:.0f} |"
    names = [named(mutation) for mutation in MUTATIONS]
    for line in before.splitlines():
        for name in names:
            if line.startswith(name):
                rows.setdefault(name, line.removeprefix(name))
    known = [name for name in names if name in rows]
    killed = sum(not rows[name].startswith(f" {SURVIVES}") for name in known)
    lines = [
        "# Mutations",
        "",
        f"{killed} of {len(known)} killed, {100 * killed / len(known):.0f} %: `python -m tests.mutations`.",
        "",
        "| file | line | becomes | killed by | s |",
        "| --- | --- | --- | --- | ---: |",
        *(name + rows[name] for name in known),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run them, and say whether enough are killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--only", default="", help="mutations of files with this in their name")
    parser.add_argument("--out", type=Path, help="where the table goes: Markdown")
    asked = parser.parse_args()
    mutations = [mutation for mutation in MUTATIONS if asked.only in mutation.file]
    for mutation in mutations:
        count = (ROOT / mutation.file).read_text(encoding="utf-8").count(mutation.old)
        if count != 1:
            raise SystemExit(f"{mutation}: {count} times in the file, wants once")
    compiled = [mutation for mutation in mutations if mutation.file.startswith("kernels/")]
    plain = [mutation for mutation in mutations if mutation not in compiled]
    with ThreadPoolExecutor(asked.jobs) as pool:
        parts = [pool.submit(judged, compiled, kernels=True)]
        parts += [pool.submit(judged, plain[k :: asked.jobs], kernels=False) for k in range(asked.jobs)]
        outcomes = [outcome for part in parts for outcome in part.result()]
    outcomes.sort(key=lambda outcome: mutations.index(outcome.mutation))
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        before = asked.out.read_text(encoding="utf-8") if asked.only and asked.out.exists() else ""
        asked.out.write_text(markdown(outcomes, before), encoding="utf-8")
    surprising = [outcome for outcome in outcomes if outcome.killed == bool(outcome.mutation.survives)]
    for outcome in surprising:
        print(f"{'killed, and was said to survive' if outcome.killed else 'survives'}: {outcome.mutation}")
    killed = sum(outcome.killed for outcome in outcomes)
    print(f"{killed} of {len(outcomes)} killed")
    return 1 if surprising or killed < ENOUGH * len(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
