"""How a model's answers depend on its weights: the singular values of the Jacobian of what it emits.

What training by Gauss–Newton can see of the weights: directions of singular value far below the largest are changes of
basis that no answer shows, or so slow to be learned that the squared system forgets them (docs/precision.md).
"""

import torch
from torch.nn.utils import parameters_to_vector

from precisionlab.runs import Run
from precisionlab.training import Objective, Stream
from precisionlab.training.scaled_system import scales


def spectrum(run: Run, *, residuals: float = 2.0) -> torch.Tensor:
    """Singular values of the Jacobian with its columns at unit length, on a batch that training did not see.

    Args:
        run: A trained model.
        residuals: Numbers that the batch asks for, R, as a multiple of the number of parameters, P.

    Returns:
        min(R, P) values, falling, relative to the first.

    Cost:
        R P² operations, and 8 R P bytes.
    """
    experiment = run.experiment
    objective = Objective(experiment.model, experiment.task, dtype=torch.float64, device="cpu", seed=0)
    theta = parameters_to_vector(run.model.parameters()).detach().double()
    problems = max(1, round(residuals * objective.parameters) // objective.outputs)
    jacobian = objective.jacobian(theta, objective.batch(Stream.TEST, size=problems))
    lengths = torch.linalg.vector_norm(jacobian, dim=0)
    values: torch.Tensor = torch.linalg.svdvals(jacobian / scales(lengths, float(lengths.max())))
    return values / values[0]


def numerical_rank(values: torch.Tensor, parameters: int) -> int:
    """How many directions in the weights change what is emitted.

    Args:
        values: What `spectrum` returned.
        parameters: The model's number of them.

    Returns:
        Singular values above rounding: max(len(values), parameters) · eps of the first.
    """
    return int((values > max(len(values), parameters) * torch.finfo(values.dtype).eps).sum())
