"""What is seen inside a model is what the model does."""

import pytest
import torch

import precisionlab
from precisionlab.inspect import describe, numerical_rank, spectrum, tokens, weights
from precisionlab.runs import Run

EPS = torch.finfo(torch.float64).eps
NAMES = ["linear-attention/explicit-gradient", "gated-conv/gradient-descent-8", "linear-attention/newton-schulz"]


@pytest.fixture(scope="module", params=NAMES)
def run(request: pytest.FixtureRequest) -> Run:
    return precisionlab.load(request.param)


def prompts(run: Run, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return run.experiment.task.sample(count, generator=generator, dtype=torch.float64).prompt


def test_the_last_tokens_are_what_the_answer_is_read_from(run: Run) -> None:
    model, prompt = run.model, prompts(run)
    seen = tokens(run, prompt)
    assert len(seen) == run.experiment.model.layers + 1
    every = model.shape.every_token
    assert [part.shape[1] for part in seen] == [prompt.shape[1]] * (len(seen) - 1) + [prompt.shape[1] if every else 1]
    once = model.read_out(seen[-1] if every else seen[-1][:, 0])
    loops, model.loops = model.loops, 1
    try:
        assert torch.equal(model(prompt), once)
    finally:
        model.loops = loops


def test_layers_lead_from_tokens_to_tokens(run: Run) -> None:
    before, after, *_ = tokens(run, prompts(run))
    mixed = run.model.mixers[0](before)
    expected = (before + mixed)[:, run.model.readers] if after.shape != before.shape else before + mixed
    assert (after - expected).abs().max() <= 64 * run.experiment.model.width * EPS * (1 + expected.abs().max())


def test_weights_are_told_tensor_by_tensor(run: Run) -> None:
    table = weights(run).set_index("tensor")
    parameters = dict(run.model.named_parameters())
    assert set(table.index) == set(parameters)
    for name, weight in parameters.items():
        assert table.loc[name, "zeros"] == int((weight == 0).sum())
        if weight.dim() == 2 and weight.numel():
            assert table.loc[name, "rank"] == int(torch.linalg.matrix_rank(weight))


def test_directions_that_change_no_answer_have_no_singular_value() -> None:
    run = precisionlab.load("linear-attention/heavy-ball")
    values = spectrum(run)
    assert values[0] == 1
    assert bool((values[1:] <= values[:-1]).all())
    # Keys and queries of the head change together by any invertible matrix, as values and output projection do.
    free = 2 * run.experiment.model.width**2
    assert 0 < numerical_rank(values, run.card.parameters) <= run.card.parameters - free


def test_the_algorithm_is_told_in_words() -> None:
    assert describe(precisionlab.load("linear-attention/newton-schulz").model).startswith("x_j ← ")
