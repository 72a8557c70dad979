"""A mesa layer: at every token, the ridge regression of the values so far on the keys so far, applied to a query.

    o_t = G_tᵀ y_t,   (H_t + Λ) y_t = q_t,   H_t = γ_t H_(t−1) + β_t k_t k_tᵀ,   G_t = γ_t G_(t−1) + β_t k_t v_tᵀ

with decays γ, strengths β and Λ = diag(λ) > 0. For γ = β = 1, keys a_i and values b_i it emits q_t·x, x the solution
of damped least squares over the first t rows: one layer is a solver.

Accuracy: H has the squared condition of the rows. y is up to 1/√λ times as large as what G_tᵀ y_t keeps of it, and a y
that is rounded to float64 has lost that. So y stays in double-double from the solve to the sum (`mesa_double_double`).

Cost: d³/3 a token and head for a Cholesky factor, and about 30 d (2 d + 64) products for each of two to five
refinements and as much for the sums. Memory: 64 factors a head at a time; for the gradient two states a chunk in
double-double. Linear in the number of tokens.

Reference: von Oswald et al., MesaNet, arXiv 2506.05233.
"""

from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn

from precisionlab.models.mesa_double_double import pull_back, sweep, symmetric
from precisionlab.models.mixer import mixer
from precisionlab.models.visibility import split, want_heads
from solvers._core.double_double import from_double
from solvers.fused import transformed


class Mixed(NamedTuple):
    """What a mesa layer emits, and what it leaves.

    Args:
        o: Outputs, (B, T, h, v).
        keys: H after the last token, (B, h, d, d).
        values: G after the last token, (B, h, d, v).
    """

    o: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


def mesa_by_the_formula(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decay: torch.Tensor,
    strength: torch.Tensor,
    ridge: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
) -> Mixed:
    """The reference, in plain torch and the dtype it is given: token by token, off by u ‖H‖/λ and more.

    Args:
        q: (B, T, h, d).
        k: (B, T, h, d).
        v: (B, T, h, v).
        decay: (B, T, h).
        strength: (B, T, h).
        ridge: (h, d).
        keys: (B, h, d, d).
        values: (B, h, d, v).

    Returns:
        As `mesa`.
    """
    H, G, o = (keys + keys.mT) / 2, values, []
    for t in range(q.shape[1]):
        kept, column = decay[:, t, :, None, None], (strength[:, t, :, None] * k[:, t]).unsqueeze(-1)
        H, G = kept * H + column * k[:, t].unsqueeze(-2), kept * G + column * v[:, t].unsqueeze(-2)
        y = torch.linalg.solve(H + torch.diag_embed(ridge), q[:, t])
        o.append((y.unsqueeze(-2) @ G).squeeze(-2))
    return Mixed(torch.stack(o, dim=1), H, G)


def mesa(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    decay: torch.Tensor,
    strength: torch.Tensor,
    ridge: torch.Tensor,
    keys: torch.Tensor | None = None,
    values: torch.Tensor | None = None,
) -> Mixed:
    """A mesa layer, differentiable in all that it is given, and twice.

    Second derivatives, and those inside torch.func transforms, are of the plain formula, with its accuracy.

    Args:
        q: Queries, (B, T, h, d), float32 or float64.
        k: Keys, (B, T, h, d).
        v: Values, (B, T, h, v).
        decay: γ, (B, T, h), from 0 to 1.
        strength: β, (B, T, h), not negative.
        ridge: λ, (h, d), positive.
        keys: H before the first token, (B, h, d, d), whose symmetric part is taken; None for zero.
        values: G before the first token, (B, h, d, v); None for zero.

    Returns:
        Outputs and last states, in the dtype of q.

    Raises:
        ValueError: If shapes do not fit, or some λ is so small beside H that float64 cannot factor H + Λ well enough.

    Error:
        Of outputs and gradients: 2 u of the largest entry, for every condition of H + Λ up to about 1e14.
        States are rounded where they are returned: a sequence that is cut in two there has been perturbed by u.
    """
    batch, tokens, heads, d = q.shape
    keys = q.new_zeros(batch, heads, d, d) if keys is None else keys
    values = q.new_zeros(batch, heads, d, v.shape[-1]) if values is None else values
    for name, tensor, shape in (
        ("k", k, q.shape),
        ("v", v, (batch, tokens, heads, v.shape[-1])),
        ("decay", decay, (batch, tokens, heads)),
        ("strength", strength, (batch, tokens, heads)),
        ("ridge", ridge, (heads, d)),
        ("keys", keys, (batch, heads, d, d)),
        ("values", values, (batch, heads, d, v.shape[-1])),
    ):
        if tensor.shape != shape or not tokens:
            raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, want {tuple(shape)}, of a token or more")
    given = [tensor.double() for tensor in (q, k, v, decay, strength, ridge, keys, values)]
    emitted = mesa_by_the_formula(*given) if transformed(*given) else _applied(_Mesa, *given)
    return Mixed(*(part.to(q.dtype) for part in emitted))


