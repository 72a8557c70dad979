"""A mesa layer and its gradient in double-double arithmetic, 64 tokens at a time.

    o_t = G_tᵀ y_t,   (H_t + Λ) y_t = q_t,   H_t = c_t H_0 + Σ_s w_ts k_s k_sᵀ,   G_t = c_t G_0 + Σ_s w_ts k_s v_sᵀ

c and w are products of decays, without a division. y is solved for by a Cholesky factor of H_t + Λ in float64 and
refinement, and sums over coordinates and tokens are exact float64 products of slices (`matmul`).

The gradient, with (H_t + Λ) z_t = G_t ō_t, p_ts = k_s·y_t and e_ts = ō_t·v_s − k_s·z_t:

    q̄_t = z_t,   k̄_s = Σ_t w_ts (e_ts y_t − p_ts z_t),   v̄_s = Σ_t w_ts p_ts ō_t,   w̄_ts = p_ts e_ts,
    λ̄ = −Σ_t y_t ∘ z_t

and through the states that a chunk leaves, which weigh its tokens as its last one does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from solvers._core.double_double import DD, add, dot, from_double, multiply, subtract, total, two_sum
from solvers._core.scaling import exponent, ldexp

CHUNK = 64
_REST = 2.0**-96
"""A relatively smaller correction is the last, as is one that is not half of the one before."""
_UNSETTLED = 2.0**-48
"""A relatively larger last correction says that the factor does not serve."""
_MOST_CORRECTIONS = 12


class Swept(NamedTuple):
    """What a sweep over the tokens gives.

    Args:
        o: Outputs, (N, T, v).
        H: After the last token, (N, d, d).
        G: After the last token, (N, d, v).
        chunks: The tokens, and the states before them.
        solutions: y of each chunk, (N, C, d).
    """

    o: torch.Tensor
    H: DD
    G: DD
    chunks: list["_Chunk"]
    solutions: list[DD]


class _Chunk(NamedTuple):
    """Tokens of N heads, (N, C, …), and the states before them."""

    q: DD
    k: DD
    v: DD
    decay: DD
    strength: DD
    ridge: DD  # (N, 1, d)
    H: DD
    G: DD

    def weights(self) -> tuple[DD, DD]:
        """What each token sees of the state, c (N, C, 1), and of each token, w (N, C, C), zero where it is to come."""
        heads, length, _ = self.k.hi.shape
        row, rows = from_double(torch.eye(1, 1 + length).to(self.k.hi).repeat(heads, 1)), []
        for t in range(length):
            row = multiply(row, from_double(self.decay.hi[:, t, None]))
            row.hi[:, 1 + t] = self.strength.hi[:, t]
            rows.append(row)
        every = DD(*(torch.stack(parts, dim=1) for parts in zip(*rows, strict=True)))
        return _each(every, lambda part: part[..., :1]), _each(every, lambda part: part[..., 1:])

    def factors(self) -> torch.Tensor:
        """Cholesky factors of all H_t + Λ, (N, C, d, d), in float64."""
        H, k, ridge, made = self.H.hi, self.k.hi, torch.diag_embed(self.ridge.hi[:, 0]), []
        for t in range(k.shape[1]):
            seen = self.strength.hi[:, t, None, None] * k[:, t, :, None] * k[:, t, None, :]
            H = self.decay.hi[:, t, None, None] * H + seen
            made.append(H + ridge)
        factors: torch.Tensor
        factors, failed = torch.linalg.cholesky_ex(torch.stack(made, dim=1))
        if failed.any() and torch.isfinite(made[-1]).all():
            raise self._too_small()
        return factors

    def _too_small(self) -> ValueError:
        return ValueError(f"ridge: got as little as {float(self.ridge.hi.min()):.1e}, too small beside the keys")

    def solved(self, right: DD, factors: torch.Tensor, c: DD, w: DD) -> DD:
        """Solve (H_t + Λ) x_t = right_t, (N, C, d)."""
        x, rest = _each(right, torch.zeros_like), right
        sizes = torch.zeros_like(right.hi[..., 0])
        settled = sizes > 0
        for place in range(_MOST_CORRECTIONS):
            change = torch.cholesky_solve(rest.hi.unsqueeze(-1), factors).squeeze(-1)
            x, before, sizes = add(x, from_double(change)), sizes, change.norm(dim=-1)
            settled = settled | (sizes <= _REST * x.hi.norm(dim=-1)) | ((sizes > before / 2) & (place > 0))
            if bool(settled.all()):
                break
            seen = add(multiply(c, matmul(x, self.H)), matmul(multiply(w, matmul(x, _turned(self.k))), self.k))
            rest = subtract(subtract(right, multiply(self.ridge, x)), seen)
        if (sizes > _UNSETTLED * x.hi.norm(dim=-1)).any():
            raise self._too_small()
        return x


def _each(a: DD, change: Callable[[torch.Tensor], torch.Tensor]) -> DD:
    return DD(change(a.hi), change(a.lo))


def _turned(a: DD) -> DD:
    return _each(a, lambda part: part.mT)


def _last(weights: DD) -> DD:
    """Those of the last token, (N, 1, …)."""
    return _each(weights, lambda part: part[:, -1:])


def symmetric(matrix: torch.Tensor) -> DD:
    """(A + Aᵀ)/2 in double-double, exactly.

    Args:
        matrix: A, (N, d, d), float64.

    Returns:
        (N, d, d).
    """
    return add(from_double(matrix / 2), from_double(matrix.mT / 2))


def sweep(sequences: list[torch.Tensor], ridge: torch.Tensor, H: DD, G: DD) -> Swept:
    """The layer over the tokens of N heads.

    Args:
        sequences: Queries, keys and values, (N, T, …), decays and strengths, (N, T), float64.
        ridge: λ, (N, d).
        H: Before the first token, symmetric, (N, d, d).
        G: Before the first token, (N, d, v).

    Returns:
        Outputs, last states, and what the gradient needs.
    """
    outputs, chunks, solutions = [], [], []
    for parts in zip(*(torch.split(sequence, CHUNK, dim=1) for sequence in sequences), strict=True):
        q, k, v, decay, strength, own = map(from_double, (*parts, ridge.unsqueeze(1)))
        here = _Chunk(q, k, v, decay, strength, own, H, G)
        c, w = here.weights()
        y = here.solved(here.q, here.factors(), c, w)
        p = matmul(y, _turned(here.k))
        outputs.append(add(multiply(c, matmul(y, G)), matmul(multiply(w, p), here.v)).hi)
        chunks.append(here)
        solutions.append(y)
        wk = multiply(_turned(here.k), _last(w))
        H = add(multiply(_last(c), H), matmul(wk, here.k))
        G = add(multiply(_last(c), G), matmul(wk, here.v))
    return Swept(torch.cat(outputs, dim=1), H, G, chunks, solutions)


def pull_back(swept: Swept, o: torch.Tensor, H: DD, G: DD) -> tuple[torch.Tensor, ...]:
    """The gradients of all that `sweep` was given.

    Args:
        swept: What it gave.
        o: Gradient of the outputs, (N, T, v).
        H: Of the last H, symmetric, (N, d, d).
        G: Of the last G, (N, d, v).

    Returns:
        Those of the five sequences, of λ, (N, d), and of the first H and G.
    """
    gradients, ridge = [], from_double(torch.zeros_like(swept.chunks[0].ridge.hi[:, 0]))
    parts = torch.split(o, CHUNK, dim=1)
    for here, y, part in zip(swept.chunks[::-1], swept.solutions[::-1], parts[::-1], strict=True):
        k, v, out, (c, w) = here.k, here.v, from_double(part), here.weights()
        p, ov = matmul(y, _turned(k)), matmul(out, _turned(v))
        right = add(multiply(c, matmul(out, _turned(here.G))), matmul(multiply(w, ov), k))
        z = here.solved(right, here.factors(), c, w)
        e = subtract(ov, matmul(z, _turned(k)))
        we, wp = _turned(multiply(w, e)), _turned(multiply(w, p))
        kH, kG, end = matmul(k, H), matmul(k, G), _turned(_last(w))
        after = multiply(end, add(add(kH, kH), matmul(v, _turned(G))))
        key = add(subtract(matmul(we, y), matmul(wp, z)), after)
        value = add(matmul(wp, out), multiply(end, kG))
        seen = subtract(dot(matmul(y, here.G), out), dot(matmul(y, here.H), z))
        left = add(_flat_dot(H, here.H), _flat_dot(G, here.G)), add(dot(kH, k), dot(kG, v))
        decay, strength = _through_weights(here, c, w, seen, multiply(p, e), left)
        gradients.append((z.hi, key.hi, value.hi, decay, strength))
        ridge = subtract(ridge, total(multiply(y, z), dim=1))
        cy, cz = _turned(multiply(c, y)), _turned(multiply(c, z))
        yz = _each(add(matmul(cz, y), _turned(matmul(cz, y))), lambda part: part / 2)
        H = subtract(multiply(_last(c), H), yz)
        G = add(multiply(_last(c), G), matmul(cy, out))
    sequences = (torch.cat(chunks[::-1], dim=1) for chunks in zip(*gradients, strict=True))
    return *sequences, ridge.hi, H.hi, G.hi


def _flat_dot(a: DD, b: DD) -> DD:
    return dot(_each(a, lambda part: part.flatten(1)), _each(b, lambda part: part.flatten(1)))


def _through_weights(
    here: _Chunk, c: DD, w: DD, seen: DD, tokens: DD, left: tuple[DD, DD]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of decays and strengths, (N, C), from those of c (N, C), of w (N, C, C), and of the last row."""
    decays, strengths = [], []
    at_state, at_tokens = left
    for t in reversed(range(here.k.hi.shape[1])):
        at_state, at_tokens = add(at_state, _at(seen, t)), add(at_tokens, _at(tokens, t))
        strengths.append(at_tokens.hi[:, t])
        kept = at_state  # by the first token there is the state alone, whole
        if t:
            kept = add(multiply(at_state, _at(_at(c, t - 1), 0)), dot(at_tokens, _at(w, t - 1)))
        decays.append(kept.hi)
        step = from_double(here.decay.hi[:, t])
        at_state, at_tokens = multiply(at_state, step), multiply(at_tokens, _each(step, lambda part: part[:, None]))
    return torch.stack(decays[::-1], dim=1), torch.stack(strengths[::-1], dim=1)


