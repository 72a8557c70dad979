"""The command line. A user's mistake is one line on what to do, and exit code 2; never a traceback."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click


class Command(click.Command):
    """A command whose help ends in examples, line by line as they are typed.

    Args:
        *args: As click's.
        example: Command lines.
        **kwargs: As click's.
    """

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        del ctx
        _write_example(formatter, self.example)


class Group(click.Group):
    """A command group that says what is wrong in one line."""

    command_class = Command

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run, turning every foreseen error into a line and an exit code."""
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
            sys.exit(code if isinstance(code, int) else 0)
        except click.ClickException as error:
            fail(error.format_message(), context=getattr(error, "ctx", None))
        except (ValueError, TypeError) as error:
            fail(str(error))
        except OSError as error:
            fail(f"{error.filename or 'file'}: {error.strerror or error}")
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            sys.exit(130)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write an example."""
        del ctx
        _write_example(
            formatter, "precisionlab report linear-attention/explicit-gradient gradient-descent --out report"
        )


def _write_example(formatter: click.HelpFormatter, example: str) -> None:
    with formatter.section("Example"):
        for line in example.splitlines():
            formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def fail(message: str, *, context: click.Context | None = None) -> NoReturn:
    """Say what is wrong, in one line, and exit with 2.

    Args:
        message: What is wrong.
        context: The command, for the pointer to its help.
    """
    line = " ".join(message.split())
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    click.echo(f"error: {line}{hint}", err=True)
    sys.exit(2)


def _completed(wanted: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Complete experiments, or checkpoints and solvers.

    Returns:
        What click asks for completions.
    """

    def complete(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
        import solvers
        from precisionlab.experiments import registry
        from precisionlab.runs import zoo

        names = sorted(registry()) if wanted == "experiments" else [*zoo.names(), *solvers.names()]
        return [name for name in names if name.startswith(typed)]

    return complete


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="precisionlab")
def main() -> None:
    """How precisely can a sequence model learn a numerical algorithm?"""


def _use(_context: click.Context, _parameter: click.Parameter, names: Sequence[str]) -> None:
    from precisionlab import plugins

    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it
    for name in names:
        plugins.use(name)


with_plugins = click.option(
    "--plugin",
    multiple=True,
    metavar="MODULE",
    is_eager=True,
    expose_value=False,
    callback=_use,
    help="Import a module or a .py file of yours first; may be repeated.",
)


@main.command("list", example="precisionlab list")
@click.option("--all", "everything", is_flag=True, help="Experiments without a checkpoint, and what each takes, too.")
@with_plugins
def list_command(everything: bool) -> None:
    """Shipped checkpoints, experiments and solvers."""
    from rich.console import Console
    from rich.table import Column, Table

    import solvers
    from precisionlab.experiments import registry
    from precisionlab.runs import RunDirectory, zoo

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    known, shipped = registry(), zoo.names()
    table = Table(Column("experiment", no_wrap=True), "what it does", "test MSE", box=None, header_style="bold")
    if everything:
        table.add_column("cost")
    for name in sorted(known) if everything else shipped:
        place = zoo.path(name)
        card = None if place is None else RunDirectory(place).card()
        measured = "" if card is None or card.test_mse is None else f"{card.test_mse:.0e}"
        row = [name, known[name].summary if name in known else card.summary if card else "", measured]
        table.add_row(*row, *([known[name].cost] if everything else []))
    console.print(table)
    others = len(known.keys() - set(shipped))
    if not everything:
        console.print(f"\n{others} experiments have no checkpoint: precisionlab list --all", highlight=False)
    console.print(f"\n[bold]solvers[/bold]  {', '.join(solvers.names())}", highlight=False)


TRAIN = """\
precisionlab train linear-attention/explicit-gradient --seed 1 --set phases.adam.batch=256
precisionlab train path/to/mine.py:CUBE --run-dir runs/cube --resume
precisionlab train --again runs/cube --run-dir runs/cube-again"""


