"""The position-wise half of a block."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_lm.config import Configured, TransformerConfig
from keras_lm.layers.initialization import initial_weights

GATES = {"swiglu": "silu", "geglu": "gelu_tanh"}
"""Activations of feed-forwards with a gate, and that of the gate."""


@keras.saving.register_keras_serializable("keras_lm")
class FeedForward(Configured, keras.layers.Layer):
    """Two linear layers with an activation between them: [B, T, D] → [B, T, F] → [B, T, D].

    `"swiglu"` computes `silu(x · gate) * (x · up)` before the second layer, `"geglu"` the same with
    GPT-2's gelu (https://arxiv.org/abs/2002.05202); gate and up are one product.

    Example:

    >>> import keras_lm as klm
    >>> config = klm.TransformerConfig(vocab_size=9, num_layers=1, hidden_dim=8, num_heads=2)
    >>> FeedForward(config)(ops.ones((1, 3, 8))).shape
    TensorShape([1, 3, 8])
    """

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.gated = config.activation in GATES
        self.expand = keras.layers.Dense(
            config.feed_forward_dim * (2 if self.gated else 1),
            use_bias=config.use_bias,
            kernel_initializer=initial_weights(config),
            dtype=self.dtype_policy,
            name="expand",
        )
        self.contract = keras.layers.Dense(
            config.hidden_dim,
            use_bias=config.use_bias,
            kernel_initializer=initial_weights(config, residual=True),
            dtype=self.dtype_policy,
            name="contract",
        )
        self.dropout = keras.layers.Dropout(config.feed_forward_dropout, dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], self.config.feed_forward_dim))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        hidden = self.expand(inputs)
        if self.gated:
            gate, up = ops.split(hidden, 2, axis=-1)
            hidden = activate(gate, GATES[self.config.activation]) * up
        else:
            hidden = activate(hidden, self.config.activation)
        return self.contract(self.dropout(hidden, training=training))


def activate(inputs: Any, activation: str) -> Any:
    """`"relu"`, `"silu"`, `"tanh"`, `"gelu"` (exact) or `"gelu_tanh"` of each element."""
    if activation == "relu":
        return ops.relu(inputs)
    if activation == "silu":
        return ops.silu(inputs)
    if activation == "tanh":
        return ops.tanh(inputs)
    if activation == "gelu":  # in 16 bits the error function is coarse, and slow on processors
        return ops.cast(ops.gelu(ops.cast(inputs, "float32"), approximate=False), inputs.dtype)
    return ops.gelu(inputs, approximate=True)
