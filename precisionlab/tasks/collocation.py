"""Chebyshev pseudospectral collocation on [−1, 1].

The points are t_j = cos(jπ/M), j = 0, …, M. A function is represented by its values there, that is by the polynomial of
degree M through them. Its derivative at the points is D times the values,

    D_ij = (c_i/c_j) (−1)^{i+j}/(t_i − t_j),   c₀ = c_M = 2 and c_j = 1 between,   D_ii = −Σ_{j≠i} D_ij

and its value at any τ is p(τ) times the values, p_j(τ) = (w_j/(τ − t_j)) / Σ_i w_i/(τ − t_i), w_j = (−1)^j/c_j. Both
are exact for polynomials of degree up to M; for an analytic function the error falls geometrically with M.

Error: the entries of D grow as M², and so does the rounding of a derivative: about M² u. Differences of points are
taken as products of sines, t_i − t_j = 2 sin((i + j)π/2M) sin((j − i)π/2M), which does not cancel.

Reference: Trefethen, Spectral Methods in MATLAB (2000), chapter 6; Berrut and Trefethen, Barycentric Lagrange
interpolation, SIAM Review 46 (2004), section 5.
"""

import math

import torch


def points(degree: int) -> torch.Tensor:
    """The Chebyshev points, from 1 down to −1.

    Args:
        degree: M, at least 1.

    Returns:
        (M+1,), float64; the middle one is exactly 0 where M is even.
    """
    # sin of an angle that is odd about the middle: symmetric about 0 to the last bit, as cos(jπ/M) is not.
    return torch.sin(math.pi * torch.arange(degree, -degree - 1, -2, dtype=torch.float64) / (2 * degree))


def derivative(degree: int) -> torch.Tensor:
    """The differentiation matrix D.

    Args:
        degree: M, at least 1.

    Returns:
        (M+1, M+1), float64.
    """
    i = torch.arange(degree + 1, dtype=torch.float64)
    half = math.pi / (2 * degree)
    differences = 2 * torch.sin((i[:, None] + i) * half) * torch.sin((i - i[:, None]) * half)
    weights = _weights(degree)
    D = weights / weights[:, None] / differences.fill_diagonal_(1.0)
    D.fill_diagonal_(0.0)
    return D - torch.diag(D.sum(dim=1))


def interpolation(degree: int, at: torch.Tensor) -> torch.Tensor:
    """The rows p(τ) that evaluate the polynomial through values at the points.

    Args:
        degree: M, at least 1.
        at: τ, (B,), float64, in [−1, 1].

    Returns:
        (B, M+1), float64; each row sums to 1.
    """
    gaps = at.unsqueeze(-1) - points(degree)
    hit = gaps == 0
    terms = _weights(degree) / torch.where(hit, 1.0, gaps)
    return torch.where(hit.any(dim=-1, keepdim=True), hit.double(), terms / terms.sum(dim=-1, keepdim=True))


def _weights(degree: int) -> torch.Tensor:
    weights = 1.0 - 2.0 * (torch.arange(degree + 1, dtype=torch.float64) % 2)
    weights[0] /= 2
    weights[-1] /= 2
    return weights
