"""Every method against its rivals, torch.linalg for direct ones and SciPy for iterative ones: measure → JSON → table.

    python reports/benchmarks/solve.py --json build/solve.json

A rival is one of the same accuracy: the drivers of `torch.linalg.lstsq` and what people write with factorisations.
`reference` has none. SciPy takes one problem at a time, so its time for a problem is held against that of a batch and
against that of a loop. All contestants of a contest run in turn, again and again, and the medians are compared.

Nothing is reported where an answer is further from the solution than its accuracy allows: errors are taken against
refined solutions, which are correct to the last bit.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import linalg as scipy_linalg

import solvers
from solvers import errors
from solvers.problems import LstsqProblem, random_problem
from solvers.refinement import Refinement
from solvers.solver import Solver

U = torch.finfo(torch.float64).eps / 2
EPS = 2 * U
ITERATIVE = ("gradient-descent", "chebyshev", "cgls", "lsqr", "lsmr", "newton-schulz")
CONDITION = 5.0
"""κ of the problems for iterative methods, within reach of gradient descent."""


class Inaccurate(RuntimeError):
    """A contestant's answer is wrong, so that its time means nothing."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to solve the problems of a contest.

    Args:
        solve: gives the solutions of the first problems, (problems, n).
        problems: how many.
        power: p in its forward error, c u (κ^p + κ² ‖r‖/(‖A‖‖x‖)).
        ours: whether it is a method of this package.
    """

    solve: Callable[[], torch.Tensor]
    problems: int
    power: int = 1
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Methods of one accuracy on the same problems.

    Args:
        name: what they have in common.
        problem: the batch.
        contestants: by name.
    """

    name: str
    problem: LstsqProblem
    contestants: Mapping[str, Contestant]

    @property
    def size(self) -> str:
        """The dimensions, for people."""
        batch, m, n = self.problem.A.shape
        return f"B={batch} m={m} n={n}"


def _ours(problem: LstsqProblem, name: str, **options: object) -> Contestant:
    solver = solvers.get(name, **options)
    A, b = problem.A, problem.b
    return Contestant(
        solve=lambda: torch.as_tensor(solver.solve(A, b).x), problems=len(A), power=solver.condition_power, ours=True
    )


def _answers(solver: Solver) -> Callable[[Any, Any], Any]:
    return lambda A, b: solver.solve(A, b).x


def direct(batch: int, m: int, n: int) -> list[Contest]:
    """Direct methods, each among the drivers of its accuracy.

    Args:
        batch: B.
        m: rows.
        n: columns.

    Returns:
        Three contests: backward stable, by singular values (the minimum norm), and by normal equations.
    """
    rng = torch.Generator().manual_seed(0)
    problem = random_problem(m, n, condition=10.0, residual=1.0, batch=(batch,), generator=rng)
    A, b = problem.A, problem.b

    def theirs(solve: Callable[[], torch.Tensor], power: int = 1) -> Contestant:
        return Contestant(solve=solve, problems=batch, power=power)

    def driver(name: str) -> Contestant:
        return theirs(lambda: torch.linalg.lstsq(A, b[..., None], driver=name).solution[..., 0])

    def by_qr() -> torch.Tensor:
        Q, R = torch.linalg.qr(A)
        x: torch.Tensor = torch.linalg.solve_triangular(R, Q.mT @ b[..., None], upper=True)[..., 0]
        return x

    def by_svd() -> torch.Tensor:
        Uv, s, Vh = torch.linalg.svd(A, full_matrices=False)
        x: torch.Tensor = (Vh.mT @ ((Uv.mT @ b[..., None]) / s[..., None]))[..., 0]
        return x

    def by_cholesky() -> torch.Tensor:
        L = torch.linalg.cholesky_ex(A.mT @ A)[0]
        x: torch.Tensor = torch.cholesky_solve(A.mT @ b[..., None], L)[..., 0]
        return x

    return [
        Contest(
            name="direct, backward stable",
            problem=problem,
            contestants={
                "qr": _ours(problem, "qr"),
                "qr, eager": _ours(problem, "qr", backend="eager"),
                "gels": driver("gels"),
                "gelsy": driver("gelsy"),
                "linalg.qr + solve_triangular": theirs(by_qr),
            },
        ),
        Contest(
            name="direct, minimum norm",
            problem=problem,
            contestants={
                "svd": _ours(problem, "svd"),
                "gelsd": driver("gelsd"),
                "gelss": driver("gelss"),
                "linalg.svd": theirs(by_svd),
            },
        ),
        Contest(
            name="direct, normal equations",
            problem=problem,
            contestants={
                "cholesky": _ours(problem, "cholesky"),
                "cholesky, eager": _ours(problem, "cholesky", backend="eager"),
                "linalg.cholesky_ex + cholesky_solve": theirs(by_cholesky, power=2),
            },
        ),
    ]


