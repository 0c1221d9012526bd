"""The one place that chooses a normalisation."""

from __future__ import annotations

import keras

from keras_lm.config import TransformerConfig


def make_norm(config: TransformerConfig, name: str, dtype: keras.DTypePolicy) -> keras.Layer:
    """Keras's layer for `config.norm`; statistics are taken in float32."""
    if config.norm == "rms":
        layer = keras.layers.RMSNormalization
    else:
        layer = keras.layers.LayerNormalization
    return layer(epsilon=config.norm_epsilon, name=name, dtype=dtype)
