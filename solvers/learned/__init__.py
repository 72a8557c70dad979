"""Learned steps made into solvers. A step is a function handed over from outside: nothing here knows a model."""
