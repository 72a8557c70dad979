"""Whether training gives the same bits twice: train two times, compare every row of metrics and every weight."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch

from precisionlab.runs.run import Run
from precisionlab.runs.training import train

MEASURED = "elapsed"
"""The column of the metrics that a clock writes."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison of two runs found.

    Args:
        identical: Whether all bits agree.
        told: It in one line.
    """

    identical: bool
    told: str


def check(experiment: str, *, progress: bool = True, **options: Any) -> Verdict:
    """Train twice and compare.

    Args:
        experiment: One of `precisionlab.experiments()`.
        progress: Whether to show the error falling.
        **options: As for `precisionlab.train`: seed, device, overrides.

    Returns:
        What was found.
    """
    first, second = (train(experiment, progress=progress, **options) for _ in range(2))
    return compare(first, second)


def compare(first: Run, second: Run) -> Verdict:
    """Compare two runs of the same configuration, bit for bit.

    Args:
        first: A run.
        second: Another.

    Returns:
        The first difference, or a digest of what they share, by which machines can be compared too.
    """
    rows, others = _rows(first), _rows(second)
    for number, (row, other) in enumerate(zip(rows, others, strict=False), start=1):
        for key in row | other:
            if json.dumps(row.get(key)) != json.dumps(other.get(key)):
                where, values = f"{row['phase']} step {row['step']}", f"{row.get(key)!r}, then {other.get(key)!r}"
                return Verdict(identical=False, told=f"not deterministic: row {number}, {where}: {key} is {values}")
    if len(rows) != len(others):
        return Verdict(identical=False, told=f"not deterministic: {len(rows)} rows of metrics, then {len(others)}")
    weights, again = _bytes(first), _bytes(second)
    for name in weights:
        if weights[name] != again[name]:
            return Verdict(identical=False, told=f"not deterministic: weight {name!r} differs")
    digest = hashlib.sha256(json.dumps(rows).encode() + b"".join(weights.values())).hexdigest()
    told = f"deterministic: {len(rows)} rows of metrics and {first.card.parameters} parameters agree in every bit"
    return Verdict(identical=True, told=f"{told} (SHA-256 {digest[:16]}, {torch.get_num_threads()} threads)")


def _rows(run: Run) -> list[dict[str, Any]]:
    records = run.metrics.drop(columns=MEASURED).to_dict("records")
    return [{str(key): value for key, value in record.items()} for record in records]


def _bytes(run: Run) -> dict[str, bytes]:
    return {name: tensor.cpu().numpy().tobytes() for name, tensor in sorted(run.model.state_dict().items())}
