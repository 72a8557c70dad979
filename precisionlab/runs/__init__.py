"""Runs: train, save, resume, load; what a run directory holds."""

from precisionlab.runs.directory import CONFIG, ENVIRONMENT, Occupied, RunDirectory
from precisionlab.runs.grid import Cell, grid
from precisionlab.runs.loading import load, load_control, load_solver, solver
from precisionlab.runs.run import Card, Run, RunConfig
from precisionlab.runs.training import again, train

__all__ = [
    "CONFIG",
    "ENVIRONMENT",
    "Card",
    "Cell",
    "Occupied",
    "Run",
    "RunConfig",
    "RunDirectory",
    "again",
    "grid",
    "load",
    "load_control",
    "load_solver",
    "solver",
    "train",
]
