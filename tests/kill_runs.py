"""Kill training at random moments, resume it, and compare with a run that was left alone.

    python -m tests.kill_runs --kills 50

Every trial trains in a process of its own, which saves after every row so that kills fall into writes too, is sent
SIGKILL at a random moment, and is resumed by a second process. It must end in the bits of the run that was left alone:
weights, metrics but for the wall clock, and card. No row that was written may be computed again (its clock would tell),
and nothing half-written may be left.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

NAME = "linear-attention/explicit-gradient"
SETTINGS = {
    "n": 2,
    "rows": 4,
    "width": 6,
    "heads": 1,
    "phases.adam.steps": 300,
    "phases.adam.until": 0.3,
    "phases.adam.easier": {},
    "phases.gauss-newton.steps": 30,
    "phases.gauss-newton.patience": 30,
    "phases.gauss-newton.stall": 30,
}
"""A first start that stalls, a second that does not, and time enough in both phases."""


def fingerprint(directory: Path) -> dict[str, str]:
    """A digest of each thing that must come out the same."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["elapsed"]
    card = json.loads((directory / "card.json").read_text())
    del card["seconds"]
    contents = {
        "weights": (directory / "model.safetensors").read_bytes(),
        "metrics": json.dumps(rows).encode(),
        "card": json.dumps(card).encode(),
    }
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def drafts(directory: Path) -> list[Path]:
    """Files that a killed writer left."""
    return [path for path in directory.rglob(".*") if path.name != ".lock"]


def written(directory: Path) -> str:
    """The metrics so far."""
    metrics = directory / "metrics.jsonl"
    return metrics.read_text() if metrics.exists() else ""


def reached(directory: Path) -> str:
    """The phase of the last row that a run wrote."""
    lines = written(directory).splitlines()
    return json.loads(lines[-1])["phase"] if lines else "before the first row"


def train(directory: Path) -> None:
    """What a child does: begin, or go on."""
    import precisionlab
    from precisionlab.runs import training

    training.SECONDS_BETWEEN_SAVES = 0.0
    resume = (directory / "config.toml").exists()
    settings = {} if resume else SETTINGS
    precisionlab.train(NAME, run_dir=directory, resume=resume, progress=False, **settings)


def child(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.kill_runs", "--child", str(directory)])


def left_alone(directory: Path) -> float:
    """Train without a kill; the seconds from the configuration's appearance to the end."""
    process = child(directory)
    begun = _begun(directory, process)
    if process.wait() != 0:
        raise SystemExit("the run that was left alone failed")
    return time.monotonic() - begun


def killed(directory: Path, after: float) -> bool:
    """Train, with a kill some seconds after the beginning; whether the kill came before the end."""
    process = child(directory)
    _begun(directory, process)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _begun(directory: Path, process: subprocess.Popen[bytes]) -> float:
    while not directory.exists() and process.poll() is None:
        time.sleep(0.001)
    return time.monotonic()


def trials(kills: int, seed: int) -> int:
    """Run the trials; the number that failed."""
    moments, where, failed, found, kept = random.Random(seed), Counter[str](), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference"
        seconds = left_alone(reference)
        want = fingerprint(reference)
        print(f"left alone: {seconds:.1f} s, {want['weights'][:12]}", flush=True)
        trial = 0
        while trial < kills:
            directory = Path(tempfile.mkdtemp(dir=folder)) / "run"
            if not killed(directory, moments.uniform(0.0, seconds)):
                seconds *= 0.7  # it had ended: the machine is less busy than it was
                continue
            trial += 1
            phase, left, rows = reached(directory), len(drafts(directory)), written(directory)
            where[phase], found = where[phase] + 1, found + left
            code = child(directory).wait()
            got = fingerprint(directory) if code == 0 else {}
            orphans = [path.name for path in drafts(directory)]
            wrong = [name for name in want if got.get(name) != want[name]] + orphans
            wrong += [] if written(directory).startswith(rows) else ["rows computed again"]
            failed, kept = failed + bool(wrong), kept + len(orphans)
            verdict = f"DIFFERS: {', '.join(wrong)}" if wrong else "identical"
            print(f"{trial:3d}. killed in {phase}, {left} drafts left; resumed: {verdict}", flush=True)
    told = ", ".join(f"{count} in {phase}" for phase, count in sorted(where.items()))
    print(
        f"{kills - failed} of {kills} identical; kills: {told}; {found} drafts left by kills, {kept} by resumed runs",
        flush=True,
    )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        return train(arguments.child)
    sys.exit(1 if trials(arguments.kills, arguments.seed) else 0)


if __name__ == "__main__":
    main()
