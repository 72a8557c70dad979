"""Configurations: strict, reversible, and clear about what is wrong."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from precisionlab import config, overrides
from precisionlab.experiments import get
from precisionlab.experiments.experiment import Experiment

EXPERIMENT = get("linear-attention/explicit-gradient")


@given(
    width=st.integers(1, 50).map(lambda half: 2 * half),
    steps=st.integers(1, 10**6),
    damping=st.floats(min_value=1e-300, max_value=1e300),
    until=st.none() | st.floats(min_value=1e-30, max_value=1.0),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_toml_gives_back_the_same_configuration(
    width: int, steps: int, damping: float, until: float | None, dtype: str
) -> None:
    changes = {"width": width, "phases.adam.steps": steps, "damping": damping, "until": until, "dtype": dtype}
    changed = overrides.override(EXPERIMENT, changes)
    assert config.loads(Experiment, config.dumps(changed), source="test") == changed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"widht": 24}, "unknown override 'widht': did you mean 'width'?"),
        ({"steps": 5}, "'steps' is ambiguous: write one of phases.adam.steps, phases.gauss-newton.steps"),
        ({"width": "24"}, "model.width: Input should be a valid integer (got '24')"),
        ({"width": 24.5}, "model.width: Input should be a valid integer"),
        ({"width": True}, "model.width: Input should be a valid integer"),
        ({"width": 0}, "model.width: Input should be greater than 0"),
        ({"heads": 3}, "heads must divide width, got heads=3 and width=16"),
        ({"causal": True}, "set reads = 'last'"),
        ({"rows": 3}, "rows must be at least n, got rows=3 and n=5"),
        ({"dtype": "float16"}, "dtype: Input should be 'float32' or 'float64' (got 'float16')"),
        ({"model": 3}, "unknown override 'model'"),
        ({"mixer": 3}, "model.mixer: want a table with a kind, got 3"),
        ({"mixer": "sofmax"}, "model.mixer: unknown mixer 'sofmax': did you mean 'softmax'?"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        overrides.override(EXPERIMENT, changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "not valid TOML"),
        ("colour = 'red'", "colour: unknown setting; known: name, task"),
        ("attempts = 2", "name: missing"),
        (config.dumps(EXPERIMENT) + "colour = 'red'\n", "colour"),
    ],
)
def test_a_malformed_file_is_one_line_that_names_it(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        config.loads(Experiment, text, source="config.toml")
    assert str(caught.value).startswith("config.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [("width=24", "width", 24), ("until=1e-3", "until", 1e-3), ("causal=true", "causal", True), ("a=b=c", "a", "b=c")],
)
def test_command_line_values_are_read_as_toml(text: str, key: str, value: object) -> None:
    assert overrides.parse_override(text) == (key, value)


@pytest.mark.parametrize("text", ["width", "=24", ""])
def test_an_override_without_a_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write key=value"):
        overrides.parse_override(text)
