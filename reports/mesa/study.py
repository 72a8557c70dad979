"""A mesa layer beside conjugate gradients with 1e-5 in the denominators, on the shapes that these are tested on.

    python reports/mesa/study.py

Shapes, keys, values, gates and λ are drawn as in the tests of flash-linear-attention's Mesa kernels, which solve
(H_t + Λ) y = q by d steps of conjugate gradients and add 1e-5 to both denominators of a step. The layer stands beside
that recurrence in plain torch, the recurrence without the 1e-5, and a Cholesky factor a token without refinement, which
tells what double-double adds. λ is as drawn there, between 0.6 and 0.8, or a millionth of that. All gradients are of
the solution: the adjoint system, solved the same way. There, sequences come in batches of up to 4 with up to 8 heads;
each head is a problem of its own, and two are measured. Errors are against interval arithmetic of 500 bits, at three
tokens; those of gradients, of a random function of these tokens. They are relative to the largest entry of what is
measured. A few minutes on one core.
"""

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import flint
import pandas as pd
import torch

from precisionlab.models import mesa
from precisionlab.precision import DTYPES
from precisionlab.report import Content, Measured, Study, Table, Text
from precisionlab.report.words import listed

SHAPES = (
    (63, 64, 0.8, 0.99),
    (500, 60, 0.8, 0.99),
    (1024, 128, 0.8, 0.99),
    (1024, 128, 0.01, 0.1),
    (1024, 128, 1.0, 1.0),
    (2048, 64, 0.8, 0.99),
)
"""Tokens, width of a head, and the ends of the decays."""
HEADS = 2
IN_FLOAT32 = SHAPES[:3]
SHIFTS = (1.0, 1e-6)
DENOMINATOR = 1e-5
SEED, CHUNK, BITS = 42, 64, 500
OURS, RIVAL, BARE, FACTOR = "precisionlab", "CG, 1e-5 added", "CG, nothing added", "Cholesky alone"

Solve = Callable[["Piece", torch.Tensor], torch.Tensor]


def drawn(shape: tuple[Any, ...], shift: float) -> list[torch.Tensor]:
    """Queries, keys, values, decays, strengths and λ, float64."""
    tokens, d, low, high = shape
    generator = torch.Generator().manual_seed(SEED)

    def uniform(*size: int) -> torch.Tensor:
        return torch.rand(*size, dtype=torch.float64, generator=generator)

    sequence = 1, tokens, HEADS
    q, v = uniform(*sequence, d) / 10, uniform(*sequence, d) / 10
    k = torch.nn.functional.normalize(uniform(*sequence, d), dim=-1)
    decay, strength = low + (high - low) * uniform(*sequence), uniform(*sequence).sigmoid()
    return [q, k, v, decay, strength, shift * (uniform(HEADS, d).sigmoid() * 0.75 + 0.25)]


