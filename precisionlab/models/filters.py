"""The filters of gated convolutions: where their taps come from, and two ways to apply them.

    (h ∗ u)_t = Σ_k h_k ⊙ u_(t−k),   k = 0 … K−1 in the causal form, −(K−1) … K−1 otherwise

feature by feature, u zero outside the prompt. Direct sums cost O(T K w) and round least; the FFT costs O(T log T w).
"""

import torch
from torch import nn


class Taps(nn.Module):
    """A filter whose taps are the weights.

    Args:
        width: Features, w.
        lags: Their number.
    """

    def __init__(self, width: int, lags: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, lags))

    def forward(self) -> torch.Tensor:
        """The taps: (w, lags)."""
        return self.weight


class ImplicitTaps(nn.Module):
    """A filter whose taps are emitted by a network of the lag: as many weights for any length.

        h_k = window_k · W₂ sin(W₁ φ(k) + c₁),   φ(k) = [k/K, cos(2πjk/K), sin(2πjk/K)],   j = 1 … bands

    The window, one exponential a feature with decays spread evenly over [0, 4], lets features differ in reach.

    Args:
        width: Features, w.
        lags: Number of taps.
        first: The first lag, 0 or negative.

    Reference:
        Poli et al., Hyena, ICML 2023, arXiv 2302.10866, section 3.3.
    """

    phases: torch.Tensor
    window: torch.Tensor

    def __init__(self, width: int, lags: int, first: int, *, bands: int = 8) -> None:
        super().__init__()
        # Not part of a checkpoint: the configuration determines them.
        lag = torch.arange(first, first + lags, dtype=torch.float64) / max(lags + first, 1)
        angle = 2 * torch.pi * lag[:, None] * torch.arange(1, bands + 1, dtype=torch.float64)
        features = torch.cat([lag[:, None], angle.cos(), angle.sin()], dim=1)
        decay = torch.linspace(0, 4, width, dtype=torch.float64)
        self.register_buffer("phases", features, persistent=False)
        self.register_buffer("window", torch.exp(-decay[:, None] * lag.abs()), persistent=False)
        self.inner = nn.Linear(2 * bands + 1, 4 * bands)
        self.outer = nn.Linear(4 * bands, width, bias=False)

    def forward(self) -> torch.Tensor:
        """The taps: (w, lags)."""
        taps: torch.Tensor = self.outer(self.inner(self.phases).sin()).mT * self.window
        return taps


def convolve_directly(taps: torch.Tensor, u: torch.Tensor, first: int, readers: slice = slice(None)) -> torch.Tensor:
    """The convolution as its sum: a product with a Toeplitz matrix for each feature.

    Args:
        taps: (w, lags).
        u: (B, T, w).
        first: The first lag, 0 or negative.
        readers: Which outputs are wanted.

    Returns:
        (B, Q, w), Q being the number of readers.
    """
    place = torch.arange(u.shape[1], device=u.device)
    index = place[readers, None] - place - first  # of the tap that takes token s to token t
    inside = (index >= 0) & (index < taps.shape[1])
    matrices = taps[:, index.clamp(0, taps.shape[1] - 1)] * inside
    return torch.einsum("wts,bsw->btw", matrices, u)


def convolve_by_fft(taps: torch.Tensor, u: torch.Tensor, first: int, readers: slice = slice(None)) -> torch.Tensor:
    """The convolution by FFT; its rounding errors are relative to the largest output, not to each.

    Args:
        taps: (w, lags).
        u: (B, T, w).
        first: The first lag, 0 or negative.
        readers: Which outputs are wanted.

    Returns:
        (B, Q, w), Q being the number of readers.
    """
    tokens, lags = u.shape[1], taps.shape[1]
    length = tokens + lags - 1
    spectrum = torch.fft.rfft(u, n=length, dim=1) * torch.fft.rfft(taps.mT, n=length, dim=0)
    full: torch.Tensor = torch.fft.irfft(spectrum, n=length, dim=1)
    return full[:, -first : -first + tokens][:, readers]