@main.command(example=TRAIN)
@click.argument("experiment", required=False, shell_complete=_completed("experiments"))
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and data.")
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a setting; may be repeated.")
@click.option("--time-limit", type=float, metavar="S", help="Stop after this many seconds; resume later.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where to; runs/EXPERIMENT/seed-N by default.")
@click.option("--resume", is_flag=True, help="Go on with the run in the directory, if there is one.")
@click.option("--again", "original", metavar="RUN_DIR", help="Make the run of a directory, or a checkpoint, once more.")
@click.option("--log", type=click.Choice(["tensorboard", "wandb"]), help="Send metrics on, into the run directory.")
@click.option("--check-determinism", "twice", is_flag=True, help="Train twice, compare every bit, keep nothing.")
@with_plugins
def train(
    experiment: str | None,
    seed: int,
    device: str,
    settings: Sequence[str],
    time_limit: float | None,
    run_dir: Path | None,
    resume: bool,
    original: str | None,
    log: str | None,
    twice: bool,
) -> None:
    """Train EXPERIMENT and write a run directory.

    EXPERIMENT is a name, or path/to/file.py:NAME for one of your own.
    """
    import precisionlab
    from precisionlab.experiments import get
    from precisionlab.overrides import parse_override
    from precisionlab.runs import again

    overrides = dict(parse_override(setting) for setting in settings)
    if original is not None:
        if experiment is not None or overrides or log is not None or twice or seed or device != "cpu":
            fail("--again takes all from RUN_DIR: leave all but --run-dir, --time-limit, --resume and --plugin away")
        directory = run_dir or Path("runs") / "again" / Path(original).name
        more = f"precisionlab train --again {original} --run-dir {directory} --resume"
        with _told_how_to_go_on(directory, more):
            run = again(original, into=directory, time_limit=time_limit, resume=resume)
        _say(run, directory, more)
        return
    if experiment is None:
        fail("Missing argument 'EXPERIMENT': a name that `precisionlab list` shows, or path/to/file.py:NAME")
    if twice:
        if run_dir is not None or resume or log is not None or time_limit is not None:
            fail("--check-determinism keeps no run: leave --run-dir, --resume, --log and --time-limit away")
        _train_twice(experiment, seed=seed, device=device, **overrides)
    directory = run_dir or Path("runs") / get(experiment).name / f"seed-{seed}"
    more = f"precisionlab train {experiment} --run-dir {directory} --resume"
    with _told_how_to_go_on(directory, more):
        run = precisionlab.train(
            experiment,
            seed=seed,
            device=device,
            run_dir=directory,
            time_limit=time_limit,
            resume=resume,
            log=log,
            **overrides,
        )
    _say(run, directory, more)


def _say(run: Any, directory: Path, more: str) -> None:
    """What came of a training."""
    from precisionlab.training import distributed

    if not distributed.first():
        return
    click.echo(f"{run!r}")
    if run.card.ended == "unfinished":
        click.echo(f"the time is up; go on with: {more}")
    click.echo(f"in {directory}")


@contextmanager
def _told_how_to_go_on(directory: Path, more: str) -> Iterator[None]:
    """Turn an interruption, or a disk that is full, into a line that says how to go on."""
    try:
        with _termination_as_interrupt():
            yield
    except KeyboardInterrupt as stop:
        _stopped(directory, f"interrupted; the state is saved, go on with: {more}", code=143 if str(stop) else 130)
    except OSError as error:
        told = f"error: {error.filename or directory}: {error.strerror or error}"
        _stopped(directory, f"{told}; what was saved is whole, go on with: {more}", code=2)


def _train_twice(experiment: str, **options: Any) -> NoReturn:
    from precisionlab.runs import determinism

    verdict = determinism.check(experiment, **options)
    click.echo(verdict.told)
    sys.exit(0 if verdict.identical else 1)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C is taken, so that the state is saved."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt("terminated")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may take signals
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(directory: Path, line: str, *, code: int) -> NoReturn:
    """Say in one line why training stopped and how to go on; if it had not begun, only the former."""
    from precisionlab.runs import RunDirectory
    from precisionlab.training import distributed

    if not distributed.first():
        sys.exit(code)
    click.echo(line if RunDirectory(directory).started else line.partition(";")[0], err=True)
    sys.exit(code)


@main.command(example="precisionlab grid widths.toml --processes 2")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.toml")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to; runs/FILE by default.")
@click.option("--address", help="A Ray cluster's; this machine without it.")
@click.option("--processes", type=click.IntRange(min=1), help="Runs at a time on this machine; one a core by default.")
@with_plugins
def grid(file: Path, out: Path | None, address: str | None, processes: int | None) -> None:
    """Train every combination of experiments, seeds and settings; start it again to go on with it.

    FILE.toml lists experiments, seeds, and under [settings] the values of each setting.
    """
    import precisionlab
    from precisionlab import config as configs
    from precisionlab.runs.files import read_text
    from precisionlab.runs.grid import GridConfig

    varied = configs.loads(GridConfig, read_text(file), source=str(file))
    table = (out or Path("runs") / file.stem) / "results.csv"
    frame = precisionlab.grid(varied.cells(), table, address=address, processes=processes)
    click.echo(frame.to_string(index=False))
    click.echo(f"in {table}")
    if frame["ended"].str.startswith("failed").any():
        sys.exit(1)


