"""Gradients with their slow part amplified: g + gain · EMA(g).

The moving average begins at the first gradient. Under noise of minibatches the slow part is what consecutive gradients
agree on; a gain of 2 at a decay of 0.98 triples the weight of what has held for fifty steps.

Reference: Lee, Kang, Kim and Lee, Grokfast, arXiv 2405.20233, the EMA filter.
"""

import torch


class GradientFilter:
    """The filter at work.

    Args:
        gain: Weight of the moving average; 0 passes gradients through unchanged.
        decay: Of the moving average.
        like: Any vector of the parameters' shape, dtype and device.
    """

    def __init__(self, *, gain: float, decay: float, like: torch.Tensor) -> None:
        self._gain, self._decay = gain, decay
        self.average, self.taken = torch.zeros_like(like), 0

    def filtered(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the optimizer is to see; the filter itself stays as it is until `keep`."""
        if self._gain == 0.0:
            return gradient, self.average
        average = torch.lerp(gradient, self.average, self._decay) if self.taken else gradient.clone()
        return gradient + self._gain * average, average

    def keep(self, average: torch.Tensor) -> None:
        """Take a step's gradient in, once the step has been taken."""
        self.average, self.taken = average, self.taken + 1
