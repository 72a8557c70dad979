"""A numerical-precision laboratory for learned least-squares solvers."""

from precisionlab.lab import experiments, load, load_solver, report, train
from precisionlab.runs import Card, Run

__all__ = ["Card", "Run", "experiments", "load", "load_solver", "report", "train"]