def _at(a: DD, t: int) -> DD:
    return _each(a, lambda part: part[:, t])


def matmul(a: DD, b: DD) -> DD:
    """A B, to k·2⁻⁹⁶ of the largest magnitudes in row and column.

    Args:
        a: (..., m, k), k at most 1,024.
        b: (..., k, n).

    Returns:
        (..., m, n).
    """
    # Rows of A and columns of B in five slices of so few bits that float64 sums of products of them are exact, in any
    # order (Ozaki, Ogita, Oishi and Rump, Numer. Algorithms 59 (2012)). What is below 2⁻⁹⁶⁸ is lost.
    count = 5
    bits = (53 - math.ceil(math.log2(count * a.hi.shape[-1]))) // 2
    left, right = _slices(a, -1, bits, count), _slices(b, -2, bits, count)
    result = from_double(torch.cat(left, -1) @ torch.cat(right[::-1], -2))
    for last in range(count - 1, 0, -1):
        result = add(from_double(torch.cat(left[:last], -1) @ torch.cat(right[:last][::-1], -2)), result)
    return result


def _slices(a: DD, dim: int, bits: int, count: int) -> list[torch.Tensor]:
    """The leading slices of numbers, in units of 2^(e − bits), 2^(e − 2 bits), …, 2^e above all along a dimension."""
    top, found = exponent(a.hi, dim).unsqueeze(dim), []
    for place in range(1, count + 1):
        # Added to a number of [2⁵², 2⁵³) units, a sum is rounded to whole ones.
        shift = ldexp(torch.full_like(a.hi[..., :1, :1], 1.5), 52 - place * bits + top)
        found.append((a.hi + shift) - shift)
        a = two_sum(a.hi - found[-1], a.lo)
    return found
