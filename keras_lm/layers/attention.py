"""Attention: multi-head, grouped-query, cross; with rotary positions and a KV cache."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, TransformerConfig
from keras_lm.layers.initialization import initial_weights
from keras_lm.layers.rotary import Rotary, apply_rotary

Cache = tuple[Any, Any, Any]
"""Keys and values [B, K, S, H], and the slot (int scalar) where the next ones are written."""

Heads = tuple[Any, Any]
"""Keys and values [B, K, S, H]."""


@keras.saving.register_keras_serializable("keras_lm")
class Attention(Configured, keras.layers.Layer):
    """Scaled dot-product attention over K groups of N / K query heads each.

        inputs [B, T, D] ── query ──────────────→ [B, N, T, H] ┐
        inputs or memory ── key, value ──(cache)→ [B, K, S, H] ┴→ softmax → output [B, T, D]

    K = N is multi-head, K = 1 multi-query, between them grouped-query attention. Query, key and
    value of self-attention are one product. Scores and softmax are float32.

    Args:
        config: its `num_heads`, `num_kv_heads` and `attention` are read.
        cross: keys and values come from a `memory`, not from the inputs.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=4,
    ...                                num_kv_heads=2)
    >>> Attention(config)(ops.ones((1, 3, 8))).shape
    TensorShape([1, 3, 8])
    """

    def __init__(self, config: TransformerConfig, cross: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.cross = cross
        head_dim = config.attention.head_dim
        query_dim, kv_dim = config.num_heads * head_dim, 2 * config.num_kv_heads * head_dim
        if cross:
            self.query = self._projection("query", query_dim)
            self.key_value = self._projection("key_value", kv_dim)
        else:
            self.query_key_value = self._projection("query_key_value", query_dim + kv_dim)
        self.output_projection = keras.layers.Dense(
            config.hidden_dim,
            use_bias=config.attention.output_bias,
            kernel_initializer=initial_weights(config, residual=True),
            dtype=self.dtype_policy,
            name="output_projection",
        )
        if config.attention.query_key_norm:
            self.query_norm, self.key_norm = (
                keras.layers.RMSNormalization(
                    epsilon=config.norm_epsilon, dtype=self.dtype_policy, name=name
                )
                for name in ("query_norm", "key_norm")
            )
        self.dropout = keras.layers.Dropout(config.attention.dropout, dtype=self.dtype_policy)

    def _projection(self, name: str, width: int) -> keras.layers.Dense:
        return keras.layers.Dense(
            width,
            use_bias=self.config.attention.bias,
            kernel_initializer=initial_weights(self.config),
            dtype=self.dtype_policy,
            name=name,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cross": self.cross}

    def build(self, inputs_shape: tuple[int | None, ...]) -> None:
        shape, head_dim = (None, None, self.config.hidden_dim), self.config.attention.head_dim
        for layer in (self.query, self.key_value) if self.cross else (self.query_key_value,):
            layer.build(shape)
        self.output_projection.build((None, None, self.config.num_heads * head_dim))
        if self.config.attention.query_key_norm:
            self.query_norm.build((None, None, None, head_dim))
            self.key_norm.build((None, None, None, head_dim))
        self.built = True

    def call(
        self,
        inputs: Any,
        attention_mask: Any = None,
        memory: Any = None,
        rotary: Rotary | None = None,
        cache: Cache | None = None,
        position_bias: Any = None,
        training: bool | None = None,
        return_map: bool = False,
    ) -> Any:
        """Attends.

        Args:
            inputs: [B, T, D].
            attention_mask: bool, broadcastable to [B, 1, T, S]; True = may attend.
            memory: [B, S, D], what cross-attention looks at; or its `memory_heads`.
            rotary: the result of `rotary_angles` for the inputs' positions.
            cache: the new keys and values are written into it, and all of it is attended to.
            position_bias: broadcastable to [B, N, T, S], added to the scores.
            training: applies dropout.
            return_map: gives what every head looks at as well.

        Returns:
            [B, T, D]; with a `cache` or `return_map` a tuple of that, the new `(keys, values)` if
            there is a `cache`, and with `return_map` float32 [B, N, T, S], whose rows sum to 1.
        """
        query, key, value = self._heads(inputs, memory, rotary)
        if cache is not None:
            keys, values, slot = cache
            start = (0, 0, slot, 0)
            key = ops.slice_update(keys, start, ops.cast(key, keys.dtype))
            value = ops.slice_update(values, start, ops.cast(value, values.dtype))
        probabilities = self._probabilities(query, key, attention_mask, position_bias)
        dropped = self.dropout(probabilities, training=training)
        outputs = self.output_projection(self._weighted_values(dropped, value))
        more: list[Any] = [] if cache is None else [(key, value)]
        if return_map:
            more.append(ops.cast(probabilities, "float32"))
        return (outputs, *more) if more else outputs

    def memory_heads(self, memory: Any) -> Heads:
        """Keys and values [B, K, S, H] of a memory [B, S, D], for calls that share it."""
        return _split_in_two(
            self._split_heads(self.key_value(memory), 2 * self.config.num_kv_heads)
        )

    def _heads(self, inputs: Any, memory: Any, rotary: Rotary | None) -> tuple[Any, Any, Any]:
        """Query [B, N, T, H], key and value [B, K, S, H]."""
        config = self.config
        num_heads, num_kv = config.num_heads, config.num_kv_heads
        scale = config.attention.head_dim**-0.5 if config.attention.scaled else 1.0
        if self.cross:
            query = self._split_heads(self.query(inputs), num_heads)
            key, value = memory if isinstance(memory, tuple) else self.memory_heads(memory)
            if config.attention.query_key_norm:
                query, key = self.query_norm(query), self.key_norm(key)
            return ops.transpose(query * scale, (0, 2, 1, 3)), key, value
        heads = self._split_heads(self.query_key_value(inputs), num_heads + 2 * num_kv)
        query, key, value = ops.split(heads, [num_heads, num_heads + num_kv], axis=2)
        if config.attention.query_key_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        if rotary is not None:
            query, key = apply_rotary(query, rotary), apply_rotary(key, rotary)
        return tuple(ops.transpose(part, (0, 2, 1, 3)) for part in (query * scale, key, value))

    def _split_heads(self, inputs: Any, count: int) -> Any:
        batch, length = ops.shape(inputs)[:2]
        return ops.reshape(inputs, (batch, length, count, self.config.attention.head_dim))

    def _probabilities(self, query: Any, key: Any, attention_mask: Any, position_bias: Any) -> Any:
        """Softmax of the scores: [B, N, T, S] in the compute dtype."""
        batch, num_heads, length, head_dim = ops.shape(query)
        num_kv = self.config.num_kv_heads
        grouped = ops.reshape(query, (batch, num_kv, num_heads // num_kv * length, head_dim))
        scores = ops.cast(ops.matmul(grouped, ops.transpose(key, (0, 1, 3, 2))), "float32")
        scores = ops.reshape(scores, (batch, num_heads, length, ops.shape(key)[2]))
        if position_bias is not None:
            scores = scores + ops.cast(position_bias, "float32")  # Keras casts what layers read
        if attention_mask is not None:
            # Adding is cheaper than selecting, and its gradient costs nothing.
            scores = scores + ops.where(attention_mask, 0.0, -1e9)
        if scores.shape[-1] == 1:  # Keras warns of a softmax over a single score
            return ops.ones_like(scores, query.dtype)
        return ops.cast(ops.softmax(scores), query.dtype)

    def _weighted_values(self, probabilities: Any, value: Any) -> Any:
        """[B, N, T, S] × [B, K, S, H] → [B, T, N · H]."""
        batch, num_heads, length, source = ops.shape(probabilities)
        num_kv, head_dim = self.config.num_kv_heads, self.config.attention.head_dim
        grouped = ops.reshape(probabilities, (batch, num_kv, num_heads // num_kv * length, source))
        mixed = ops.matmul(grouped, ops.cast(value, probabilities.dtype))
        mixed = ops.reshape(mixed, (batch, num_heads, length, head_dim))
        return ops.reshape(
            ops.transpose(mixed, (0, 2, 1, 3)), (batch, length, num_heads * head_dim)
        )


def _split_in_two(heads: Any) -> Heads:
    """Heads [B, S, 2 · K, H] as two times [B, K, S, H]."""
    first, second = ops.split(ops.transpose(heads, (0, 2, 1, 3)), 2, axis=1)
    return first, second
