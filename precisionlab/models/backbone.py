"""The backbone every mixer stands in: read-in, positions, layers, read-out.

    X₀ = read_in(prompt) + positions;   X_{l+1} = X_l + mixer_l(X_l);   emitted = read_out(X_L at the reading token)

A looped model goes on from its own answer, so that one block of layers does k steps of an algorithm (Yang et al., ICLR
2024, arXiv 2311.12424).

LayerNorm before each mixer, a perceptron after it, and no residual connections are switches for ablations.

Positions. "token-type" gives one vector to token 0, one to the reading token where that is the last, and another to all
the rest: the model then works for any number of rows, and attention does not depend on their order. "learned"
gives each token its own, as in the paper. "none" gives none.

Initialisation. Weights are N(0, 1/fan-in), but for what a mixer's `initial` says of its own. Positions are N(0, 1):
telling token 0 from the rows is what the model must learn first (see docs/precision.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from precisionlab.models.config import ModelConfig
from precisionlab.models.initial import by_fan_in

READERS = {"first": slice(0, 1), "last": slice(-1, None)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a model reads and emits.

    Args:
        in_features: Features of a prompt's token, F.
        out_features: Features of an answer, E.
        tokens: Tokens of a prompt, T; only "learned" positions fix it.
        every_token: Whether there is an answer at every token, or one.
    """

    in_features: int
    out_features: int
    tokens: int
    every_token: bool = False


def build(
    config: ModelConfig,
    shape: Shape,
    *,
    loops: int = 1,
    dtype: torch.dtype = torch.float64,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """The model of a configuration: what its mixer makes of it where it has a say, else a backbone.

    Args:
        config: Mixers, and how they are put together.
        shape: What is read and emitted.
        loops: How many times over the layers are applied.
        dtype: float32 or float64.
        generator: Source of the initial weights; None leaves them as they come (for loading a checkpoint).

    Returns:
        A module from prompts (B, T, F) to (B, E), or (B, T, E) where every token emits.
    """
    made: Callable[..., nn.Module] = getattr(config.mixer, "backbone", Backbone)
    return made(config, shape, loops=loops, dtype=dtype, generator=generator)


class Perceptron(nn.Sequential):
    """Two layers with GELU between them, for each token alone.

    Args:
        width: Features of a token.
        hidden: Features between the layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Backbone(nn.Module):
    """A sequence model: prompt in, vector out.

    Args:
        config: Mixers, and how they are put together.
        shape: What is read and emitted.
        loops: How many times over the layers are applied.
        dtype: float32 or float64.
        generator: Source of the initial weights; None leaves torch's own initialisation (for loading a checkpoint).

    Raises:
        ValueError: If the configuration does not give what is to be emitted.
    """

    def __init__(
        self,
        config: ModelConfig,
        shape: Shape,
        *,
        loops: int = 1,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if getattr(config.mixer, "causal", False) and config.reads == "first" and not shape.every_token:
            raise ValueError("a causal model's first token sees no other: set reads = 'last'")
        if loops > 1 and shape.every_token:
            raise ValueError("looped: an answer from every token takes no iterate's place")
        self.config, self.shape, self.loops = config, shape, loops
        self.readers = slice(None) if shape.every_token else READERS[config.reads]
        self.read_in = nn.Linear(shape.in_features, config.width)
        self.mixers = nn.ModuleList(
            config.mixer.build(width=config.width, tokens=shape.tokens) for _ in range(config.layers)
        )
        self.read_out = nn.Linear(config.width, shape.out_features)
        perceptrons = config.layers if config.mlp else 0
        self.perceptrons = nn.ModuleList(
            Perceptron(config.width, config.mlp * config.width) for _ in range(perceptrons)
        )
        norms = config.layers + perceptrons + 1 if config.layer_norm else 0
        self.norms = nn.ModuleList(nn.LayerNorm(config.width) for _ in range(norms))
        types = 3 if config.reads == "last" and not shape.every_token else 2
        places = {"token-type": types, "learned": shape.tokens, "none": 0}[config.positions]
        self.positions = nn.Parameter(torch.zeros(places, config.width))
        self.to(dtype)
        if generator is not None:
            self._initialise(generator)

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the answers to prompts (B, T, F): (B, E), or (B, T, E) where every token emits."""
        prompt = self.arranged(prompt)
        emitted = self._once(prompt)
        for _ in range(self.loops - 1):
            emitted = self._once(self._replaced(prompt, emitted))
        return emitted

    def arranged(self, prompt: torch.Tensor) -> torch.Tensor:
        """Prompts (B, T, F) as the layers see them: the first token behind the others where settings say so."""
        features = self.shape.in_features
        if prompt.dim() != 3 or prompt.shape[-1] != features:
            raise ValueError(f"prompt: got shape {tuple(prompt.shape)}, want (batch, tokens, {features})")
        return prompt.roll(-1, dims=1) if self.config.first_last else prompt

    def tokens(self, prompt: torch.Tensor) -> Iterator[torch.Tensor]:
        """Tokens (B, T, w) of arranged prompts, after the read-in and every layer; at the end, those that are read."""
        x = self.read_in(prompt) + self._positions(prompt.shape[1])
        yield x
        norms: Iterator[nn.Module] = iter(self.norms)
        plain = nn.Identity()
        for layer, mixer in enumerate(self.mixers):
            readers = self.readers if mixer is self.mixers[-1] else slice(None)
            mixed = mixer(next(norms, plain)(x), readers)
            x = x[:, readers] + mixed if self.config.residual else mixed
            if self.perceptrons:
                hidden = self.perceptrons[layer](next(norms, plain)(x))
                x = x + hidden if self.config.residual else hidden
            yield x

    def _once(self, prompt: torch.Tensor) -> torch.Tensor:
        *_, x = self.tokens(prompt)
        x = self.norms[-1](x) if self.norms else x
        emitted: torch.Tensor = self.read_out(x if self.shape.every_token else x[:, 0])
        return emitted

    def _replaced(self, prompt: torch.Tensor, iterate: torch.Tensor) -> torch.Tensor:
        """The prompt with an answer where the iterate stood."""
        place = 0 if self.config.reads == "first" else -1
        token = torch.cat([iterate, prompt[:, place, iterate.shape[-1] :]], dim=-1).unsqueeze(1)
        return torch.cat([token, prompt[:, 1:]] if place == 0 else [prompt[:, :-1], token], dim=1)

    def _positions(self, tokens: int) -> torch.Tensor:
        if self.config.positions == "token-type":
            first, rest, *last = self.positions
            return torch.cat([first[None], rest.expand(tokens - 1 - len(last), -1), *(token[None] for token in last)])
        if self.config.positions == "learned":
            if tokens != len(self.positions):
                raise ValueError(
                    f"prompt: got {tokens} tokens, want {len(self.positions)}: learned positions fix their number"
                )
            return self.positions
        return self.positions.new_zeros(tokens, 1)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name.startswith("norms"):
                parameter.fill_(1.0)
            else:
                # Drawn in float64 and rounded once, so that a seed means the same start in every dtype.
                draw = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
                parameter.copy_(self._initial(name, draw))

    def _initial(self, name: str, draw: torch.Tensor) -> torch.Tensor:
        """A parameter's initial values, as its mixer has them where it has an opinion."""
        if name == "positions":
            return draw
        owner, _, path = name.partition(".")
        if owner == "mixers":
            layer, _, path = path.partition(".")
            initial: Callable[[str, torch.Tensor], torch.Tensor]
            initial = getattr(self.mixers[int(layer)], "initial", lambda _, draw: by_fan_in(draw))
            return initial(path, draw)
        return by_fan_in(draw)
