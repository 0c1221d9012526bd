"""Recurrent encoders: layers that read a text in both directions, or in one."""

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

    The state of a token has what was read up to it from the left and from the right, D / 2 each;
    without `bidirectional` it is all from the left. The weights exist as soon as the model does.

    `inputs` is as for every `Backbone`: `padding_mask`, on either side, leaves the states as they
    are, and where `segment_ids` changes they start from zero; `positions` and `token_types` say
    nothing to this model.

    Args:
        config: a `RecurrentEncoderConfig`.
        token_embedding: a layer that another model has as well; default: an own one.
        dtype: a Keras dtype policy such as `"mixed_bfloat16"`; default: the global one. The
            states are float32 all the same.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.RecurrentEncoderConfig(vocab_size=9, num_layers=2, hidden_dim=8, cell="gru")
    >>> klm.models.RecurrentEncoder(config)(ops.ones((1, 3), "int32")).shape
    TensorShape([1, 3, 8])
    """

    config_class = RecurrentEncoderConfig

    def __init__(
        self, config: RecurrentEncoderConfig, token_embedding: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(config, RecurrentEncoderConfig):
            raise ValueError(f"config must be a RecurrentEncoderConfig; got {config!r}")
        self.config = config
        self.token_embedding = token_embedding or keras.layers.Embedding(
            config.vocab_size,
            config.embedding_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
            dtype=self.dtype_policy,
            name="token_embedding",
        )

        def layers(direction: str) -> list[Recurrent]:
            own, policy = config.one_direction(), self.dtype_policy
            return [
                Recurrent(own, dtype=policy, name=f"{direction}_{i}")
                for i in range(config.num_layers)
            ]

        self.forward_layers = layers("forward")
        self.backward_layers = layers("backward") if config.bidirectional else []
        self.dropout = keras.layers.Dropout(config.dropout, dtype=self.dtype_policy)
        self.build((None, None))

    def build(self, inputs_shape: Any) -> None:
        if not self.token_embedding.built:
            self.token_embedding.build((None, None))
        for layers in (self.forward_layers, self.backward_layers):
            width = self.config.embedding_dim
            for layer in layers:
                layer.build((None, None, width))
                width = self.config.hidden_dim
        self.built = True

    def hidden_states(self, inputs: Any, training: bool | None = None) -> Any:
        return self.read(inputs, training=training)[0]

    def read(self, inputs: Any, training: bool | None = None) -> tuple[Any, list[Any]]:
        """The hidden states [B, T, D], and the last states of each layer.

        Those are float32 [B, D], h of both directions side by side; with the cell `"lstm"`
        [B, 2 D], as c is beside them.
        """
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
        hidden, last = self.token_embedding(inputs["token_ids"]), []
        for i, ahead in enumerate(self.forward_layers):
            hidden = self.dropout(hidden, training=training)
            outputs, state = ahead(hidden, **forwards)
            if self.backward_layers:
                from_right, right = self.backward_layers[i](ops.flip(hidden, 1), **backwards)
                outputs = ops.concatenate([outputs, ops.flip(from_right, 1)], axis=-1)
                state = [side for pair in zip(state, right, strict=True) for side in pair]
            hidden = outputs
            last.append(ops.concatenate(list(state), axis=-1))
        return hidden, last
