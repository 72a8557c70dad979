"""A run of seconds: two unknowns, four rows, and so few steps that a test can afford it."""

NAME = "linear-attention/explicit-gradient"
SMALL: dict[str, object] = {
    "n": 2,
    "rows": 4,
    "width": 6,
    "heads": 1,
    "phases.adam.steps": 100,
    "phases.adam.until": 2.0,
}
SMALL |= {"phases.adam.easier": {}, "phases.gauss-newton.steps": 4, "attempts": 2}


def settings(**changes: object) -> list[str]:
    """The same for the command line."""
    return [word for key, value in {**SMALL, **changes}.items() for word in ("--set", f"{key}={value}")]
