"""Chebyshev's method run to its stopping rules, a chunk of iterates at a time.

A solver must judge every iterate. The kernel takes many steps in one call and notes ‖b − A x‖ and ‖Aᵀ(b − A x)‖ of
each; the rules of `solvers._core.loop` are then applied to the whole chunk, and a problem ends at the first iterate
that meets one. What was computed beyond it is thrown away. Chunks change no bit: a call goes on from where the last one
ended, and no problem sees another.
"""

from typing import NamedTuple, cast

import torch

from solvers._core.loop import RUNNING, Held, ruled, taken
from solvers._core.triangular import norm
from solvers.fused import fresh, launch, plain
from solvers.result import LstsqResult, Status

FIRST_CHUNK, LAST_CHUNK = 16, 128
CHUNK_ENTRIES = 1 << 21
"""Entries of a chunk's iterates beyond which it is shortened, for the sake of memory."""


def watched_chebyshev(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    theta: torch.Tensor,
    delta: torch.Tensor,
    direction: torch.Tensor,
    rho: torch.Tensor,
    steps: int,
    resumed: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Iterates, (steps + 1, B, n), ‖r‖² and ‖Aᵀr‖² of all but the last, (steps, 2, B); direction and ρ."""
    # direction, (B, n), and rho, (B,), are those of an earlier call where it is resumed.
    out, norms = fresh(x0, steps + 1, *x0.shape), x0.new_empty(steps, 2, x0.shape[0])
    kept = plain(direction).clone(), plain(rho).clone()
    arguments = plain(A), plain(b), plain(x0), plain(theta), plain(delta)
    launch("chebyshev", *arguments, out, norms, *kept, steps, resumed)
    return out, norms, *kept


class Interval(NamedTuple):
    """The spectrum of AᵀA, and the rule R3 that goes with it.

    Args:
        theta: its middle, (B,), float64.
        delta: half its width, (B,), float64.
        noise: the level of rounding in Aᵀr, (B,).
        patience: iterations without a new minimum of ‖Aᵀr‖ that count as rest, (B,).
    """

    theta: torch.Tensor
    delta: torch.Tensor
    noise: torch.Tensor
    patience: torch.Tensor

    def verdict(
        self,
        problem: Held,
        x: torch.Tensor,
        r_norm: torch.Tensor,
        g_norm: torch.Tensor,
        idle: torch.Tensor,
        tolerance: float,
    ) -> torch.Tensor:
        """The verdict on iterates, (..., B), from x, ‖r‖, ‖Aᵀr‖, iterations since the last was smallest, and τ."""
        x_norm = norm(x)
        met = problem.paige_saunders(r_norm, g_norm, x_norm, tolerance)
        rest = (idle >= self.patience) & problem.at_rest(g_norm, x_norm, self.noise)
        return ruled((met | rest) & problem.readable(x), g_norm, x_norm)


class _Running(NamedTuple):
    """The problems that go on: their places in the batch, where the recurrence stands, ‖Aᵀr‖'s history."""

    place: torch.Tensor
    x: torch.Tensor
    direction: torch.Tensor
    rho: torch.Tensor
    best: torch.Tensor
    idle: torch.Tensor
    interval: Interval
    problem: Held


def iterate_in_chunks(
    problem: Held, interval: Interval, x0: torch.Tensor, tolerance: float, *, max_iterations: int, record: bool
) -> LstsqResult:
    """As `solvers._core.loop.iterate`, from x0 (B, n) in the units of the problem; τ is that of R1 and R2."""
    x = x0.clone()
    place = torch.arange(len(x))
    status = torch.full_like(place, int(Status.MAX_ITERATIONS))
    iterations = torch.full_like(place, max_iterations)
    running = _Running(
        place=place,
        x=x0,
        direction=torch.zeros_like(x0),
        rho=torch.zeros_like(interval.theta),
        best=torch.full_like(interval.theta, float("inf")),
        idle=torch.full_like(place, -1),
        interval=interval,
        problem=problem,
    )
    trace: list[torch.Tensor] = []
    judged, chunk = 0, FIRST_CHUNK
    while len(running.place) and judged <= max_iterations:
        fitting = max(1, CHUNK_ENTRIES // running.x.numel())
        steps = min(chunk, fitting, max_iterations + 1 - judged)
        iterates, ruling, following = _chunk(running, tolerance, steps, resumed=judged > 0)
        ended = ruling != RUNNING
        last = torch.where(ended.any(dim=0), ended.int().argmax(dim=0), steps)
        done, at = last < steps, last.clamp(max=steps - 1)
        if record:
            trace.append(_frozen(x, running.place, iterates[:steps], at))
        x[running.place] = _picked(iterates, at)
        status[running.place[done]] = _picked(ruling, at)[done]
        iterations[running.place[done]] = judged + last[done]
        running = taken(following, torch.nonzero(~done).squeeze(-1))
        judged, chunk = judged + steps, min(2 * chunk, LAST_CHUNK)
    kept = torch.cat(trace)[: int(iterations.max()) + 1] if trace else x[None] if record else None
    kept = None if kept is None else problem.restored(kept)
    return LstsqResult(x=problem.restored(x), status=status, iterations=iterations, trace=kept)


def _chunk(
    running: _Running, tolerance: float, steps: int, *, resumed: bool
) -> tuple[torch.Tensor, torch.Tensor, _Running]:
    """Some steps: iterates, (steps + 1, B, n), verdicts on all but the last, (steps, B), and where they end."""
    problem, interval = running.problem, running.interval
    iterates, norms, direction, rho = watched_chebyshev(
        cast(torch.Tensor, problem.A),
        problem.b,
        running.x,
        interval.theta,
        interval.delta,
        running.direction,
        running.rho,
        steps,
        resumed,
    )
    r_norm, g_norm = norms.sqrt().unbind(dim=1)
    lowest = torch.cat([running.best[None], g_norm]).cummin(dim=0).values
    count = torch.arange(steps)[:, None]
    newest = torch.where(g_norm < lowest[:-1], count, -1 - running.idle).cummax(dim=0).values
    idle = count - newest
    ruling = interval.verdict(problem, iterates[:steps], r_norm, g_norm, idle, tolerance)
    following = running._replace(x=iterates[-1], direction=direction, rho=rho, best=lowest[-1], idle=idle[-1])
    return iterates, ruling, following


def _picked(rows: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return rows[at, torch.arange(rows.shape[1])]


def _frozen(x: torch.Tensor, place: torch.Tensor, iterates: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Iterates of the batch x, (steps, B, n): those in `place` run to `at` and stay there, the others stay at x."""
    block = x.expand(len(iterates), *x.shape).clone()
    order = torch.minimum(torch.arange(len(iterates))[:, None], at)
    block[:, place] = iterates.gather(0, order[..., None].expand_as(iterates))
    return block
