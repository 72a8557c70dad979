import pytest
import torch


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240917)


@pytest.fixture(autouse=True)
def _nothing_global_is_left_changed():
    before = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    state = torch.get_rng_state()
    yield
    assert before == (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    assert torch.equal(state, torch.get_rng_state()), "a test or a solver drew from the global generator"
