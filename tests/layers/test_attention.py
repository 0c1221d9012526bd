"""Attention against a plain softmax in NumPy, one query head after the other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import keras_lm as klm
from keras_lm.layers import Attention, rotary_angles, rotary_frequencies

HEADS, WIDTH, D = 4, 6, 10
ROTARY = klm.PositionConfig(kind="rotary", rotary_base=50.0)
RANDOM = np.random.default_rng(0)


def make(kv_heads: int, cross: bool = False, **attention: Any) -> Attention:
    config = klm.TransformerConfig(
        vocab_size=5,
        num_layers=1,
        hidden_dim=D,
        num_heads=HEADS,
        num_kv_heads=kv_heads,
        attention={"head_dim": WIDTH, **attention},
    )
    layer = Attention(config, cross=cross)
    layer.build((None, None, D))
    for weight in layer.weights:
        weight.assign(RANDOM.normal(size=weight.shape))
    return layer


def weights_of(layer: Attention) -> dict[str, np.ndarray]:
    return {weight.path.split("/", 1)[1]: ops.convert_to_numpy(weight) for weight in layer.weights}


def rms(vectors: np.ndarray, scale: np.ndarray, epsilon: float = 1e-5) -> np.ndarray:
    return vectors / np.sqrt((vectors**2).mean(-1, keepdims=True) + epsilon) * scale


def expected_outputs(
    layer: Attention, inputs: np.ndarray, memory: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """[B, T, D], [B, S, D], bool [T, S] → [B, T, D]."""
    weights, kv_heads = weights_of(layer), layer.config.num_kv_heads
    cut = HEADS * WIDTH
    if layer.cross:
        query = inputs @ weights["query/kernel"] + weights["query/bias"]
        both = memory @ weights["key_value/kernel"] + weights["key_value/bias"]
    else:
        kernel, bias = weights["query_key_value/kernel"], weights["query_key_value/bias"]
        query = inputs @ kernel[:, :cut] + bias[:cut]
        both = memory @ kernel[:, cut:] + bias[cut:]
    mixed = []
    for head in range(HEADS):
        group = head // (HEADS // kv_heads)
        q = query[..., head * WIDTH : (head + 1) * WIDTH]
        k = both[..., group * WIDTH : (group + 1) * WIDTH]
        v = both[..., (kv_heads + group) * WIDTH : (kv_heads + group + 1) * WIDTH]
        if layer.config.attention.query_key_norm:
            q, k = rms(q, weights["query_norm/scale"]), rms(k, weights["key_norm/scale"])
        scores = np.where(mask, q @ np.swapaxes(k, 1, 2) / np.sqrt(WIDTH), -np.inf)
        odds = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(odds / odds.sum(-1, keepdims=True) @ v)
    kernel, bias = weights["output_projection/kernel"], weights["output_projection/bias"]
    return np.concatenate(mixed, -1) @ kernel + bias


@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["multi-head", "grouped", "multi-query"])
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "query_key_norm"])
def test_self_attention(kv_heads: int, norm: bool) -> None:
    layer = make(kv_heads, query_key_norm=norm)
    inputs = RANDOM.normal(size=(2, 7, D)).astype("float32")
    mask = np.tri(7, dtype=bool)
    outputs = ops.convert_to_numpy(layer(inputs, attention_mask=mask[None, None]))
    np.testing.assert_allclose(
        outputs, expected_outputs(layer, inputs, inputs, mask), atol=2e-4, rtol=1e-4
    )
    unmasked = ops.convert_to_numpy(layer(inputs))
    expected = expected_outputs(layer, inputs, inputs, np.ones((7, 7), bool))
    np.testing.assert_allclose(unmasked, expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_cross_attention(kv_heads: int) -> None:
    layer = make(kv_heads, cross=True)
    inputs = RANDOM.normal(size=(2, 3, D)).astype("float32")
    memory = RANDOM.normal(size=(2, 5, D)).astype("float32")
    mask = np.array([[1, 1, 1, 0, 0]] * 3, bool)
    outputs = ops.convert_to_numpy(layer(inputs, attention_mask=mask[None, None], memory=memory))
    np.testing.assert_allclose(
        outputs, expected_outputs(layer, inputs, memory, mask), atol=2e-4, rtol=1e-4
    )


def test_a_single_key_gets_all_the_weight() -> None:
    layer = make(2)
    inputs = RANDOM.normal(size=(2, 1, D)).astype("float32")
    outputs = ops.convert_to_numpy(layer(inputs))  # Keras's warning would be an error
    expected = expected_outputs(layer, inputs, inputs, np.ones((1, 1), bool))
    np.testing.assert_allclose(outputs, expected, atol=2e-4)


def angles(positions: np.ndarray) -> Any:
    return rotary_angles(positions, rotary_frequencies(ROTARY, 6))


def test_rotary_turns_queries_and_keys_but_no_values() -> None:
    layer = make(2)
    inputs = RANDOM.normal(size=(1, 4, D)).astype("float32")
    plain = layer(inputs)
    shifted = [
        ops.convert_to_numpy(layer(inputs, rotary=angles(start + np.arange(4)[None])))
        for start in (0, 11)
    ]
    np.testing.assert_allclose(*shifted, atol=1e-4)  # only distances count
    assert np.abs(shifted[0] - ops.convert_to_numpy(plain)).max() > 1e-2
    same_place = layer(inputs, rotary=angles(np.full((1, 4), 3)))
    np.testing.assert_allclose(ops.convert_to_numpy(same_place), plain, atol=1e-4)


def test_cache_is_written_at_its_slot() -> None:
    layer = make(2)
    inputs = RANDOM.normal(size=(1, 2, D)).astype("float32")
    keys = values = np.full((1, 2, 5, WIDTH), 7.0, "float32")
    mask = np.array([[[[0, 0, 1, 0, 0], [0, 0, 1, 1, 0]]]], bool)
    slot = np.array(2, "int32")
    outputs, (new_keys, new_values) = layer(inputs, attention_mask=mask, cache=(keys, values, slot))
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs),
        expected_outputs(layer, inputs, inputs, np.tri(2, dtype=bool)),
        atol=2e-4,
        rtol=1e-4,
    )
    for new in (new_keys, new_values):
        written = (ops.convert_to_numpy(new) != 7.0).all(axis=(0, 1, 3))
        assert written.tolist() == [False, False, True, True, False]


def test_dropout_of_probabilities_in_training_alone() -> None:
    layer = make(2, dropout=0.5)
    inputs = np.ones((1, 6, D), "float32")
    still = ops.convert_to_numpy(layer(inputs, training=False))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(inputs)), still)
    assert np.abs(ops.convert_to_numpy(layer(inputs, training=True)) - still).max() > 1e-2


@pytest.mark.parametrize("cross", [False, True])
def test_serialization(cross: bool) -> None:
    layer = make(2, cross=cross, query_key_norm=True)
    again = Attention.from_config(layer.get_config())
    again.build((None, None, D))
    assert (again.config, again.cross, again.name) == (layer.config, cross, layer.name)
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
    assert keras.layers.deserialize(keras.layers.serialize(layer)).config == layer.config
