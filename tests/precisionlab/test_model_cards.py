"""Every shipped checkpoint has the model card that its own files give."""

import pytest
import yaml

import precisionlab
from precisionlab import zoo
from precisionlab.zoo import cards


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_checkpoint_has_its_card(name):
    text = (zoo.path(name) / cards.README).read_text(encoding="utf-8")
    assert text == cards.written(zoo.path(name)), "make it again: python -m precisionlab.zoo.cards"
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["model-index"][0]["name"] == name
    polynomial = precisionlab.load(name).experiment.model.mixer != "softmax"
    assert float(facts["model-index"][0]["results"][0]["metrics"][0]["value"]) < (1e-20 if polynomial else 1.0)
    assert f'load_solver("{name}")' in body
