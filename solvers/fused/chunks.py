"""Chebyshev's method run to its stopping rules, a chunk of iterates at a time.

A solver must judge every iterate. The kernel takes many steps in one call and notes ‖b − A x‖ and ‖Aᵀ(b − A x)‖ of
each; the rules of `solvers._core.loop` are then applied to the whole chunk, and a problem ends at the first iterate
that meets one. What was computed beyond it is thrown away. Chunks change no bit: a call goes on from where the last one
ended, and no problem sees another.
"""

from dataclasses import dataclass

import torch

from solvers._core.loop import RUNNING, at_rest, paige_saunders, readable, ruled
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
    """Iterates of Chebyshev's method in the residual form, with what a stopping rule needs of them.

    Args:
        A: matrices, (B, m, n), float64.
        b: right-hand sides, (B, m).
        x0: where to go on from, (B, n).
        theta: the middle of the spectrum of AᵀA, (B,).
        delta: half its width, (B,).
        direction: the last direction, (B, n).
        rho: the last ρ, (B,).
        steps: number of steps.
        resumed: whether `direction` and `rho` come from an earlier call.

    Returns:
        The iterates, (steps + 1, B, n); ‖b − A x‖² and ‖Aᵀ(b − A x)‖² of all but the last, (steps, 2, B); and direction
        and rho for the next call.
    """
    out, norms = fresh(x0, steps + 1, *x0.shape), x0.new_empty(steps, 2, x0.shape[0])
    kept = plain(direction).clone(), plain(rho).clone()
    arguments = plain(A), plain(b), plain(x0), plain(theta), plain(delta)
    launch("chebyshev", *arguments, out, norms, *kept, steps, resumed)
    return out, norms, *kept


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a problem stops.

    Args:
        tolerance: τ of R1 and R2.
        noise: the level of rounding in Aᵀr, for R3.
        patience: iterations without a new minimum of ‖Aᵀr‖ that count as rest, for R3.
        A_norm: ‖A‖_F, (B,).
        b_norm: ‖b‖, (B,).
    """

    tolerance: float
    noise: float
    patience: int
    A_norm: torch.Tensor
    b_norm: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class _Running:
    """The problems that go on: their places in the batch, their data, where the recurrence stands, ‖Aᵀr‖'s history."""

    place: torch.Tensor
    A: torch.Tensor
    b: torch.Tensor
    x: torch.Tensor
    theta: torch.Tensor
    delta: torch.Tensor
    direction: torch.Tensor
    rho: torch.Tensor
    A_norm: torch.Tensor
    b_norm: torch.Tensor
    best: torch.Tensor
    idle: torch.Tensor

    def take(self, chosen: torch.Tensor, **new: torch.Tensor) -> "_Running":
        return _Running(**{name: part[chosen] for name, part in {**vars(self), **new}.items()})


def iterate_in_chunks(
    A: torch.Tensor,
    b: torch.Tensor,
    x0: torch.Tensor,
    theta: torch.Tensor,
    delta: torch.Tensor,
    rules: Rules,
    *,
    max_iterations: int,
    record: bool,
) -> LstsqResult:
    """Iterate until the rules or the cap stop each problem, as `solvers._core.loop.iterate` does with single steps.

    Args:
        A: matrices of size 1, (B, m, n), float64 on the CPU.
        b: right-hand sides, (B, m).
        x0: starting points, (B, n).
        theta: the middle of the spectrum of AᵀA, (B,).
        delta: half its width, (B,).
        rules: when to stop.
        max_iterations: the cap.
        record: whether to keep the iterates.

    Returns:
        The result, flat.
    """
    x = x0.clone()
    place = torch.arange(len(x))
    status = torch.full_like(place, int(Status.MAX_ITERATIONS))
    iterations = torch.full_like(place, max_iterations)
    running = _Running(
        place=place,
        A=A,
        b=b,
        x=x0,
        theta=theta,
        delta=delta,
        direction=torch.zeros_like(x0),
        rho=torch.zeros_like(theta),
        A_norm=rules.A_norm,
        b_norm=rules.b_norm,
        best=torch.full_like(theta, float("inf")),
        idle=torch.full_like(place, -1),
    )
    trace: list[torch.Tensor] = []
    judged, chunk = 0, FIRST_CHUNK
    while len(running.place) and judged <= max_iterations:
        fitting = max(1, CHUNK_ENTRIES // running.x.numel())
        steps = min(chunk, fitting, max_iterations + 1 - judged)
        iterates, ruling, history = _chunk(running, rules, steps, resumed=judged > 0)
        ended = ruling != RUNNING
        last = torch.where(ended.any(dim=0), ended.int().argmax(dim=0), steps)
        done, at = last < steps, last.clamp(max=steps - 1)
        if record:
            trace.append(_frozen(x, running.place, iterates[:steps], at))
        x[running.place] = _picked(iterates, at)
        status[running.place[done]] = _picked(ruling, at)[done]
        iterations[running.place[done]] = judged + last[done]
        running = running.take(~done, x=iterates[-1], **history)
        judged, chunk = judged + steps, min(2 * chunk, LAST_CHUNK)
    kept = torch.cat(trace)[: int(iterations.max()) + 1] if trace else x[None] if record else None
    return LstsqResult(x=x, status=status, iterations=iterations, trace=kept)


def _chunk(
    running: _Running, rules: Rules, steps: int, *, resumed: bool
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Some steps, and the verdict on each iterate that they start from.

    Args:
        running: the problems.
        rules: when to stop.
        steps: their number.
        resumed: whether these are not the first.

    Returns:
        The iterates, (steps + 1, B, n); the verdicts, (steps, B); and what has changed of the problems.
    """
    r = running
    iterates, norms, direction, rho = watched_chebyshev(
        r.A, r.b, r.x, r.theta, r.delta, r.direction, r.rho, steps, resumed
    )
    r_norm, g_norm = norms.sqrt().unbind(dim=1)
    x_norm = norm(iterates[:steps])
    lowest = torch.cat([r.best[None], g_norm]).cummin(dim=0).values
    count = torch.arange(steps)[:, None]
    newest = torch.where(g_norm < lowest[:-1], count, -1 - r.idle).cummax(dim=0).values
    idle = count - newest
    met = paige_saunders(r_norm, g_norm, x_norm, r.A_norm, r.b_norm, rules.tolerance)
    rest = (idle >= rules.patience) & at_rest(g_norm, x_norm, r.A_norm, r.b_norm, rules.noise)
    history = {"direction": direction, "rho": rho, "best": lowest[-1], "idle": idle[-1]}
    ruling = ruled((met | rest) & readable(r.b_norm, iterates[:steps]), g_norm, x_norm)
    return iterates, ruling, history


def _picked(rows: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    return rows[at, torch.arange(rows.shape[1])]


def _frozen(x: torch.Tensor, place: torch.Tensor, iterates: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """The whole batch's iterates: a problem that has ended stays where it is.

    Args:
        x: where all are, (B, n).
        place: which of them are running.
        iterates: of those, (steps, …, n).
        at: the iterate at which each of them ends.

    Returns:
        (steps, B, n).
    """
    block = x.expand(len(iterates), *x.shape).clone()
    order = torch.minimum(torch.arange(len(iterates))[:, None], at)
    block[:, place] = iterates.gather(0, order[..., None].expand_as(iterates))
    return block
