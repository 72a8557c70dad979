from collections.abc import Iterator

import pytest
import torch

from precisionlab.precision import current_math_flags


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def _process_wide_state_is_left_as_it_was() -> Iterator[None]:
    before = (torch.get_default_dtype(), torch.get_num_threads(), current_math_flags())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), current_math_flags())
