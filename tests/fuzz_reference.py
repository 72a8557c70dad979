"""Fuzz the oracle and the certificates against fractions.

    python -m tests.fuzz_reference --problems 20000 --seed 0

A problem has 1 to 12 unknowns and up to 4 rows more. Its exponents lie anywhere in the range of float64, subnormals
included: scattered over a sparse matrix, graded along rows and columns, or in a band. Mantissas are short, full or all
ones. Columns and rows are zeroed, repeated and added up, so that a sixth or so is exactly rank-deficient.

Each is solved by `tests.oracle.eliminate`. The reference must be that, rounded to nearest, and raise RankDeficientError
where there is no solution. Every method of `solvers.certify` must enclose, tightly, the error of the reference's answer
and of others, from a bit beside it to garbage and inf. A failure is printed with the options that repeat it, and the
exit status is 1.
"""

import argparse
import sys
import time
from collections import Counter
from typing import get_args

import numpy as np

from solvers import reference
from solvers.certify import Method, certify
from tests.oracle import eliminate, is_enclosed, is_nearest

LEAST, MOST = -1074, 1023
METHODS = get_args(Method)


def _numbers(rng: np.random.Generator, exponents: np.ndarray) -> np.ndarray:
    """Numbers with these binary exponents; below the normal range, what is left of them there."""
    shape = exponents.shape
    kinds = [
        rng.integers(1, 4, shape).astype(float),
        1.0 + rng.integers(0, 2**52, shape) * 2.0**-52,
        np.full(shape, 2.0 - 2.0**-52),
        np.ones(shape),
    ]
    mantissa = kinds[int(rng.choice(4, p=[0.3, 0.5, 0.1, 0.1]))]
    # A mantissa of 2 or 3 has an exponent of one more.
    numbers = np.ldexp(mantissa, np.clip(exponents, LEAST, MOST - (mantissa >= 2)).astype(int))
    return numbers * rng.choice([-1.0, 1.0], shape)


def draw(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Problem `index` of a seed: A (m, n) and b (m,)."""
    rng = np.random.default_rng([seed, index])
    n = int(rng.integers(1, 13))
    m = n + int(rng.integers(0, 5))
    shape = (m, n + 1)
    kind = rng.choice(["sparse", "graded", "band"], p=[0.5, 0.25, 0.25])
    density = 1.0
    if kind == "sparse":
        exponents = rng.integers(LEAST, MOST + 1, shape)
        density = min(1.0, rng.uniform(1.0, 3.0) / n)
    elif kind == "graded":
        row, column = (rng.uniform(-1.0, 1.0) * (MOST - LEAST) / size for size in (4 * m, n))
        grades = row * np.arange(m)[:, None] + column * np.arange(n + 1) + rng.uniform(-3, 3, shape)
        exponents = np.round(grades - grades.mean() + rng.uniform(-400, 400))
    else:
        exponents = rng.integers(LEAST, MOST + 1) + rng.integers(-int(rng.integers(1, 60)), 1, shape)
    both = _numbers(rng, exponents)
    A, b = both[:, :n].copy(), both[:, n].copy()
    if kind == "sparse":
        A *= rng.random((m, n)) < density
        A[np.arange(n), rng.permutation(n)] = both[np.arange(n), rng.permutation(n)]
    if rng.random() < 0.1:
        b *= rng.random(m) < 0.5
    with np.errstate(over="ignore"):
        for _ in range(int(rng.choice(3, p=[0.7, 0.2, 0.1]))):
            i, j, k = rng.integers(0, n, 3)
            change = rng.choice(["zero", "copy", "scale", "sum", "row"])
            if change == "zero":
                A[:, i] = 0.0
            elif change == "row":
                A[m - 1], b[m - 1] = A[0], b[0]
            else:
                moved = A[:, j] * {"copy": 1.0, "scale": -(2.0**7), "sum": 1.0}[change] + (change == "sum") * A[:, k]
                A[:, i] = np.where(np.isfinite(moved), moved, A[:, i])
    return A, b


def answers(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Two answers to judge: about the right one, and any other."""
    n = len(x)
    finite = np.where(np.isfinite(x), x, 1.0)
    towards = rng.choice([-np.inf, np.inf], n)
    near = np.where(rng.random(n) < 0.5, finite, np.nextafter(finite, towards))
    near = x if rng.random() < 0.5 else np.where(np.isfinite(near), near, finite)
    others = [
        np.zeros(n),
        _numbers(rng, rng.integers(LEAST, MOST + 1, n)),
        finite * (1 + 2.0 ** rng.integers(-52, 1, n)) / 4,
        np.where(np.arange(n) == 0, rng.choice([np.inf, -np.inf, np.nan]), finite),
    ]
    return np.stack([near, others[int(rng.choice(4, p=[0.2, 0.4, 0.3, 0.1]))]])


def check(seed: int, index: int) -> tuple[str, list[str]]:
    """What a problem is, and what is wrong with how it is answered."""
    A, b = draw(seed, index)
    truth = eliminate(A, b)
    rng = np.random.default_rng([seed, index, 1])
    try:
        x = reference.solve(A, b)
    except reference.RankDeficientError:
        return "rank-deficient", [] if truth is None else ["the reference calls a matrix of full rank deficient"]
    if truth is None:
        return "rank-deficient", ["the reference solves a rank-deficient problem"]
    bad = [f"x[{j}] = {v!r}" for j, v in enumerate(x.tolist()) if not is_nearest(v, truth[j])]
    given = answers(rng, x)
    for method in METHODS:
        bounds = certify(*(np.broadcast_to(t, (2, *t.shape)) for t in (A, b)), given, method=method)
        for lower, upper, got in zip(bounds.lower.tolist(), bounds.upper.tolist(), given.tolist(), strict=True):
            if not is_enclosed(lower, upper, got, truth):
                bad.append(f"{method}: [{lower!r}, {upper!r}] for {got}")
    return "solved", bad


def run(seed: int, indices: range) -> tuple[Counter[str], list[str]]:
    """Check problems; counts of what they are, and a line a failure."""
    kinds: Counter[str] = Counter()
    failures = []
    for index in indices:
        kind, bad = check(seed, index)
        kinds[kind] += 1
        failures += [f"--seed {seed} --only {index}: {line}" for line in bad]
        if (kinds.total() % 1000) == 0:
            print(f"{kinds.total()} of {len(indices)}, {len(failures)} failures", file=sys.stderr)
    return kinds, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="check this problem alone")
    options = parser.parse_args()
    started = time.perf_counter()
    only = options.only
    kinds, failures = run(options.seed, range(options.problems) if only is None else range(only, only + 1))
    print(*failures, sep="\n", end="\n" if failures else "")
    print(
        f"{kinds.total()} problems ({kinds['solved']} solved, {kinds['rank-deficient']} rank-deficient), "
        f"{2 * kinds['solved']} answers certified by {' and '.join(METHODS)}: "
        f"{len(failures)} failures; {time.perf_counter() - started:.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
