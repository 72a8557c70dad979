"""The residual norm of problems of any size."""

import math

import pytest
import torch

from solvers._core.triangular import residual_norm


def test_terms_that_overflow_may_cancel():
    A = torch.tensor([[[1e308, 1e308], [1.0, 1.0]]], dtype=torch.float64)
    x = torch.tensor([[10.0, -10.0]], dtype=torch.float64)
    b = torch.tensor([[3e300, 4e300]], dtype=torch.float64)
    assert residual_norm(A, b, x).item() == pytest.approx(5e300, rel=1e-15)


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_the_residual_of_what_is_no_number_is_infinite(wrong):
    A = torch.tensor([[[0.0], [1.0]]] * 2, dtype=torch.float64)
    x = torch.tensor([[wrong], [1.0]], dtype=torch.float64)
    b = torch.tensor([[3.0, 1.0]] * 2, dtype=torch.float64)
    assert residual_norm(A, b, x).tolist() == [math.inf, 3.0]


def test_a_residual_below_the_range_of_squares():
    A = torch.tensor([[[1.0], [1.0]]], dtype=torch.float64)
    b = torch.tensor([[3e-300, 4e-300]], dtype=torch.float64)
    assert residual_norm(A, b, torch.zeros(1, 1, dtype=torch.float64)).item() == pytest.approx(5e-300, rel=1e-15)
