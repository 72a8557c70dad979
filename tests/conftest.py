"""Hypothesis for the whole suite: no deadline, since a first example compiles, imports and warms caches."""

from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
