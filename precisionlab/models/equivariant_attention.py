"""Equivariant attention: tokens hold vectors in Rⁿ, and weights act on the channels of a token alone.

    P_o(j) ← Σ_c M_oc P_c(j) + Σ_kvq T_okvq Σ_i P_v(i) ⟨P_k(i), P_q(j)⟩

Token i has channels P_c(i) ∈ Rⁿ. The first are what the prompt says, and are said again before every layer; the others
are the model's own and begin at zero. Keys and queries meet in an inner product over coordinates, values and what is
added are vectors, so a rotation of Rⁿ rotates whatever is emitted, and one set of weights serves every n and every
number of rows. Sums over tokens are means over the rows of the problem, unless `mean` is false.

A token holds one vector and one number (a_i and b_i), or vectors alone. With positions "token-type" token 0 is of a
kind of its own: its vector has a channel of its own, zero at every row, and rows have none there (the explicit
gradient's x₀). What is emitted, at token 0 or at every token, is

    Σ_c m_c P_c(j) + Σ_kvq t_kvq Σ_i P_v(i) ⟨P_k(i), P_q(j)⟩ + Σ_c r_c Σ_i P_c(i) b_i .

Order of evaluation. The sums over tokens are n×n matrices S_kv = Σ_i P_k(i) P_v(i)ᵀ, and a layer is one product
P_q · (M_q I + Σ_kv T_kvq S_kv) a channel. Where two terms cancel (2x − x(aᵀx) at convergence) they do so in the n×n
matrix, before anything is multiplied by them; summed as vectors, what rounding leaves outside the range of A would be
doubled at every layer.

Products of the same three channels in another order are the same polynomial where tokens are polynomials in AᵀA times
a_i; `ordered` keeps them apart, where tokens hold two unrelated vectors (Newton–Schulz).
"""

from itertools import product
from typing import Any, Literal

import torch
from torch import nn

from precisionlab.models.backbone import Shape
from precisionlab.models.config import ModelConfig
from precisionlab.models.mixer import mixer


@mixer("equivariant-attention")
class EquivariantAttention:
    """Settings of equivariant attention; the width of the model is the number of channels a token has.

    Args:
        mean: Whether sums over tokens are divided by the number of rows.
        numbers: Numbers that a token holds beside its vectors.
        ordered: Whether products of the same channels in another order are terms of their own.
    """

    mean: bool = True
    numbers: Literal[0, 1] = 1
    ordered: bool = False

    def build(self, *, width: int, tokens: int) -> nn.Module:
        """Refuse to be a layer: features that are not told apart into vectors have no channels.

        Args:
            width: Features of a token.
            tokens: Tokens of a prompt.

        Raises:
            TypeError: Always; `backbone` makes the whole model.
        """
        raise TypeError(f"equivariant-attention makes a whole model, no layer of {width} features and {tokens} tokens")

    def backbone(
        self,
        config: ModelConfig,
        shape: Shape,
        *,
        loops: int = 1,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator | None = None,
    ) -> "EquivariantStack":
        """Make the whole model: weights on channels leave no room for a read-in of features.

        Args:
            config: Whose mixer this is.
            shape: What is read and emitted in training.
            loops: Not more than one.
            dtype: float32 or float64.
            generator: Source of the initial weights; None leaves them zero.

        Returns:
            The model.

        Raises:
            ValueError: If the configuration asks for what this model has not.
        """
        if loops > 1 or config.mlp or config.layer_norm or config.positions == "learned":
            raise ValueError("equivariant-attention: is not looped, and has no perceptron, norm or learned positions")
        return self._stack(config, shape, dtype=dtype, generator=generator)

    def _stack(self, *args: Any, **kwargs: Any) -> "EquivariantStack":
        return EquivariantStack(self, *args, **kwargs)