def iterative(batch: int, alone: int, m: int, n: int) -> Contest:
    """Iterative methods in a batch and one problem at a time, and SciPy's.

    Args:
        batch: B.
        alone: how many of the problems are solved one at a time.
        m: rows.
        n: columns.

    Returns:
        The contest; all iterate until nothing more is to be had.
    """
    rng = torch.Generator().manual_seed(1)
    problem = random_problem(m, n, condition=CONDITION, residual=1.0, batch=(batch,), generator=rng)
    pairs = list(zip(problem.A[:alone].numpy(), problem.b[:alone].numpy(), strict=True))

    def loop(solve: Callable[[Any, Any], Any], power: int, *, ours: bool = False) -> Contestant:
        def each() -> torch.Tensor:
            return torch.from_numpy(np.stack([np.asarray(solve(A, b)) for A, b in pairs]))

        return Contestant(solve=each, problems=len(pairs), power=power, ours=ours)

    def cg(A: Any, b: Any) -> Any:
        return scipy_linalg.cg(A.T @ A, A.T @ b, rtol=EPS, atol=0.0, maxiter=10 * n)[0]

    def lsqr(A: Any, b: Any) -> Any:
        return scipy_linalg.lsqr(A, b, atol=EPS, btol=EPS, conlim=0.0, iter_lim=10 * n)[0]

    def lsmr(A: Any, b: Any) -> Any:
        return scipy_linalg.lsmr(A, b, atol=EPS, btol=EPS, conlim=0.0, maxiter=10 * n)[0]

    contestants = {}
    for name in ITERATIVE:
        solver = solvers.get(name)
        contestants[name] = _ours(problem, name)
        contestants[f"{name}, one at a time"] = loop(_answers(solver), solver.condition_power, ours=True)
    contestants |= {
        "scipy cg, normal equations": loop(cg, 2),
        "scipy lsqr": loop(lsqr, 1),
        "scipy lsmr": loop(lsmr, 1),
    }
    return Contest(name=f"iterative, κ = {CONDITION:g}", problem=problem, contestants=contestants)


def all_contests(scale: float) -> list[Contest]:
    """Every contest.

    Args:
        scale: by what to multiply the batch sizes.

    Returns:
        The contests.
    """
    many, some, few, alone = (max(2, round(scale * full)) for full in (16384, 2048, 256, 16))
    return [
        *direct(many, 20, 5),
        *direct(some, 50, 10),
        *direct(few, 100, 32),
        iterative(some, alone, 20, 5),
    ]


def check(contest: Contest) -> dict[str, float]:
    """Hold every contestant's answers to its accuracy.

    Args:
        contest: the contest.

    Returns:
        The largest forward error of each, in units of what its accuracy allows.

    Raises:
        Inaccurate: if one is above 1, or NaN.
    """
    A, b = contest.problem.A, contest.problem.b
    exact = torch.as_tensor(Refinement().solve(A, b).x)
    s = torch.linalg.svdvals(A)
    kappa = s[:, 0] / s[:, -1]
    r = torch.linalg.vector_norm(b - (A @ exact[..., None])[..., 0], dim=-1)
    slope = kappa**2 * r / (s[:, 0] * torch.linalg.vector_norm(exact, dim=-1))
    shares = {}
    for name, contestant in contest.contestants.items():
        some = slice(contestant.problems)
        error = torch.as_tensor(errors.forward_error(contestant.solve(), exact[some]))
        # 30 max(m, n) eps: where LAPACK's tests fail.
        allowed = 30 * max(A.shape[-2:]) * EPS * (kappa[some] ** contestant.power + slope[some])
        shares[name] = float((error / allowed).max())
        if not shares[name] <= 1:
            raise Inaccurate(
                f"{contest.name}, {contest.size}: {name} is off by {shares[name]:.2g} times what its accuracy allows; "
                "no times are reported"
            )
    return shares


def measure(contest: Contest, repetitions: int) -> dict[str, float]:
    """Time the contestants, in turn.

    Args:
        contest: the contest.
        repetitions: runs of each.

    Returns:
        name → median seconds a problem.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contest.contestants}
    for _ in range(repetitions):
        for name, contestant in contest.contestants.items():
            start = time.perf_counter()
            contestant.solve()
            seconds[name].append((time.perf_counter() - start) / contestant.problems)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(measured: dict[str, Any]) -> pd.DataFrame:
    """The table of what was measured.

    Args:
        measured: what goes into the JSON file.

    Returns:
        One row a contestant: microseconds a problem, how many times that of the fastest rival, and the largest forward
        error in units of what is allowed.
    """
    frame = pd.DataFrame(measured["rows"])
    rivals = frame[~frame["ours"]].groupby(["contest", "size"])["seconds"].min().rename("rival").reset_index()
    fastest = frame.merge(rivals, on=["contest", "size"], how="left")["rival"]
    return frame[["contest", "size", "path", "ours"]].assign(
        microseconds=frame["seconds"] * 1e6,
        times_fastest_rival=frame["seconds"] / fastest,
        error_of_allowed=frame["error_of_allowed"],
    )


def run(json_path: str | Path | None = None, *, repetitions: int = 7, scale: float = 1.0) -> pd.DataFrame:
    """Measure every method against its rivals.

    Args:
        json_path: where to keep what was measured; None keeps nothing.
        repetitions: runs of each contestant.
        scale: by what to multiply the batch sizes; below one for a quick look.

    Returns:
        The table: contest, size, path, ours, microseconds, times_fastest_rival, error_of_allowed.

    Raises:
        Inaccurate: if an answer is wrong; nothing is written then.
    """  # noqa: DOC502 - raised by what this calls
    rows = []
    for contest in all_contests(scale):
        shares = check(contest)
        rows += [
            {
                "contest": contest.name,
                "size": contest.size,
                "path": name,
                "ours": contest.contestants[name].ours,
                "seconds": seconds,
                "error_of_allowed": shares[name],
            }
            for name, seconds in measure(contest, repetitions).items()
        ]
    machine = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    measured = {"machine": machine, "repetitions": repetitions, "rows": rows}
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    return table(measured)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to keep it")
    print(run(parser.parse_args().json).to_string(index=False))
