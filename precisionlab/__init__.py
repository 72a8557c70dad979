"""A numerical-precision laboratory for learned least-squares solvers."""

from precisionlab.experiments import Experiment
from precisionlab.experiments import names as experiments
from precisionlab.models import ModelConfig, mixer
from precisionlab.report import Report, report
from precisionlab.runs import Card, Cell, Run, grid, load, load_control, load_solver, solver, train
from precisionlab.tasks import Example, task
from precisionlab.training import phase

__all__ = [
    "Card",
    "Cell",
    "Example",
    "Experiment",
    "ModelConfig",
    "Report",
    "Run",
    "experiments",
    "grid",
    "load",
    "load_control",
    "load_solver",
    "mixer",
    "phase",
    "report",
    "solver",
    "task",
    "train",
]