class EquivariantStack(nn.Module):
    """Hidden layers that update the model's own channels, and one that emits; ``layers`` counts them all.

    Its prompts may be of any n and any number of tokens, whatever those of its training were.

    Args:
        mixer: Settings of the mixer.
        config: Width (channels), layers and positions.
        shape: What is read and emitted in training; another n is read off the prompt.
        dtype: float32 or float64.
        generator: Source of the initial weights; None leaves them zero.

    Raises:
        ValueError: If the prompt has another form, or there are fewer channels than it fills.
    """

    any_size = True

    def __init__(
        self,
        mixer: EquivariantAttention,
        config: ModelConfig,
        shape: Shape,
        *,
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.mixer, self.config, self.shape = mixer, config, shape
        self.numbers: int = mixer.numbers
        self.vectors, rest = divmod(shape.in_features - self.numbers, shape.out_features)
        self.typed = config.positions == "token-type"
        self.given = self.vectors + self.typed
        if rest or not self.vectors or (self.typed and self.vectors > 1):
            raise ValueError(
                f"equivariant-attention: a token of {shape.in_features} features is not made of vectors of "
                f"{shape.out_features} and {self.numbers} numbers"
            )
        if config.width < self.given:
            raise ValueError(f"width: got {config.width} channels, the prompt fills {self.given}")
        self.own = config.width - self.given
        every = product(range(config.width), repeat=3)
        self.products = [(k, v, q) for k, v, q in every if mixer.ordered or k <= v <= q]
        """Key, value and query of each product; the newest channel is the query, so that what it lacks it keeps."""
        self.hidden = config.layers - 1
        self.mix = nn.Parameter(torch.zeros(self.hidden, self.own, config.width))
        self.attention = nn.Parameter(torch.zeros(self.hidden, self.own, len(self.products)))
        self._made(config.width, self.products)
        self.to(dtype)
        if generator is not None:
            with torch.no_grad():
                for parameter in self.parameters():
                    draw = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
                    parameter.copy_(draw / len(self.products) ** 0.5)

    def _made(self, channels: int, products: list[tuple[int, int, int]]) -> None:
        """Weights of the last layer, for a reader of so many channels."""
        self.reading = products
        self.emit_mix = nn.Parameter(torch.zeros(channels))
        self.emit_attention = nn.Parameter(torch.zeros(len(products)))
        self.emit_read = nn.Parameter(torch.zeros(self.config.width if self.numbers else 0))

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the answer to each prompt.

        Args:
            prompt: (B, T, F), of the model's dtype; F may be that of another n than in training.

        Returns:
            (B, n), or (B, T, n) where every token emits.
        """
        tokens, numbers = self.read(prompt)
        for mix, attention in zip(self.mix, self.attention, strict=True):
            tokens = self.next(tokens, mix, attention)
        return self.emitted(self.readers(tokens), tokens, numbers)

    def by_residual(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the same answer by another order of evaluation, which rounding harms less.

        Where the last hidden layer is α x − β Σ_i x_i (a_i·x) and its x is read against b, with z = Σ_i x_i b_i before
        that layer the answer is (α − β) z + β Σ_i x_i (b_i − a_i·z): near convergence a small correction to z.

        Args:
            prompt: (B, T, F), of the model's dtype.

        Returns:
            (B, n).

        Raises:
            ValueError: If the last layers are others.
        """
        terms = [*self.mix[-1:].flatten().tolist(), *self.attention[-1:].flatten().tolist()]
        pure = {1, self.config.width + self.products.index((0, 1, 1))} if self.config.width == 2 else set()
        if not pure or any(weight for place, weight in enumerate(terms) if place not in pure) or self.typed:
            raise ValueError("by_residual: wants a last hidden layer of x and x(a·x) alone")
        if self.emit_read.tolist() != [0.0, 1.0] or bool(self.emit_mix.any()) or bool(self.emit_attention.any()):
            raise ValueError("by_residual: wants an answer that is x read against b")
        tokens, numbers = self.read(prompt)
        for mix, attention in zip(self.mix[:-1], self.attention[:-1], strict=True):
            tokens = self.next(tokens, mix, attention)
        a, x = tokens
        alpha, beta = (terms[place] for place in sorted(pure))
        z = (numbers.unsqueeze(-2) @ x) / self.rows(tokens)
        left = numbers.unsqueeze(-2) - z @ a.mT
        emitted: torch.Tensor = (alpha + beta) * z - beta * (left @ x) / self.rows(tokens)
        return emitted[:, 0]

    def read(self, prompt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The channels of each token before the first layer, and its number.

        Args:
            prompt: (B, T, F).

        Returns:
            (C, B, T, n), and (B, T), empty where tokens have none.

        Raises:
            ValueError: If F fits no n.
        """
        if prompt.dim() != 3 or (prompt.shape[-1] - self.numbers) % self.vectors:
            wants = f"(batch, tokens, {self.vectors} n + {self.numbers})"
            raise ValueError(f"prompt: got shape {tuple(prompt.shape)}, want {wants}")
        batch, count, features = prompt.shape
        n = (features - self.numbers) // self.vectors
        given = prompt[..., : self.vectors * n].reshape(batch, count, self.vectors, n).movedim(2, 0)
        if self.typed:
            first = torch.zeros_like(given)
            first[:, :, 0] = given[:, :, 0]
            given = torch.cat([given - first, first])
        own = given.new_zeros(self.own, batch, count, n)
        return torch.cat([given, own]), prompt[..., self.vectors * n :].squeeze(-1)

    def next(self, tokens: torch.Tensor, mix: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        """One hidden layer.

        Args:
            tokens: (C, B, T, n).
            mix: M, (own channels, C).
            attention: T, (own channels, products).

        Returns:
            (C, B, T, n).
        """
        sums = self._sums(tokens)
        own = [_combined(tokens, sums, self.products, m, t) for m, t in zip(mix, attention, strict=True)]
        return torch.stack([*tokens[: self.given], *own])

    def emitted(self, readers: torch.Tensor, tokens: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """The last layer.

        Args:
            readers: (C', B, R, n), of which the answer is a sum.
            tokens: (C, B, T, n).
            numbers: (B, T).

        Returns:
            (B, n), or (B, T, n).
        """
        answer = self.sum(readers, tokens, numbers, self.emit_mix, self.emit_attention, self.emit_read)
        return answer if self.shape.every_token else answer[:, 0]

    def terms(self, readers: torch.Tensor, tokens: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """What the last layer emits for a weight of one in each place.

        Args:
            readers: (C', B, R, n).
            tokens: (C, B, T, n).
            numbers: (B, T).

        Returns:
            (B, n, places) or (B, T, n, places), in the order mix, attention, read.
        """
        stacked = torch.stack(self.parts(readers, tokens, numbers), dim=-1)
        return stacked if self.shape.every_token else stacked[:, 0]

    def readers(self, tokens: torch.Tensor) -> torch.Tensor:
        """The channels that the last layer adds to: those of token 0, or of every token.

        Args:
            tokens: (C, B, T, n).

        Returns:
            (C, B, R, n).
        """
        return tokens if self.shape.every_token else tokens[:, :, :1]

    def sum(
        self,
        readers: torch.Tensor,
        tokens: torch.Tensor,
        numbers: torch.Tensor,
        mix: torch.Tensor,
        attention: torch.Tensor,
        read: torch.Tensor,
    ) -> torch.Tensor:
        """One channel of the reading tokens: Σ of the parts with these weights.

        Args:
            readers: (C', B, R, n).
            tokens: (C, B, T, n).
            numbers: (B, T).
            mix: (C').
            attention: (products).
            read: (C), or empty.

        Returns:
            (B, R, n).
        """
        answer = _combined(readers, self._sums(tokens), self.reading, mix, attention)
        if self.numbers:
            weighted = torch.einsum("c,cbtn->btn", read, tokens)
            answer = answer + (numbers.unsqueeze(-2) @ weighted) / self.rows(tokens)
        return answer

    def parts(self, readers: torch.Tensor, tokens: torch.Tensor, numbers: torch.Tensor) -> list[torch.Tensor]:
        """What `sum` adds up, each (B, R, n), in the order mix, attention, read.

        Args:
            readers: (C', B, R, n).
            tokens: (C, B, T, n).
            numbers: (B, T).

        Returns:
            The parts.
        """
        sums = self._sums(tokens)
        parts = [*readers, *(readers[query] @ sums[key, value] for key, value, query in self.reading)]
        if self.numbers:
            parts += [(numbers.unsqueeze(-2) @ channel) / self.rows(tokens) for channel in tokens]
        return parts

    def multiplied(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The products of three channels at every token.

        Args:
            tokens: (C, B, T, n).

        Returns:
            One (B, T, n) a product.
        """
        sums = self._sums(tokens)
        return [tokens[query] @ sums[key, value] for key, value, query in self.products]

    def rows(self, tokens: torch.Tensor) -> int:
        """What sums over tokens, (C, B, T, n), are divided by."""
        return tokens.shape[2] - self.typed if self.mixer.mean else 1

    def _sums(self, tokens: torch.Tensor) -> dict[tuple[int, int], torch.Tensor]:
        """S_kv = Σ_i P_k(i) P_v(i)ᵀ, (B, n, n), of every pair that is a product's key and value."""
        pairs = sorted({(key, value) for key, value, _ in self.products})
        return {(key, value): tokens[key].mT @ tokens[value] / self.rows(tokens) for key, value in pairs}


def _combined(
    readers: torch.Tensor,
    sums: dict[tuple[int, int], torch.Tensor],
    products: list[tuple[int, int, int]],
    mix: torch.Tensor,
    attention: torch.Tensor,
) -> torch.Tensor:
    """Σ_q P_q · (M_q I + Σ_kv T_kvq S_kv): what cancels does so in the n×n matrix."""
    identity = torch.eye(readers.shape[-1], dtype=readers.dtype, device=readers.device)
    total = torch.zeros_like(readers[0])
    for query, channel in enumerate(readers):
        matrix = mix[query] * identity
        for weight, (key, value, place) in zip(attention, products, strict=True):
            if place == query:
                matrix = matrix + weight * sums[key, value]
        total = total + channel @ matrix
    return total
