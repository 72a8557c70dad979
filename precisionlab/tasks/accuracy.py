"""Errors measured above their subject's precision, at the price of float64 where that is enough."""

from collections.abc import Callable

import torch

from solvers._core.double_double import DD

CLEARLY_ABOVE = 1e3
"""An error this many units of roundoff above zero is measured to three digits against a target in float64."""


def mean_square(prediction: torch.Tensor, target: torch.Tensor, difference: Callable[[], DD]) -> torch.Tensor:
    """The mean squared error of a prediction.

    An error far above the rounding of float64 is measured against a float64 target, which is then exact enough; one
    near it, in double-double arithmetic.

    Args:
        prediction: What was emitted, float32 or float64.
        target: What should have been, computed in float64 from the same prompt; of the prediction's shape.
        difference: Prediction minus target in double-double; called only where it is needed.

    Returns:
        Mean over all entries, a float64 scalar.
    """
    mse = (prediction.double() - target).square().mean()
    rounding = torch.finfo(torch.float64).eps ** 2 * target.square().mean()
    if not mse <= CLEARLY_ABOVE**2 * rounding:
        return mse
    exact = difference()
    return (exact.hi + exact.lo).square().mean()
