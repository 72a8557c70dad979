"""What the weights of a model are, tensor by tensor."""

import pandas as pd
import torch

from precisionlab.runs import Run


def weights(run: Run) -> pd.DataFrame:
    """Sizes, zeros and ranks of a model's weights.

    Args:
        run: A trained model.

    Returns:
        A row a tensor: tensor, shape, zeros (how many are exactly zero), rms, largest (in magnitude), and of a matrix
        its numerical rank and the ratio of its largest singular value to its smallest, NaN for the others.
    """
    return pd.DataFrame([_row(name, weight.detach()) for name, weight in run.model.named_parameters()])


def _row(name: str, weight: torch.Tensor) -> dict[str, object]:
    row: dict[str, object] = {
        "tensor": name,
        "shape": "×".join(map(str, weight.shape)),
        "zeros": int((weight == 0).sum()),
        "rms": float(weight.double().square().mean().sqrt()),
        "largest": float(weight.abs().max()) if weight.numel() else 0.0,
        "rank": float("nan"),
        "condition": float("nan"),
    }
    if weight.dim() == 2 and weight.numel():
        values = torch.linalg.svdvals(weight.double())
        u = torch.finfo(weight.dtype).eps
        row["rank"] = int((values > max(weight.shape) * u * values[0]).sum())
        row["condition"] = float(values[0] / values[-1])
    return row
