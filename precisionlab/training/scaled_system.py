"""The Gauss–Newton system of a batch, its Jacobian held whole."""

import torch

from precisionlab import distributed

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

    Where several processes train together each brings its rows of J and r. The rows are gathered for the dual form, of
    which each computes its block of rows; for the primal one, the sums over the rows are all-reduced.

    Args:
        jacobian: J, (R, P), float64; overwritten.
        residual: r, (R,), float64.
    """

    def __init__(self, jacobian: torch.Tensor, residual: torch.Tensor) -> None:
        lengths = distributed.norm(torch.linalg.vector_norm(jacobian, dim=0))
        self._lengths = scales(lengths, float(lengths.max()))
        self._residual = residual
        self._scaled = jacobian.div_(self._lengths)
        residuals, self._first_row = distributed.gathered(residual)
        self._dual = len(residuals) < len(lengths)
        if self._dual:
            rows, _ = distributed.gathered(self._scaled)
            own = self._scaled @ rows.mT if distributed.size() > 1 else upper_gram(rows)
            self._gram, _ = distributed.gathered(own)
            self._right = residuals
        else:
            self._gram = distributed.total(self._scaled.mT @ self._scaled)
            self._right = distributed.total(residual @ self._scaled)

    @property
    def finite(self) -> bool:
        """Whether the system holds neither NaN nor infinity."""
        return bool(self._gram.isfinite().all()) and bool(self._right.isfinite().all())

    @property
    def gradient(self) -> torch.Tensor:
        """The gradient of the mean squared error, (P,)."""
        product = distributed.total(self._residual @ self._scaled)
        count = distributed.total(product.new_full((), len(self._residual)))
        return product * self._lengths * (2 / count)

    def solve(self, damping: float) -> torch.Tensor | None:
        """The step S⁻¹ (Jₛᵀ Jₛ + λ I)⁻¹ Jₛᵀ r.

        Args:
            damping: λ > 0.

        Returns:
            (P,), or None where rounding left the system indefinite or the step is not finite.
        """
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
            gain = float(distributed.total(left @ wanted_image))
            direction, image = wanted + gain / before * direction, wanted_image + gain / before * image
            square = float(distributed.total(image @ image))
            if not (gain > 0 and square > 0):
                break
            step, left, before = step + gain / square * direction, left - gain / square * image, gain
        return step if bool(step.isfinite().all()) else None

    def factorise(self, damping: float) -> bool:
        """Prepare for `step`.

        Args:
            damping: λ > 0.

        Returns:
            Whether the system is positive definite.
        """
        system = self._gram.clone()
        system.diagonal().add_(damping)
        self._factor, failed = torch.linalg.cholesky_ex(system, upper=True)
        return distributed.agreed(not failed.item())

    def step(self, residual: torch.Tensor | None = None) -> torch.Tensor | None:
        """The step of the last `factorise`.

        Args:
            residual: This process's, of the same batch, (R,), float64; None for that where the Jacobian was taken.

        Returns:
            (P,), or None where it is not finite.
        """
        right = self._right if residual is None else self._of(residual)
        solution = torch.cholesky_solve(right.unsqueeze(-1), self._factor, upper=True).squeeze(-1)
        # Each process has factorised alone, and on unlike processors the last bits may differ: the first one's counts.
        solution = distributed.from_first(solution)
        if self._dual:
            own = solution[self._first_row : self._first_row + len(self._scaled)]
            solution = distributed.total(own @ self._scaled)
        step = solution / self._lengths
        return step if bool(step.isfinite().all()) else None

    def _of(self, residual: torch.Tensor) -> torch.Tensor:
        """The right-hand side for residuals."""
        return distributed.gathered(residual)[0] if self._dual else distributed.total(residual @ self._scaled)


def upper_gram(rows: torch.Tensor) -> torch.Tensor:
    """M Mᵀ, of which only the upper triangle is computed but for blocks on the diagonal.

    Args:
        rows: M, (R, P).

    Returns:
        (R, R); zeros below the blocks.
    """
    gram = rows.new_zeros(len(rows), len(rows))
    for start in range(0, len(rows), PANEL):
        gram[start : start + PANEL, start:] = rows[start : start + PANEL] @ rows[start:].mT
    return gram