@main.command(example="precisionlab report linear-attention/explicit-gradient gradient-descent qr --out report")
@click.argument("entries", nargs=-1, required=True, metavar="NAME_OR_RUN...", shell_complete=_completed("solvers"))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The report's directory.")
@click.option("--iterations", type=click.IntRange(min=1), default=100, show_default=True, help="Of each solver.")
@click.option("--problems", metavar="COUNT|FILE.npz", help="Fresh problems, 4,096 by default, or A, b, x0 of a file.")
@click.option("--title", help="Heading of the page; its conclusion by default.")
@with_plugins
def report(entries: Sequence[str], out: Path, iterations: int, problems: str | None, title: str | None) -> None:
    """Report error against iteration of checkpoints, runs and solvers.

    A learned solver is shown three times: itself, its model alone, and its control around the exact step. A name may
    carry options: cgls:tolerance=1e-8.
    """
    import precisionlab

    given = int(problems) if problems is not None and problems.lstrip("-").isdigit() else problems
    written = precisionlab.report(entries, out=out, problems=given, iterations=iterations, title=title)
    click.echo(written.conclusion)
    click.echo(f"in {written.page}")


@main.command(example="precisionlab solve --A A.npy --b b.npy --solver qr --certify")
@click.option("--A", "matrix", type=click.Path(path_type=Path), required=True, help="A .npy file, (..., m, n).")
@click.option("--b", "right", type=click.Path(path_type=Path), required=True, help="A .npy file, (..., m).")
@click.option(
    "--solver",
    "name",
    required=True,
    shell_complete=_completed("solvers"),
    help="A solver, a shipped checkpoint or a run directory.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Where to write x as .npy; printed without it.")
@click.option("--certify", "certified", is_flag=True, help="Print a proved enclosure of the true error.")
@with_plugins
def solve(matrix: Path, right: Path, name: str, out: Path | None, certified: bool) -> None:
    """Solve min ‖b − A x‖ for your own data."""
    import numpy as np

    import precisionlab
    from solvers.certify import certify
    from solvers.result import Status

    A, b = _array(matrix, "--A"), _array(right, "--b")
    result = precisionlab.solver(name).solve(A, b)
    x = np.asarray(result.x)
    counts = ", ".join(f"{count} {Status(status).name}" for status, count in result.counts().items() if count)
    if out is None:
        click.echo(np.array2string(x, floatmode="unique", threshold=1000))
    else:
        with out.open("wb") as file:
            np.save(file, x, allow_pickle=False)
    click.echo(f"status: {counts}", err=True)
    if certified:
        click.echo(str(certify(A, b, x)), err=True)
    if np.any(np.asarray(result.status) != Status.CONVERGED):
        sys.exit(1)


def _array(path: Path, option: str) -> Any:
    import numpy as np

    try:
        # Mapped first: a header that promises more than the file holds is found out before anything is allocated.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except OSError:
        raise
    except Exception as error:  # numpy's reader of headers raises what Python's parser does
        raise ValueError(f"{option}: {path} is not a .npy file of numbers ({error})") from None


@main.command(example="precisionlab verify qr --max-condition 1e8\nprecisionlab verify numpy_solver:lstsq")
@click.argument("name", metavar="NAME_OR_RUN_OR_module:function", shell_complete=_completed("solvers"))
@click.option("--max-condition", type=click.FloatRange(min=1), default=1e2, show_default=True, help="Largest κ tried.")
@click.option("--max-examples", type=click.IntRange(min=1), default=200, show_default=True, help="Problems a check.")
@with_plugins
def verify(name: str, max_condition: float, max_examples: int) -> None:
    """Run the check battery on a solver; exit 1 with the failing checks."""
    from solvers.testing import SolverCheckFailed, check_solver

    try:
        checked = check_solver(_solver(name), max_condition=max_condition, max_examples=max_examples)
    except SolverCheckFailed as failure:
        click.echo(str(failure))
        sys.exit(1)
    click.echo(str(checked))


def _solver(name: str) -> Any:
    """A solver by its name, or a function of a module."""
    import precisionlab
    from precisionlab import plugins

    place, colon, attribute = name.rpartition(":")
    if not colon:
        return precisionlab.solver(name)
    module = plugins.use(place)
    if not hasattr(module, attribute):
        raise ValueError(f"{place}: there is no {attribute!r} in it")
    return getattr(module, attribute)
