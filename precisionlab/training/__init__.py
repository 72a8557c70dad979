"""Training: phases that compose, and the loop that runs them."""

from precisionlab.training.adam import Adam, paper_adam
from precisionlab.training.gauss_newton import GaussNewton
from precisionlab.training.objective import Objective, Stream
from precisionlab.training.phase import PHASES, Outcome, Phase, PhaseRun, Place, State, phase
from precisionlab.training.prune import Prune
from precisionlab.training.snap import Snap
from precisionlab.training.trainer import fit

__all__ = [
    "PHASES",
    "Adam",
    "GaussNewton",
    "Objective",
    "Outcome",
    "Phase",
    "PhaseRun",
    "Place",
    "Prune",
    "Snap",
    "State",
    "Stream",
    "fit",
    "paper_adam",
    "phase",
]
