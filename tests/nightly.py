"""Thousands of drawn problems for every shipped solver, learned ones included: silent failures, and measured constants.

    python -m tests.nightly --problems 50000
    python -m tests.nightly --problems 2000 --solver qr --solver lsqr --seed 7

Problems are drawn as the battery draws them: kinds, regions of shapes, dtypes; every fifth batch with columns of
several sizes, every fifth with A and b of any scale. κ goes up to where columns are dependent to working precision, or
to what a solver is made for. They are solved in batches of one shape, rank-deficient ones among them.

A silent failure is a CONVERGED that is not within the documented error, a rank made up or unreported, a NaN without a
status, or a condition that hides that no digit is left. Each is printed with the code that shows it; the exit status is
then 1. `worst` is the largest error in units of what is documented, and c₀ the constant that the error asked for: what
`error_constant` documents is four times the largest c₀ seen.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from solvers import Status
from solvers.testing.accuracy import constant, measured_error
from solvers.testing.answers import held, held_condition
from solvers.testing.findings import Violation, stacked, status_of
from solvers.testing.recipes import KINDS, GeneratedProblem
from solvers.testing.strategies import Draw, Region

from .solvers.testing.test_shipped import SHIPPED

BATCH, CHUNK = 25, 500
ANY = 1e16
"""A κ at which every matrix is dependent to working precision."""


def subjects() -> dict[str, tuple[Any, float, tuple[int, int]]]:
    """Solvers by name, each with the largest κ, m and n that it is made for."""
    import precisionlab

    from .precisionlab.test_battery import LARGEST, ROWS, UNKNOWNS

    own = {name: (solver, ANY if largest >= 1e8 else largest, (64, 24)) for name, (solver, largest) in SHIPPED.items()}
    return own | {
        name: (precisionlab.load_solver(name), ANY if largest >= 1e8 else largest, (ROWS[name], UNKNOWNS[name]))
        for name, largest in LARGEST.items()
    }


def batches(largest: float, count: int, seed: int, start: int) -> Iterator[list[GeneratedProblem]]:
    """Problems of one shape and dtype at a time."""
    plain = Draw(max_condition=largest, kinds=KINDS)
    for k in range(start // BATCH, (start + count) // BATCH):
        draw = random.Random(f"{seed} {largest} {k}")
        region = plain.regions[k % len(plain.regions)]
        n = draw.randint(region.least, region.most)
        a, b, top, slope = region.rows
        m = draw.randint(a + b * n, min(64, top + slope * n)) if a + b * n <= min(64, top + slope * n) else 3 * n
        one = replace(
            plain,
            dtypes=(draw.choice(plain.dtypes),),
            columns=60 if k % 5 == 3 else 0,
            scales=k % 5 == 4,
        )
        yield [one.problem(draw.randrange, Region(n, n, (m, 0, m, 0))) for _ in range(BATCH)]


def measure(chunk: tuple[float, int, int, int], names: list[str]) -> dict[str, dict[str, Any]]:
    """One chunk of problems for some solvers: counts, failures, errors."""
    torch.set_num_threads(1)
    solvers = subjects()
    found = {name: {"counts": Counter(), "failures": [], "worst": 0.0, "c": 0.0, "seconds": 0.0} for name in names}
    for problems in batches(*chunk):
        for name in names:
            (solver, _, most), record = solvers[name], found[name]
            if any(size > limit for size, limit in zip(problems[0].A.shape, most, strict=True)):
                continue
            begun = time.perf_counter()
            try:
                results, _ = stacked(solver, problems)
            except Violation as failure:
                record["failures"].append(str(replace(failure.finding, check=name, claim="a batch")))
                continue
            record["seconds"] += time.perf_counter() - begun
            for problem, result in zip(problems, results, strict=True):
                _count(solver, problem, result, name, record)
    return found


def _count(solver: Any, problem: GeneratedProblem, result: Any, name: str, record: dict[str, Any]) -> None:
    record["counts"][status_of(result)] += 1
    try:
        measured = held(solver, problem, result)
        held_condition(solver, problem, result)
    except Violation as failure:
        record["failures"].append(str(replace(failure.finding, check=name, claim="in a batch")))
        measured = 0.0
        if problem.rank_deficient or status_of(result) != Status.CONVERGED:
            return
        measured = measured_error(solver, problem, result.x)
    record["worst"] = max(record["worst"], measured)
    if not (problem.recipe.matrix_exponent or problem.recipe.right_exponent):
        m, n = problem.A.shape
        record["c"] = max(record["c"], measured * constant(solver, m, n) / (m + n) ** 0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold every shipped solver to thousands of drawn problems.")
    parser.add_argument("--problems", type=int, default=50_000, help="a solver")
    parser.add_argument("--solver", action="append", help="by name, as often as needed; all unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=None, help="one a core unless given")
    options = parser.parse_args()
    solvers = subjects()
    names = options.solver or list(solvers)
    unknown = set(names).difference(solvers)
    if unknown:
        parser.error(f"--solver: got {unknown.pop()!r}, wants some of {', '.join(solvers)}")
    total: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for largest in sorted({solvers[name][1] for name in names}):
            alike = [name for name in names if solvers[name][1] == largest]
            chunks = [
                (largest, min(CHUNK, options.problems - start), options.seed, start)
                for start in range(0, options.problems, CHUNK)
            ]
            for k, found in enumerate(pool.map(partial(measure, names=alike), chunks)):
                print(f"κ to {largest:.0e}: {k + 1} of {len(chunks)} chunks", file=sys.stderr, flush=True)
                for name, record in found.items():
                    known = total.setdefault(name, {"counts": Counter(), "failures": [], "seconds": 0.0})
                    known["counts"] += record["counts"]
                    known["failures"] += record["failures"]
                    known["seconds"] += record["seconds"]
                    for key in ("worst", "c"):
                        known[key] = max(known.get(key, 0.0), record[key])
    print(f"{'solver':<42}{'κ to':>8}{'problems':>9}", *(f"{s.name:>15}" for s in Status), end="")
    print(f"{'silent':>8}{'worst':>9}{'c₀':>9}{'documented':>11}{'seconds':>9}")
    for name in names:
        record, (solver, largest, _) = total[name], solvers[name]
        print(f"{name:<42}{largest:>8.0e}{sum(record['counts'].values()):>9}", end=" ")
        print(*(f"{record['counts'][status]:>15}" for status in Status), end="")
        print(f"{len(record['failures']):>8}{record['worst']:>9.2g}{record['c']:>9.3g}", end="")
        print(f"{getattr(solver, 'error_constant', None) or 'LAPACK':>11}{record['seconds']:>9.0f}")
    failures = [failure for name in names for failure in total[name]["failures"]]
    for failure in failures[:40]:
        print(f"\n{failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
