"""One Transformer layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_lm.config import Configured, TransformerConfig
from keras_lm.layers.attention import Attention, Cache
from keras_lm.layers.feed_forward import FeedForward
from keras_lm.layers.normalization import make_norm
from keras_lm.layers.rotary import Rotary


@keras.saving.register_keras_serializable("keras_lm")
class TransformerBlock(Configured, keras.layers.Layer):
    """Attention and feed-forward, each a branch of the residual stream.

        pre:   x ─┬─ norm ─ attention ─┬─(+)─┬─ norm ─ feed-forward ─┬─(+)─→
                  └────────────────────┘     └───────────────────────┘
        post:  x ─┬─ attention ─(+)─ norm ─┬─ feed-forward ─(+)─ norm ─→
                  └─────────────┘          └────────────────┘
        sandwich:  as pre, with another norm behind each branch
        parallel:  x ─┬─ norm ─ attention ───(+)─→      one norm: both branches read
                      ├─ norm ─ feed-forward ─┤                   the first
                      └───────────────────────┘

    With `cross` a third branch between them attends to a memory.

    Args:
        config: a `TransformerConfig`.
        cross: has cross-attention.

    Example:

    >>> import keras_lm as klm
    >>> from keras import ops
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> TransformerBlock(config)(ops.ones((1, 3, 8))).shape
    TensorShape([1, 3, 8])
    """

    def __init__(self, config: TransformerConfig, cross: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.cross = cross
        policy = self.dtype_policy
        self.attention = Attention(config, dtype=policy, name="attention")
        self.attention_norm = make_norm(config, "attention_norm", policy)
        if cross:
            self.cross_attention = Attention(
                config, cross=True, dtype=policy, name="cross_attention"
            )
            self.cross_attention_norm = make_norm(config, "cross_attention_norm", policy)
        self.feed_forward = FeedForward(config, dtype=policy, name="feed_forward")
        if config.residual != "parallel_one_norm":
            self.feed_forward_norm = make_norm(config, "feed_forward_norm", policy)
        if config.norm_position == "sandwich":
            self.attention_output_norm = make_norm(config, "attention_output_norm", policy)
            self.feed_forward_output_norm = make_norm(config, "feed_forward_output_norm", policy)
        self.dropout = keras.layers.Dropout(config.dropout, dtype=policy)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cross": self.cross}

    def build(self, inputs_shape: tuple[int | None, ...]) -> None:
        layers = [self.attention, self.attention_norm, self.feed_forward]
        if self.cross:
            layers += [self.cross_attention, self.cross_attention_norm]
        if self.config.residual != "parallel_one_norm":
            layers.append(self.feed_forward_norm)
        if self.config.norm_position == "sandwich":
            layers += [self.attention_output_norm, self.feed_forward_output_norm]
        for layer in layers:
            layer.build(inputs_shape)
        self.built = True

    def call(
        self,
        inputs: Any,
        attention_mask: Any = None,
        rotary: Rotary | None = None,
        cache: Cache | None = None,
        memory: Any = None,
        memory_mask: Any = None,
        position_bias: Any = None,
        training: bool | None = None,
        return_maps: bool = False,
    ) -> Any:
        """Reads a sequence.

        Args:
            inputs: [B, T, D].
            attention_mask: bool, broadcastable to [B, 1, T, T]; True = may attend.
            rotary: the result of `rotary_angles`.
            cache: the new keys and values are written into it (see `Attention`).
            memory: with `cross`: [B, S, D], or its `memory_heads`.
            memory_mask: bool, broadcastable to [B, 1, T, S].
            position_bias: broadcastable to [B, N, T, T], added to the scores.
            training: applies dropout.
            return_maps: gives what every head looks at as well.

        Returns:
            [B, T, D]; with a `cache` or `return_maps` a tuple of that, the new keys and values if
            there is a `cache`, and with `return_maps` a tuple of the maps float32 [B, N, T, T] and,
            with `cross`, [B, N, T, S].
        """
        entered = self._enter(inputs, self.attention_norm)
        attended = self.attention(
            entered,
            attention_mask=attention_mask,
            rotary=rotary,
            cache=cache,
            position_bias=position_bias,
            training=training,
            return_map=return_maps,
        )
        attended, *more = attended if isinstance(attended, tuple) else (attended,)
        maps = [more.pop()] if return_maps else []
        if self.config.norm_position == "sandwich":
            attended = self.attention_output_norm(attended)
        hidden = self._join(inputs, attended, self.attention_norm, training)
        if self.cross:
            looked = self.cross_attention(
                self._enter(hidden, self.cross_attention_norm),
                attention_mask=memory_mask,
                memory=memory,
                training=training,
                return_map=return_maps,
            )
            if return_maps:
                looked, cross_map = looked
                maps.append(cross_map)
            hidden = self._join(hidden, looked, self.cross_attention_norm, training)
        if self.config.residual != "parallel_one_norm":
            before = hidden if self.config.residual == "sequential" else inputs
            entered = self._enter(before, self.feed_forward_norm)
        fed = self.feed_forward(entered, training=training)
        if self.config.norm_position == "sandwich":
            fed = self.feed_forward_output_norm(fed)
        hidden = self._join(hidden, fed, getattr(self, "feed_forward_norm", None), training)
        if return_maps:
            more.append(tuple(maps))
        return (hidden, *more) if more else hidden

    def _enter(self, hidden: Any, norm: keras.Layer) -> Any:
        """What a branch reads."""
        return hidden if self.config.norm_position == "post" else norm(hidden)

    def _join(self, hidden: Any, branch: Any, norm: keras.Layer, training: bool | None) -> Any:
        """The stream with what a branch has made."""
        hidden = hidden + self.dropout(branch, training=training)
        return norm(hidden) if self.config.norm_position == "post" else hidden


def arguments_by_layer(
    config: TransformerConfig, arguments: Callable[[bool], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What each of the L blocks is told besides its inputs, made once for each kind of layer.

    Args:
        config: of the model.
        arguments: whether layers have a sliding window → the arguments of their calls.
    """
    kinds = [config.is_local(layer) for layer in range(config.num_layers)]
    made = {is_local: arguments(is_local) for is_local in sorted(set(kinds))}
    return [made[is_local] for is_local in kinds]