class Piece(NamedTuple):
    """A chunk of tokens, (B, h, C, …), what they see of the state and of one another, and the states before them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    ridge: torch.Tensor
    c: torch.Tensor
    w: torch.Tensor
    H: torch.Tensor
    G: torch.Tensor

    def through(self, x: torch.Tensor) -> torch.Tensor:
        """(H_t + Λ) x_t."""
        return self.c * (x @ self.H) + (self.w * (x @ self.k.mT)) @ self.k + self.ridge * x

    def emitted(self, y: torch.Tensor) -> torch.Tensor:
        """G_tᵀ y_t."""
        return self.c * (y @ self.G) + (self.w * (y @ self.k.mT)) @ self.v

    def back(self, o: torch.Tensor) -> torch.Tensor:
        """G_t o_t."""
        return self.c * (o @ self.G.mT) + (self.w * (o @ self.v.mT)) @ self.k


def pieces(given: list[torch.Tensor]) -> Iterator[Piece]:
    """The chunks of a sequence, in the arithmetic of what is given."""
    q, k, v, decay, strength, ridge = given
    H = G = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], q.shape[3])
    for start in range(0, q.shape[1], CHUNK):
        q_, k_, v_ = (part[:, start : start + CHUNK].transpose(1, 2) for part in (q, k, v))
        g, strengths = (part[:, start : start + CHUNK].transpose(1, 2) for part in (decay.log(), strength))
        g = g.cumsum(dim=-1)
        w = (g.unsqueeze(-1) - g.unsqueeze(-2)).exp().tril() * strengths.unsqueeze(-2)
        piece = Piece(q_, k_, v_, ridge.unsqueeze(1), g.exp().unsqueeze(-1), w, H, G)
        yield piece
        last, wk = piece.c[:, :, -1:], piece.w[:, :, -1:].mT * k_
        H, G = last * H + wk.mT @ k_, last * G + wk.mT @ v_


def by_gradients(added: float) -> Solve:
    """Conjugate gradients from zero, as many steps as unknowns, with something added to both denominators."""

    def divided(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))

    def solve(piece: Piece, right: torch.Tensor) -> torch.Tensor:
        x, r, p = torch.zeros_like(right), right, right
        square = (r * r).sum(dim=-1, keepdim=True)
        for _ in range(right.shape[-1]):
            step = piece.through(p)
            size = divided(square, (p * step).sum(dim=-1, keepdim=True) + added)
            x, r = x + size * p, r - size * step
            before, square = square, (r * r).sum(dim=-1, keepdim=True)
            p = r + divided(square, before + added) * p
        return x

    return solve


def by_factor(piece: Piece, right: torch.Tensor) -> torch.Tensor:
    """A Cholesky factor of each H_t + Λ."""
    x = []
    for t in range(right.shape[2]):
        wk = piece.w[:, :, t, :, None] * piece.k
        H = piece.c[:, :, t, :, None] * piece.H + wk.mT @ piece.k + torch.diag_embed(piece.ridge[:, 0])
        factor, _ = torch.linalg.cholesky_ex(H)
        x.append(torch.cholesky_solve(right[:, :, t, :, None], factor).squeeze(-1))
    return torch.stack(x, dim=2)


def by_chunks(solve: Solve, given: list[torch.Tensor], bar: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs, and the gradients of all that is given from those of outputs, with (H + Λ) z = G bar solved for too."""
    given = [tensor.clone().requires_grad_() for tensor in given]
    outputs, loss = [], torch.zeros((), dtype=bar.dtype)
    for start, piece in zip(range(0, bar.shape[1], CHUNK), pieces(given), strict=False):
        part = bar[:, start : start + CHUNK].transpose(1, 2)
        with torch.no_grad():
            y, z = solve(piece, piece.q), solve(piece, piece.back(part))
        o = piece.emitted(y)
        loss = loss + (o * part).sum() + (z * (piece.q - piece.through(y))).sum()
        outputs.append(o.detach().transpose(1, 2))
    return torch.cat(outputs, dim=1), *torch.autograd.grad(loss, given)


