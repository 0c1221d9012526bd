"""One Transformer layer."""

from __future__ import annotations

from typing import Any

import keras

from keras_lm.config import Configured, TransformerConfig
from keras_lm.layers.attention import Attention, Cache
from keras_lm.layers.feed_forward import FeedForward
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.positions import Rotary


@keras.saving.register_keras_serializable("keras_lm")
class TransformerBlock(Configured, keras.layers.Layer):
    """Attention and feed-forward, each a branch of the residual stream.

        pre:   x ─┬─ norm ─ attention ─┬─(+)─┬─ norm ─ feed-forward ─┬─(+)─→
                  └────────────────────┘     └───────────────────────┘
        post:  x ─┬─ attention ─(+)─ norm ─┬─ feed-forward ─(+)─ norm ─→
                  └─────────────┘          └────────────────┘

    Example:

    >>> import keras_lm as klm
    >>> from keras import ops
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> TransformerBlock(config)(ops.ones((1, 3, 8))).shape
    TensorShape([1, 3, 8])
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        policy = self.dtype_policy
        self.attention = Attention(config, dtype=policy, name="attention")
        self.attention_norm = make_norm(config, "attention_norm", policy)
        self.feed_forward = FeedForward(config, dtype=policy, name="feed_forward")
        self.feed_forward_norm = make_norm(config, "feed_forward_norm", policy)
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)

    def build(self, inputs_shape: tuple[int | None, ...]) -> None:
        for layer in (
            self.attention,
            self.attention_norm,
            self.feed_forward,
            self.feed_forward_norm,
        ):
            layer.build(inputs_shape)
        self.built = True

    def call(
        self,
        inputs: Any,
        attention_mask: Any = None,
        rotary: Rotary | None = None,
        cache: Cache | None = None,
        training: bool | None = None,
    ) -> Any:
        """[B, T, D] → [B, T, D]; with a `cache` also the new keys and values (see `Attention`)."""
        pre = self.config.norm_position == "pre"
        attended = self.attention(
            self.attention_norm(inputs) if pre else inputs,
            attention_mask=attention_mask,
            rotary=rotary,
            cache=cache,
            training=training,
        )
        if cache is not None:
            attended, cache = attended
        hidden = inputs + self.dropout(attended, training=training)
        if not pre:
            hidden = self.attention_norm(hidden)
        fed = self.feed_forward(self.feed_forward_norm(hidden) if pre else hidden)
        hidden = hidden + self.dropout(fed, training=training)
        if not pre:
            hidden = self.feed_forward_norm(hidden)
        return hidden if cache is None else (hidden, cache)
