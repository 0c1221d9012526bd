"""The feed-forward and the block, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.layers import FeedForward, TransformerBlock, make_norm

RANDOM = np.random.default_rng(0)


def config_with(**changes: Any) -> klm.TransformerConfig:
    sizes = {"vocab_size": 5, "num_layers": 1, "hidden_dim": 2, "num_heads": 1}
    return klm.TransformerConfig(**{**sizes, "feed_forward_dim": 3, **changes})


def made(layer: Any) -> Any:
    layer.build((None, None, 2))
    for weight in layer.weights:
        weight.assign(RANDOM.normal(size=weight.shape))
    return layer


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(
    ("activation", "function"),
    [("gelu", gelu), ("gelu_tanh", gelu_tanh), ("relu", lambda x: max(x, 0.0))],
)
def test_activations(activation: str, function: Any) -> None:
    layer = made(FeedForward(config_with(activation=activation)))
    inputs = RANDOM.normal(size=(1, 4, 2)).astype("float32")
    w1, b1, w2, b2 = (ops.convert_to_numpy(weight) for weight in layer.weights)
    expected = np.vectorize(function)(inputs @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(ops.convert_to_numpy(layer(inputs)), expected, atol=1e-5)


def test_gelus_differ() -> None:
    """Else the two names above would prove nothing."""
    assert abs(gelu(-2.0) - gelu_tanh(-2.0)) > 5e-5


def test_swiglu_by_hand() -> None:
    layer = FeedForward(config_with(activation="swiglu", feed_forward_dim=1, use_bias=False))
    layer.build((None, None, 2))
    layer.expand.kernel.assign([[2.0, 5.0], [0.0, 1.0]])  # gate, up
    layer.contract.kernel.assign([[1.0, -1.0]])
    # gate 2, up 8: silu(2) · 8
    answer = 2 / (1 + math.exp(-2)) * 8
    outputs = ops.convert_to_numpy(layer(np.array([[[1.0, 3.0]]], "float32")))
    np.testing.assert_allclose(outputs[0, 0], [answer, -answer], rtol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
def test_biases(use_bias: bool) -> None:
    for activation, width in (("gelu", 3), ("swiglu", 6)):
        layer = made(FeedForward(config_with(activation=activation, use_bias=use_bias)))
        shapes = [tuple(weight.shape) for weight in layer.weights]
        assert shapes == (
            [(2, width), (width,), (3, 2), (2,)] if use_bias else [(2, width), (3, 2)]
        )


def test_norms_by_hand() -> None:
    inputs = np.array([[[3.0, 4.0]]], "float32")
    layer_norm = make_norm(config_with(norm_epsilon=0.75), "norm", None)
    # mean 3.5, variance 0.25
    np.testing.assert_allclose(ops.convert_to_numpy(layer_norm(inputs))[0, 0], [-0.5, 0.5])
    rms = make_norm(config_with(norm="rms", norm_epsilon=3.5), "norm", None)
    # mean of squares 12.5
    np.testing.assert_allclose(ops.convert_to_numpy(rms(inputs))[0, 0], [0.75, 1.0])


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_block_is_two_residual_branches(norm_position: Any) -> None:
    block = made(TransformerBlock(config_with(norm_position=norm_position)))
    inputs = RANDOM.normal(size=(1, 3, 2)).astype("float32")
    if norm_position == "pre":
        hidden = inputs + block.attention(block.attention_norm(inputs))
        expected = hidden + block.feed_forward(block.feed_forward_norm(hidden))
    else:
        hidden = block.attention_norm(inputs + block.attention(inputs))
        expected = block.feed_forward_norm(hidden + block.feed_forward(hidden))
    np.testing.assert_allclose(ops.convert_to_numpy(block(inputs)), expected, atol=1e-5)


def test_block_drops_both_branches_in_training_alone() -> None:
    block = made(TransformerBlock(config_with(dropout=0.5, attention={"dropout": 0.0})))
    inputs = RANDOM.normal(size=(1, 50, 2)).astype("float32")
    silent = [block.attention.output_projection, block.feed_forward.contract]
    outputs = {}
    for name, layer in zip(("attention", "feed_forward"), silent, strict=True):
        saved = layer.get_weights()
        layer.set_weights([0 * value for value in saved])
        outputs[name] = [ops.convert_to_numpy(block(inputs, training=t)) for t in (False, True)]
        layer.set_weights(saved)
    for still, trained in outputs.values():
        changed = np.abs(still - trained) > 1e-6
        assert changed.mean() > 0.3
    np.testing.assert_array_equal(block(inputs), block(inputs, training=False))


@pytest.mark.parametrize("layer_class", [FeedForward, TransformerBlock])
def test_serialization(layer_class: Any) -> None:
    layer = layer_class(config_with(activation="swiglu"), dtype="mixed_bfloat16")
    again = layer_class.from_config(layer.get_config())
    assert (again.config, again.dtype_policy.name) == (layer.config, "mixed_bfloat16")
