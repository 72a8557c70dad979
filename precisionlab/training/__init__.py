"""Training: phases that compose, and the loop that runs them."""

from precisionlab.training.adam import Adam, paper_adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.objective import Objective
from precisionlab.training.trainer import fit

__all__ = ["Adam", "GaussNewton", "Objective", "fit", "paper_adam"]