@mixer("mesa")
class Mesa:
    """Settings of a mesa layer.

    Args:
        heads: Number of heads; divides the width.
        gated: Whether decays and strengths are learned functions of the token; else both are 1.
        floor: What λ is above.
    """

    heads: PositiveInt = 1
    gated: bool = True
    floor: PositiveFloat = 1e-6
    causal: ClassVar[bool] = True

    def build(self, *, width: int, tokens: int) -> "MesaLayer":
        """Make a layer."""
        del tokens
        return MesaLayer(self, width)


class MesaLayer(nn.Module):
    """A multi-head mesa layer: decays sigmoid(4 + ·), strengths sigmoid(·), λ = floor + softplus(ridge).

    Args:
        settings: Heads, gates and the least λ.
        width: Features of a token, w.
    """

    def __init__(self, settings: Mesa, width: int) -> None:
        super().__init__()
        want_heads(settings.heads, width)
        self.settings = settings
        self.qkv = nn.Linear(width, 3 * width)
        self.gates = nn.Linear(width, 2 * settings.heads) if settings.gated else None
        self.ridge = nn.Parameter(torch.zeros(settings.heads, width // settings.heads))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, readers: slice = slice(None)) -> torch.Tensor:
        """Mix the tokens: (B, Q, w)."""
        heads = self.settings.heads
        q, k, v = (part.transpose(1, 2) for part in split(self.qkv(tokens), heads))
        decay = strength = torch.ones_like(q[..., 0])
        if self.gates is not None:
            decay, strength = self.gates(tokens).split(heads, dim=-1)
            decay, strength = torch.sigmoid(4 + decay), torch.sigmoid(strength)
        ridge = self.settings.floor + nn.functional.softplus(self.ridge)
        y: torch.Tensor = self.out(mesa(q, k, v, decay, strength, ridge).o[:, readers].flatten(-2))
        return y


class _Mesa(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        *sequences, ridge, keys, values = given
        batch = len(keys)
        H, G = symmetric(keys.flatten(0, 1)), from_double(values.flatten(0, 1))
        swept = sweep([_together(part) for part in sequences], ridge.repeat(batch, 1), H, G)
        ctx.swept = swept
        ctx.save_for_backward(*given)
        return _apart(swept.o, batch).transpose(1, 2), _apart(swept.H.hi, batch), _apart(swept.G.hi, batch)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return _applied(_MesaGradient, ctx.swept, *ctx.saved_tensors, *cotangents)


class _MesaGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, swept: Any, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(*given)
        o, keys, values = given[8:]
        batch = len(o)
        found = pull_back(swept, _together(o), symmetric(keys.flatten(0, 1)), from_double(values.flatten(0, 1)))
        *sequences, ridge, H, G = (_apart(part, batch) for part in found)
        return *(part.transpose(1, 2) for part in sequences), ridge.sum(dim=0), H, G

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with torch.enable_grad():
            given = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            emitted = mesa_by_the_formula(*given[:8])
            first = torch.autograd.grad(emitted, given[:8], given[8:], create_graph=True)
            return None, *torch.autograd.grad(first, given, cotangents, materialize_grads=True)


def _applied(function: Any, *given: Any) -> tuple[torch.Tensor, ...]:
    results: tuple[torch.Tensor, ...] = function.apply(*given)
    return results


def _together(sequences: torch.Tensor) -> torch.Tensor:
    """(B, T, h, …) as (B h, T, …)."""
    return sequences.transpose(1, 2).flatten(0, 1)


def _apart(heads: torch.Tensor, batch: int) -> torch.Tensor:
    """(B h, …) as (B, h, …)."""
    return heads.reshape(batch, -1, *heads.shape[1:])
