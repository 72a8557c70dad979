"""A run, in memory: what training leaves behind, and what reproduces it."""

import html
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from precisionlab.config import settings
from precisionlab.experiments import Experiment


@settings
class RunConfig:
    """All that reproduces a run.

    Args:
        experiment: What was trained, overrides applied.
        seed: Of weights and data.
        device: Where.
        plugins: Modules and files that define what in it is a user's own. They are named to the user, never imported
            because a file says so.
    """

    experiment: Experiment
    seed: NonNegativeInt = 0
    device: str = "cpu"
    plugins: tuple[Annotated[str, Field(max_length=1000)], ...] = ()


Ended = Literal["reached", "stalled", "exhausted", "unfinished"]


@settings
class Card:
    """What a checkpoint is, and how good it was measured to be.

    Args:
        name: The experiment's name.
        summary: One line.
        dtype: Of the weights.
        parameters: Their number.
        seed: Of the run.
        test_mse: On fresh problems, above the model's precision; None where the weights were never measured.
        test_problems: How many.
        ended: "reached" (the floor), "stalled", "exhausted" or "unfinished".
        attempts: Random starts taken.
        seconds: Training time.
        command: What makes it.
    """

    name: str
    summary: str
    dtype: Literal["float32", "float64"]
    parameters: NonNegativeInt
    seed: NonNegativeInt
    test_mse: float | None
    test_problems: NonNegativeInt
    ended: Ended
    attempts: PositiveInt
    seconds: NonNegativeFloat
    command: str

    def _repr_html_(self) -> str:
        facts = asdict(self).items()
        rows = "".join(f"<tr><th>{key}</th><td>{html.escape(str(value))}</td></tr>" for key, value in facts)
        return f"<table>{rows}</table>"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Run:
    """A trained model with its history.

    Args:
        model: Prompt in, answer out; in evaluation mode, its parameters do not ask for gradients.
        experiment: What was trained.
        metrics: One row a log step.
        card: What it is, measured.
        directory: Where it lies, if anywhere.
    """

    model: torch.nn.Module
    experiment: Experiment
    metrics: pd.DataFrame
    card: Card
    directory: Path | None = None

    def __repr__(self) -> str:
        mse = "not measured" if self.card.test_mse is None else f"{self.card.test_mse:.1e}"
        return (
            f"Run({self.card.name!r}, seed={self.card.seed}, {self.card.dtype}, {self.card.parameters} parameters, "
            f"test MSE {mse}, {self.card.ended} after {self.card.seconds:.0f} s)"
        )

    def _repr_html_(self) -> str:
        return self.card._repr_html_()


def build(experiment: Experiment, weights: dict[str, torch.Tensor], *, device: str, source: str) -> torch.nn.Module:
    """The model of an experiment, with given weights.

    Args:
        experiment: What was trained.
        weights: By parameter name.
        device: Where it shall compute.
        source: Where the weights came from, for the error.

    Returns:
        The model.

    Raises:
        ValueError: If the weights are not this model's.
    """
    model = experiment.backbone()
    expected = {name: (parameter.shape, parameter.dtype) for name, parameter in model.named_parameters()}
    for name in sorted(expected.keys() | weights.keys()):
        got = (weights[name].shape, weights[name].dtype) if name in weights else None
        if got != expected.get(name):
            raise ValueError(f"{source}: weight {name!r} is {_described(got)}, want {_described(expected.get(name))}")
    model.load_state_dict(weights, strict=False)  # what is no parameter is made by the configuration
    return model.requires_grad_(False).eval().to(device)


def _described(tensor: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor[0])} {str(tensor[1]).removeprefix('torch.')}"