def by_the_layer(given: list[torch.Tensor], bar: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Outputs and gradients of the layer."""
    given = [tensor.clone().requires_grad_() for tensor in given]
    o = mesa(*given).o
    return o.detach(), *torch.autograd.grad(o, given, bar)


METHODS: dict[str, Callable[..., tuple[torch.Tensor, ...]]] = {
    OURS: by_the_layer,
    RIVAL: lambda given, bar: by_chunks(by_gradients(DENOMINATOR), given, bar),
    BARE: lambda given, bar: by_chunks(by_gradients(0.0), given, bar),
    FACTOR: lambda given, bar: by_chunks(by_factor, given, bar),
}


def exactly(head: list[torch.Tensor], t: int, bar: torch.Tensor) -> list[torch.Tensor]:
    """Output at a token of one head, and the gradients of all that its tokens were given, rounded once.

    Args:
        head: Queries, keys, values, (T, d), decays and strengths, (T,), and λ, (d,).
        t: The token.
        bar: Its cotangent, (d,).

    Returns:
        o, (d,), and seven tensors of the shapes of what is given.
    """
    q, k, v, decay, strength, ridge = (tensor.double() for tensor in head)
    with flint.ctx.workprec(BITS):
        seen, d = range(t + 1), q.shape[1]
        K, V = (flint.arb_mat(part[: t + 1].tolist()) for part in (k, v))
        decays, strengths = decay.tolist(), strength.tolist()
        kept = [flint.arb(1)]
        for s in range(t, 0, -1):
            kept.insert(0, kept[0] * decays[s])
        w = [kept[s] * strengths[s] for s in seen]
        H = K.transpose() * _scaled(w, K)
        for j, own in enumerate(ridge.tolist()):
            H[j, j] += own
        y, out = H.solve(flint.arb_mat(d, 1, q[t].tolist())), flint.arb_mat(d, 1, bar.tolist())
        p, ov = K * y, V * out
        o = V.transpose() * _scaled(w, p)
        z = H.solve(K.transpose() * _scaled(w, ov))
        e = ov - K * z
        wp, we = _scaled(w, p), _scaled(w, e)
        slopes = [p[s, 0] * e[s, 0] for s in seen]
        of_strengths = [slope * kept[s] for s, slope in zip(seen, slopes, strict=True)]
        of_decays, passed = [], flint.arb(0)  # a decay weighs all tokens before it
        for s in seen:
            of_decays.append(passed / decays[s])
            passed += slopes[s] * w[s]
        found = [z.transpose(), we * y.transpose() - wp * z.transpose(), wp * out.transpose()]
        sequences = torch.zeros(3, *q.shape, dtype=torch.float64)
        sequences[0, t], sequences[1, : t + 1], sequences[2, : t + 1] = (_rounded(part) for part in found)
        gates = torch.zeros(2, len(q), dtype=torch.float64)
        gates[:, : t + 1] = _rounded(flint.arb_mat([of_decays, of_strengths]))
        of_ridge = -_rounded(flint.arb_mat([[y[j, 0] * z[j, 0] for j in range(d)]]))[0]
        return [_rounded(o.transpose())[0], *sequences, *gates, of_ridge]


def _scaled(w: list[Any], matrix: Any) -> Any:
    return flint.arb_mat([[weight * matrix[s, j] for j in range(matrix.ncols())] for s, weight in enumerate(w)])


def _rounded(matrix: Any) -> torch.Tensor:
    return torch.tensor([[float(x.mid()) for x in row] for row in matrix.table()], dtype=torch.float64)


def largest(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The largest difference relative to the largest entry."""
    return float((found.double() - exact).abs().max() / exact.abs().max())


def cell(shape: tuple[Any, ...], shift: float, dtype: str) -> list[dict[str, Any]]:
    """A row a method."""
    given = [tensor.to(DTYPES[dtype]) for tensor in drawn(shape, shift)]
    tokens, d, low, high = shape
    places = sorted({min(t, tokens - 1) for t in (d // 2, d, tokens - 1)})
    bar = torch.zeros(given[0].shape, dtype=DTYPES[dtype])
    generator = torch.Generator().manual_seed(SEED)
    bar[:, places] = torch.randn(1, len(places), HEADS, d, dtype=torch.float64, generator=generator).to(bar.dtype)
    heads = [[part[0, :, head] for part in given[:5]] + [given[5][head]] for head in range(HEADS)]
    exact = [[exactly(own, t, bar[0, t, head]) for t in places] for head, own in enumerate(heads)]
    summed = [[sum(parts) for parts in zip(*head, strict=True)][1:] for head in exact]
    rows = []
    for name, method in METHODS.items():
        begun = time.perf_counter()
        o, *found = method(given, bar)
        seconds = time.perf_counter() - begun
        errors = {
            "output": [largest(o[0, t, h], exact[h][i][0]) for h in range(HEADS) for i, t in enumerate(places)],
            "gradient": [
                largest(part[h] if len(part) == HEADS else part[0, :, h], wanted)
                for h in range(HEADS)
                for part, wanted in zip(found, summed[h], strict=True)
            ],
        }
        rows.append({
            "dtype": dtype,
            "method": name,
            "T": tokens,
            "d": d,
            "decay": f"{low:g} to {high:g}",
            "λ ×": shift,
            **{what: max(sizes) for what, sizes in errors.items()},
            "seconds": seconds,
        })
    return rows


def measured() -> pd.DataFrame:
    """Every shape, λ and dtype."""
    cells = [*product(SHAPES, SHIFTS, ("float64",)), *product(IN_FLOAT32, SHIFTS, ("float32",))]
    return pd.DataFrame([row for named in cells for row in cell(*named)])


def worst(frame: pd.DataFrame, dtype: str, method: str, shift: float | None = None) -> tuple[float, float]:
    """The largest errors of outputs and of gradients; NaN counts as the largest."""
    rows = frame[(frame["dtype"] == dtype) & (frame["method"] == method)]
    rows = rows if shift is None else rows[rows["λ ×"] == shift]
    o, gradient = (float(rows[what].fillna(float("inf")).max()) for what in ("output", "gradient"))
    return o, gradient


def headline(frame: pd.DataFrame) -> str:
    """The worst of the layer and of the recurrence, in float64."""
    o, gradient = worst(frame, "float64", OURS)
    told = "exact, rounded once" if o == 0 else f"off by {o:.1e}"
    rivals = [f"{worst(frame, 'float64', RIVAL, shift)[0]:.1e} at λ × {shift:g}" for shift in SHIFTS]
    return (
        f"A mesa layer is {told}, its gradients are off by {gradient:.1e} at most; conjugate gradients with "
        f"{DENOMINATOR:g} in the denominators by {listed(rivals)}"
    )


def by_ridge(frame: pd.DataFrame) -> str:
    """Every method at either λ, in both dtypes."""
    told = []
    for dtype, shift in product(DTYPES, SHIFTS):
        parts = [
            f"{name} {worst(frame, dtype, name, shift)[0]:.1e} ({worst(frame, dtype, name, shift)[1]:.1e})"
            for name in METHODS
        ]
        told.append(f"{dtype}, λ as drawn times {shift:g}: {listed(parts)}")
    return "Largest error of an output (and of a gradient). " + ". ".join(told) + "."


def cost(frame: pd.DataFrame) -> str:
    """Seconds of the layer over those of the others, in float64, forward and backward."""
    seconds = frame[frame["dtype"] == "float64"].pivot_table(
        index=["T", "d", "decay", "λ ×"], columns="method", values="seconds"
    )
    told = [
        f"{(seconds[OURS] / seconds[name]).min():.2g} to {(seconds[OURS] / seconds[name]).max():.2g} times {name}"
        for name in METHODS
        if name != OURS
    ]
    return f"Forward and backward, on one core, the layer takes {listed(told)}."


def page(frame: pd.DataFrame) -> Content:
    """What the page says."""
    return Content(
        title=headline(frame),
        sections=[
            Text(body=f"{by_ridge(frame)}\n\n{cost(frame)}"),
            Table(
                frame=frame,
                title="Every shape",
                caption="Errors relative to the largest entry, at three tokens of two heads; 0 is the exact value, "
                "rounded once. Seconds forward and backward, plain torch on a CPU. In float32 what is given is rounded "
                "to it, and exact from there.",
                formats={"output": ".1e", "gradient": ".1e", "seconds": ".1f", "λ ×": ".0e"},
            ),
        ],
        spread="one draw a shape",
    )


STUDY = Study(
    script=__file__,
    tables={
        "results": Measured(
            function=measured,
            settings={
                "shapes": [list(shape) for shape in SHAPES],
                "heads": HEADS,
                "shapes in float32": len(IN_FLOAT32),
                "λ": list(SHIFTS),
                "added": DENOMINATOR,
                "seed": SEED,
            },
        )
    },
    page=page,
)

if __name__ == "__main__":
    STUDY.main()
