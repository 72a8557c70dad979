"""How much of a minibatch's gradient is signal: the cosine between the gradients of consecutive minibatches.

Near 1, batches agree on where to go, and the noise that a large learning rate would average away is not there; near 0,
a gradient is mostly the noise of its batch. The signal is the mean cosine over 64 batches, smoothed by a moving average
over such windows.

Error: cosines are computed in float64 whatever the gradients are, so that gradients of norm 1e-30 have one in float32.
Cost: one inner product and one norm a step.
Reference: Liu et al., ICLR 2025, arXiv 2503.12295, whose schedule of the learning rate is built on it.
"""

import torch

from precisionlab.training.phase import State

WINDOW = 64
"""Batches to a window."""
SMOOTHING = 0.9
"""Decay of the moving average over windows."""


class GradientSignal:
    """The cosine of each gradient with the one before it, and their smoothed mean.

    Args:
        like: Any vector of the parameters' shape, dtype and device.
    """

    def __init__(self, like: torch.Tensor) -> None:
        self._previous = torch.zeros_like(like)
        self._sum, self._pairs = 0.0, 0
        self._smoothed, self._windows = 0.0, 0

    @property
    def value(self) -> float | None:
        """The signal, in [−1, 1]; None before the first window is full."""
        return self._smoothed if self._windows else None

    def take(self, gradient: torch.Tensor) -> float | None:
        """Compare a gradient with the one before it."""
        cosine = cosine_similarity(gradient, self._previous)
        self._previous = gradient.clone()
        if cosine is None:
            return None
        self._sum, self._pairs = self._sum + cosine, self._pairs + 1
        if self._pairs == WINDOW:
            mean = self._sum / WINDOW
            self._smoothed = SMOOTHING * self._smoothed + (1 - SMOOTHING) * mean if self._windows else mean
            self._sum, self._pairs, self._windows = 0.0, 0, self._windows + 1
        return cosine

    def state(self) -> State:
        """All that `restore` needs."""
        return {
            "signal_gradient": self._previous,
            "signal_sum": self._sum,
            "signal_pairs": self._pairs,
            "signal_smoothed": self._smoothed,
            "signal_windows": self._windows,
        }

    def restore(self, state: State) -> None:
        """Continue from a state."""
        self._previous = torch.as_tensor(state["signal_gradient"]).clone()
        self._sum, self._pairs = float(state["signal_sum"]), int(state["signal_pairs"])
        self._smoothed, self._windows = float(state["signal_smoothed"]), int(state["signal_windows"])


def cosine_similarity(one: torch.Tensor, other: torch.Tensor) -> float | None:
    """The cosine of the angle between two vectors.

    Args:
        one: (P,).
        other: (P,).

    Returns:
        In [−1, 1] to rounding in float64; None where one of them vanishes.
    """
    one, other = one.double(), other.double()
    lengths = torch.linalg.vector_norm(one), torch.linalg.vector_norm(other)
    if not all(bool(length > 0) for length in lengths):
        return None
    return float((one / lengths[0]) @ (other / lengths[1]))


def lost(before: torch.Tensor, after: torch.Tensor, change: torch.Tensor) -> float:
    """The fraction of the weights whose change was below half a unit in the last place, and so was lost.

    Args:
        before: Weights, (P,).
        after: The same after the step, (P,).
        change: What the step was to change, (P,), to any scale: where it is zero, nothing was to be lost.

    Returns:
        In [0, 1]: of the weights that were to change.
    """
    asked = change != 0
    return float(((after == before) & asked).sum() / asked.sum().clamp_min(1))
