"""Looking inside a trained model: weights, Jacobian, the tokens between its layers, the polynomial that it is."""

from precisionlab.inspect.jacobian import numerical_rank, spectrum
from precisionlab.inspect.tokens import tokens
from precisionlab.inspect.weights import weights
from precisionlab.models.polynomial import Polynomial, describe, extract

__all__ = ["Polynomial", "describe", "extract", "numerical_rank", "spectrum", "tokens", "weights"]
