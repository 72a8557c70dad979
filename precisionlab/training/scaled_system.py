"""The Gauss–Newton system of a batch, its Jacobian held whole."""

import torch

SHORTEST = 1e-6
"""A column shorter than this fraction of the longest is scaled as if it were that long."""
SHARPENINGS = 12
PANEL = 512
"""Rows and columns of a block of a symmetric matrix."""


def scales(lengths: torch.Tensor, longest: float) -> torch.Tensor:
    """What the columns of a Jacobian are divided by, which makes all but dead ones of unit length.

    The column of a weight of a channel that has died is scaled no further: at its own length it would run away.

    Args:
        lengths: Of the columns, (P,) or some of them.
        longest: Of all.

    Returns:
        As many, none zero.
    """
    return lengths.clamp_min(SHORTEST * longest or 1.0)


class ScaledSystem:
    """The Gauss–Newton system of a batch, its columns scaled to unit length, in its smaller form.

    Args:
        jacobian: J, (R, P), float64; overwritten.
        residual: r, (R,), float64.
    """

    def __init__(self, jacobian: torch.Tensor, residual: torch.Tensor) -> None:
        lengths = torch.linalg.vector_norm(jacobian, dim=0)
        self._lengths = scales(lengths, float(lengths.max()))
        self._residual = residual
        self._scaled = jacobian.div_(self._lengths)
        self._dual = len(residual) < len(lengths)
        self._gram = _upper_gram(self._scaled) if self._dual else self._scaled.mT @ self._scaled
        self._right = self._of(residual)

    @property
    def finite(self) -> bool:
        """Whether the system holds neither NaN nor infinity."""
        return bool(self._gram.isfinite().all()) and bool(self._right.isfinite().all())

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient of the mean squared error, (P,)."""
        return (self._residual @ self._scaled) * self._lengths * (2 / len(self._residual))

    def solve(self, damping: float) -> torch.Tensor | None:
        """The step S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r: (P,)."""
        return self.step() if self.factorise(damping) else None

    def sharpened(self) -> torch.Tensor | None:
        """The step without damping, as far as a few iterations take it from the damped one.

        Conjugate gradients on ‖J d − r‖², preconditioned by the last `factorise`: what λ holds back in a soft direction
        is asked for again, of what the step leaves over. Residuals and not the squared system carry it, so λ can stay
        above the rounding errors of the latter while directions below √λ are followed.

        Returns:
            (P,), or None where it is not finite.

        Reference: Björck, Numerical Methods for Least Squares Problems (1996), section 7.4 (PCGLS).
        """
        left = self._residual.clone()
        step = direction = torch.zeros_like(self._lengths)
        image, before = torch.zeros_like(left), torch.inf
        for _ in range(SHARPENINGS):
            if (wanted := self.step(left)) is None:
                break
            wanted_image = self._scaled @ (wanted * self._lengths)
            gain = float(left @ wanted_image)
            direction, image = wanted + gain / before * direction, wanted_image + gain / before * image
            square = float(image @ image)
            if not (gain > 0 and square > 0):
                break
            step, left, before = step + gain / square * direction, left - gain / square * image, gain
        return step if bool(step.isfinite().all()) else None

    def factorise(self, damping: float) -> bool:
        """Prepare for `step`."""
        system = self._gram.clone()
        system.diagonal().add_(damping)
        self._factor, failed = torch.linalg.cholesky_ex(system, upper=True)
        return not failed.item()

    def step(self, residual: torch.Tensor | None = None) -> torch.Tensor | None:
        """The step of the last `factorise`: (P,)."""
        right = self._right if residual is None else self._of(residual)
        solution = torch.cholesky_solve(right.unsqueeze(-1), self._factor, upper=True).squeeze(-1)
        step = (solution @ self._scaled if self._dual else solution) / self._lengths
        return step if bool(step.isfinite().all()) else None

    def _of(self, residual: torch.Tensor) -> torch.Tensor:
        """The right-hand side for residuals."""
        return residual if self._dual else residual @ self._scaled


def _upper_gram(rows: torch.Tensor) -> torch.Tensor:
    """M Mᵀ of rows M (R, P), of which only the upper triangle is computed but for blocks on the diagonal."""
    gram = rows.new_zeros(len(rows), len(rows))
    for start in range(0, len(rows), PANEL):
        gram[start : start + PANEL, start:] = rows[start : start + PANEL] @ rows[start:].mT
    return gram
