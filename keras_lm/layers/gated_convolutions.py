"""A stack of gated convolutions, as convolutional encoders of sequences have it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, RecurrentSeq2SeqConfig
from keras_lm.layers.positions import sinusoidal_positions

WIDTH = 3
"""How many tokens a filter sees; the paper's."""


@keras.saving.register_keras_serializable("keras_lm")
class GatedConvolutions(Configured, keras.layers.Layer):
    """Residual gated convolutions: token vectors [B, S, E] → [B, S, D].

        vectors + positions → linear → L × x ← √½ (x + a · σ(b)),  [a; b] = convolution of x

    The encoder of "Convolutional Sequence to Sequence Learning" (https://arxiv.org/abs/1705.03122),
    with sinusoidal positions for learned ones: a convolution alone does not know where it is, and
    sources have no limit. Padding, like what is beyond the ends, is 0 in every layer.

    Args:
        config: a `RecurrentSeq2SeqConfig`, of which it reads `encoder_layers`, `hidden_dim`,
            `embedding_dim` and `dropout`.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentSeq2SeqConfig(
    ...     vocab_size=9, num_layers=1, hidden_dim=8, encoder="cnn")
    >>> GatedConvolutions(config)(ops.ones((2, 5, 8)), ops.ones((2, 5), "bool")).shape
    TensorShape([2, 5, 8])
    """

    config_class = RecurrentSeq2SeqConfig

    def __init__(self, config: RecurrentSeq2SeqConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        policy = self.dtype_policy
        self.enter = keras.layers.Dense(config.hidden_dim, dtype=policy, name="enter")
        self.convolutions = [
            keras.layers.Conv1D(
                2 * config.hidden_dim,
                WIDTH,
                padding="same",
                # A gate halves what passes (section 3.5 of the paper).
                kernel_initializer=keras.initializers.VarianceScaling(
                    4.0, "fan_in", "untruncated_normal"
                ),
                dtype=policy,
                name=f"convolution_{i}",
            )
            for i in range(config.encoder_layers)
        ]
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)
        self.build((None, None, config.embedding_dim))

    def build(self, inputs_shape: Any) -> None:
        self.enter.build(inputs_shape)
        for convolution in self.convolutions:
            convolution.build((None, None, self.config.hidden_dim))
        self.built = True

    def call(self, inputs: Any, source_mask: Any, training: bool | None = None) -> Any:
        """Filters.

        Args:
            inputs: [B, S, E].
            source_mask: bool [B, S], True = token. Padding may stand on either side.
            training: applies dropout, to the vectors and to what each convolution reads.
        """
        real = ops.cast(source_mask, inputs.dtype)[:, :, None]
        positions = ops.cumsum(ops.cast(source_mask, "int32"), axis=1) - 1
        places = sinusoidal_positions(positions, self.config.embedding_dim)
        hidden = self.dropout(inputs + ops.cast(places, inputs.dtype), training=training)
        hidden = self.enter(hidden) * real
        for convolution in self.convolutions:
            values, gates = ops.split(convolution(self.dropout(hidden, training=training)), 2, -1)
            hidden = (hidden + values * ops.sigmoid(gates)) * 0.5**0.5 * real
        return hidden
