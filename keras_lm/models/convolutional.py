"""Convolutional encoders: filters over the tokens that stand side by side."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import ConvolutionalConfig
from keras_lm.models.base import Backbone


@keras.saving.register_keras_serializable("keras_lm")
class ConvolutionalEncoder(Backbone):
    """Filters of several widths side by side: token ids [B, T] → hidden states [B, T, D].

        ids → embedding → ‖ convolution of each width → hidden states

    The encoder of Kim (2014, https://arxiv.org/abs/1408.5882), whose classifier takes each
    filter's maximum over the text. Padding, like what is beyond the ends of the text, is 0, and
    the output of a filter stands at the token in its middle, of even widths at the one before.
    The weights exist as soon as the model does.

    `inputs` is as for every `Backbone`; `positions` and `token_types` say nothing to this model.

    Args:
        config: a `ConvolutionalConfig`.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one.

    Raises:
        ValueError: when called with `segment_ids`: a filter sees whatever stands next to a token,
            so a row holds one text.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.ConvolutionalConfig(vocab_size=9, hidden_dim=6)
    >>> klm.models.ConvolutionalEncoder(config)(ops.ones((1, 3), "int32")).shape
    TensorShape([1, 3, 6])
    """

    config_class = ConvolutionalConfig

    def __init__(self, config: ConvolutionalConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, ConvolutionalConfig):
            raise ValueError(f"config must be a ConvolutionalConfig; got {config!r}")
        self.config = config
        self.token_embedding = keras.layers.Embedding(
            config.vocab_size,
            config.embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.convolutions = [
            _Convolution(
                config.hidden_dim // len(config.widths),
                width,
                padding="same",
                activation=config.activation,
                dtype=self.dtype_policy,
                name=f"convolution_{i}",
            )
            for i, width in enumerate(config.widths)
        ]
        self.dropout = keras.layers.Dropout(config.dropout, dtype=self.dtype_policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        self.token_embedding.build((None, None))
        for convolution in self.convolutions:
            convolution.build((None, None, self.config.embedding_dim))
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        if inputs.get("segment_ids") is not None:
            raise ValueError(
                "inputs have 'segment_ids'; a ConvolutionalEncoder reads one text a row, not packed"
            )
        hidden = self.dropout(self.token_embedding(inputs["token_ids"]), training=training)
        if (mask := inputs.get("padding_mask")) is not None:
            hidden = hidden * ops.cast(ops.cast(mask, "bool"), hidden.dtype)[:, :, None]
        filtered = [convolution(hidden) for convolution in self.convolutions]
        return ops.concatenate(filtered, axis=-1)


class _Convolution(keras.layers.Conv1D):
    """One of as many vectors as it reads, 0 rows of them too."""

    def call(self, inputs: Any) -> Any:
        found = ops.conv(inputs, self.kernel, padding="same")
        # TensorFlow's result for no rows has, on a CPU, the width of what it read.
        found = ops.reshape(found, (*ops.shape(inputs)[:2], self.filters))
        return self.activation(found + self.bias)
