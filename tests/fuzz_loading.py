"""Fuzz what is read from the disk, guided by coverage: configurations, cards, checkpoints.

    pip install 'precisionlab[fuzz]'
    python -m tests.fuzz_loading --seconds 300

Whatever the bytes, a loader returns or raises the one error it documents, ValueError. Anything else ends the run, and
the input that did it lies in the folder named. It begins from a sound run's files, and needs Linux and libFuzzer, both
of which atheris brings; `tests/precisionlab/test_hostile_input.py` has what hypothesis finds, in every test run.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["precisionlab", "tomllib", "json", "safetensors", "pydantic"]):
    from precisionlab import config, zoo
    from precisionlab.runs import RunConfig, RunDirectory
    from precisionlab.runs.checkpoints import load_checkpoint

SHIPPED = "linear-attention/explicit-gradient"
FILES = ("config.toml", "card.json", "metrics.jsonl", "model.safetensors")
LARGEST = 2**16
"""Bytes of an input; the shipped files are smaller."""


def _text(content: bytes) -> str:
    return content.decode(errors="replace")


def targets(folder: Path) -> list[Callable[[bytes], object]]:
    """The loaders, by the first byte of an input."""
    run = RunDirectory(folder)

    def whole(name: str) -> Callable[[bytes], object]:
        def load(content: bytes) -> object:
            sound = (folder / name).read_bytes()
            (folder / name).write_bytes(content)
            try:
                return run.load()
            finally:
                (folder / name).write_bytes(sound)

        return load

    def checkpoint(content: bytes) -> object:
        (folder / "checkpoint").write_bytes(content)
        return load_checkpoint(folder / "checkpoint", numbers=10**5)

    return [
        lambda content: config.loads(RunConfig, _text(content), source="config.toml"),
        lambda content: config.parse_override(_text(content)),
        checkpoint,
        *map(whole, FILES),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    arguments = parser.parse_args()
    shipped = zoo.path(SHIPPED)
    assert shipped is not None
    with tempfile.TemporaryDirectory() as name:
        folder, corpus = Path(name) / "run", Path(name) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        for file in FILES:
            (folder / file).write_bytes((shipped / file).read_bytes())
        load = targets(folder)
        for place in range(len(load)):
            for file in FILES:
                (corpus / f"{place}-{file}").write_bytes(bytes([place]) + (folder / file).read_bytes()[:LARGEST])
        found = Path(tempfile.mkdtemp(prefix="fuzz-"))
        print(f"an input that ends the run is kept in {found}", flush=True)

        def one(data: bytes) -> None:
            with contextlib.suppress(ValueError):
                load[data[0] % len(load)](data[1:]) if data else None

        options = [f"-max_total_time={arguments.seconds}", f"-max_len={LARGEST}", f"-artifact_prefix={found}/"]
        atheris.Setup([sys.argv[0], *options, "-rss_limit_mb=2048", "-timeout=20", str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
