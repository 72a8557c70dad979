"""A numerical-precision laboratory for learned least-squares solvers."""

from precisionlab.grid import Cell, grid
from precisionlab.lab import experiments, load, load_solver, report, train
from precisionlab.runs import Card, Run

__all__ = ["Card", "Cell", "Run", "experiments", "grid", "load", "load_solver", "report", "train"]
