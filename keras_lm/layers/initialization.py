"""All initialisation, in one place."""

from __future__ import annotations

import keras

from keras_lm.config import TransformerConfig


def initial_weights(config: TransformerConfig, residual: bool = False) -> keras.Initializer:
    """Normal with GPT-2's scale.

    Args:
        config: gives the standard deviation, `initializer_range`.
        residual: for the projections that write into the residual stream. There are two in
            each of L blocks, so theirs is divided by √(2L), and the stream's variance does not
            grow with depth (Radford et al. 2019, section 2.3). Where the stream itself is
            normalised (`norm_position="post"`), or what is added to it (`"sandwich"`), theirs is
            as any other.
    """
    grows = residual and config.norm_position == "pre"
    scale = (2 * config.num_layers) ** -0.5 if grows else 1.0
    return keras.initializers.RandomNormal(stddev=config.initializer_range * scale)
