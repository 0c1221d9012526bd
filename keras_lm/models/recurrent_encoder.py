"""Recurrent encoders: layers that read a text in both directions."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import RecurrentEncoderConfig
from keras_lm.layers.recurrent import Recurrent
from keras_lm.models.base import Backbone


@keras.saving.register_keras_serializable("keras_lm")
class RecurrentEncoder(Backbone):
    """Recurrent layers that read in both directions: token ids [B, T] → hidden states [B, T, D].

        ids → embedding → L × (forwards ‖ backwards) → hidden states

    The state of a token has what was read up to it from the left and from the right, D / 2 each.
    The weights exist as soon as the model does.

    `inputs` is as for every `Backbone`: `padding_mask`, on either side, leaves the states as they
    are, and where `segment_ids` changes they start from zero; `positions` and `token_types` say
    nothing to this model.

    Args:
        config: a `RecurrentEncoderConfig`.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one. The
            states are float32 all the same.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentEncoderConfig(vocab_size=9, num_layers=2, hidden_dim=8, cell="gru")
    >>> klm.models.RecurrentEncoder(config)(ops.ones((1, 3), "int32")).shape
    TensorShape([1, 3, 8])
    """

    config_class = RecurrentEncoderConfig

    def __init__(self, config: RecurrentEncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, RecurrentEncoderConfig):
            raise ValueError(f"config must be a RecurrentEncoderConfig; got {config!r}")
        self.config = config
        self.token_embedding = keras.layers.Embedding(
            config.vocab_size,
            config.embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.forward_layers, self.backward_layers = (
            [
                Recurrent(config.one_direction(), dtype=self.dtype_policy, name=f"{direction}_{i}")
                for i in range(config.num_layers)
            ]
            for direction in ("forward", "backward")
        )
        self.dropout = keras.layers.Dropout(config.dropout, dtype=self.dtype_policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        self.token_embedding.build((None, None))
        width = self.config.embedding_dim
        for layers in zip(self.forward_layers, self.backward_layers, strict=True):
            for layer in layers:
                layer.build((None, None, width))
            width = self.config.hidden_dim
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        inputs = inputs if isinstance(inputs, dict) else {"token_ids": inputs}
        forwards: dict[str, Any] = {}
        backwards: dict[str, Any] = {}
        if (mask := inputs.get("padding_mask")) is not None:
            mask = ops.convert_to_tensor(mask)
            forwards["padding_mask"], backwards["padding_mask"] = mask, ops.flip(mask, 1)
        if (segments := inputs.get("segment_ids")) is not None:
            segments = ops.convert_to_tensor(segments)
            changes = segments[:, 1:] != segments[:, :-1]
            forwards["reset"] = ops.pad(changes, [[0, 0], [1, 0]])
            backwards["reset"] = ops.flip(ops.pad(changes, [[0, 0], [0, 1]]), 1)
        hidden = self.token_embedding(inputs["token_ids"])
        for ahead, back in zip(self.forward_layers, self.backward_layers, strict=True):
            hidden = self.dropout(hidden, training=training)
            from_left, _ = ahead(hidden, **forwards)
            from_right, _ = back(ops.flip(hidden, 1), **backwards)
            hidden = ops.concatenate([from_left, ops.flip(from_right, 1)], axis=-1)
        return hidden
