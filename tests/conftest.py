"""Hypothesis for the whole suite: no deadline, since a first example compiles, imports and warms caches.

`--hypothesis-profile=nightly` draws ten thousand examples; `make nightly` holds every shipped solver to them.
"""

from hypothesis import settings

settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("nightly", deadline=None, derandomize=True, max_examples=10_000)
settings.load_profile("suite")
