"""Every shipped checkpoint has the model card that its own files give."""

import pytest
import yaml

import precisionlab
from precisionlab.runs import model_cards, zoo


@pytest.mark.parametrize("name", zoo.names())
def test_a_shipped_checkpoint_has_its_card(name):
    text = (zoo.path(name) / model_cards.README).read_text(encoding="utf-8")
    assert text == model_cards.written(zoo.path(name)), "make it again: python -m precisionlab.runs.model_cards"
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["model-index"][0]["name"] == name
    polynomial = precisionlab.load(name).card.name != "softmax/explicit-gradient"
    assert float(facts["model-index"][0]["results"][0]["metrics"][0]["value"]) < (1e-20 if polynomial else 1.0)
    assert f'load_solver("{name}")' in body
