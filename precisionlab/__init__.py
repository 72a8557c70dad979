"""A numerical-precision laboratory for learned least-squares solvers."""

from precisionlab.experiments import Experiment
from precisionlab.experiments import names as experiments
from precisionlab.measure import report
from precisionlab.models import ModelConfig, mixer
from precisionlab.runs import Card, Cell, Run, grid, load, load_solver, solver, train
from precisionlab.tasks import Example, task
from precisionlab.training import phase

__all__ = [
    "Card",
    "Cell",
    "Example",
    "Experiment",
    "ModelConfig",
    "Run",
    "experiments",
    "grid",
    "load",
    "load_solver",
    "mixer",
    "phase",
    "report",
    "solver",
    "task",
    "train",
]
