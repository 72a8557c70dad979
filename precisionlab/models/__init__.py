"""Sequence models: mixers, and the backbone they stand in."""

from precisionlab.models.answer_token import AnswerStack, EquivariantAnswer
from precisionlab.models.backbone import Backbone, Shape, build
from precisionlab.models.config import ModelConfig
from precisionlab.models.equivariant_attention import EquivariantAttention, EquivariantStack
from precisionlab.models.gated_convolution import GatedConvolution
from precisionlab.models.linear_attention import LinearAttention
from precisionlab.models.mesa import Mesa, mesa
from precisionlab.models.mixer import MIXERS, Mixer, mixer
from precisionlab.models.softmax_attention import SoftmaxAttention

__all__ = [
    "MIXERS",
    "AnswerStack",
    "Backbone",
    "EquivariantAnswer",
    "EquivariantAttention",
    "EquivariantStack",
    "GatedConvolution",
    "LinearAttention",
    "Mesa",
    "Mixer",
    "ModelConfig",
    "Shape",
    "SoftmaxAttention",
    "build",
    "mesa",
    "mixer",
]
