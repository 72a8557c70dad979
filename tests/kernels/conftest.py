import pytest
import torch

from solvers import fused


@pytest.fixture(scope="session")
def kernels():
    """The compiled module; where it was not built there is nothing to test here."""
    if fused.module() is None:
        pytest.skip("precisionlab_kernels was not built")
    return fused.module()


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(20)


@pytest.fixture
def one_and_more_threads():
    """Set the number of threads, and put it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
