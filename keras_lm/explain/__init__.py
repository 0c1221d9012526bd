"""Looking inside: what a model attends to."""

from keras_lm.explain.attention import AttentionMaps, attention_maps

__all__ = ["AttentionMaps", "attention_maps"]
