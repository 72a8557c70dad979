"""The memory of large results: used again once a result is gone, and never while it lives."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.fused import LARGE, fresh, module

pytestmark = pytest.mark.usefixtures("kernels")
LIKE = torch.zeros(0, dtype=torch.float64)
DOUBLES = LARGE // 8
KEPT = 256 << 20
"""What README.md says is kept at most."""


def test_large_result_lies_where_one_lay_that_is_gone():
    first = fresh(LIKE, 3, DOUBLES)
    address = first.data_ptr()
    assert address % 64 == 0
    del first
    assert fresh(LIKE, 3 * DOUBLES).data_ptr() == address


def test_view_keeps_the_memory_of_its_result():
    view = fresh(LIKE, 2, DOUBLES)[1:].zero_()
    gc.collect()
    fresh(LIKE, 2, DOUBLES).fill_(1.0)
    assert not view.any()


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=30))
def test_results_that_live_share_nothing(steps):
    live = {}
    for mark, (size, slot) in enumerate(steps):
        live[slot] = (mark, fresh(LIKE, size * DOUBLES).fill_(mark))
        for written, tensor in live.values():
            assert (tensor == written).all()


def test_no_more_is_kept_than_promised_and_all_of_it_returned():
    module().release()
    blocks = [fresh(LIKE, 12 * DOUBLES) for _ in range(KEPT // (12 * LARGE) + 3)]
    del blocks
    kept = module().release()
    assert KEPT - 12 * LARGE < kept <= KEPT
    assert module().release() == 0


def test_beyond_the_limit_nothing_is_kept():
    module().release()
    fresh(LIKE, KEPT // 8 + 1)
    assert module().release() == 0


def test_small_result_is_torchs_own():
    module().release()
    fresh(LIKE, DOUBLES - 1)
    assert module().release() == 0
