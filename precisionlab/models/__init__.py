"""Sequence models: mixers, and the backbone they stand in."""

from precisionlab.models.backbone import Backbone, ModelConfig
from precisionlab.models.linear_attention import LinearAttention

__all__ = ["Backbone", "LinearAttention", "ModelConfig"]
