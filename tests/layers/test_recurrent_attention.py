"""Attention of recurrent decoders by hand, and the loop with input feeding against a plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import harness
import numpy as np
import pytest
import tensorflow as tf
from keras import tree

import keras_lm as klm
from keras_lm.layers.input_feeding import read_with_feeding, train_with_feeding
from keras_lm.layers.recurrent_attention import RecurrentAttention
from keras_lm.models import RecurrentSeq2Seq

B, S, T, E, D = 3, 4, 5, 3, 4
KINDS = ("additive", "multiplicative")


def config_of(attention: str, **fields: Any) -> klm.RecurrentSeq2SeqConfig:
    return klm.RecurrentSeq2SeqConfig(
        **{"vocab_size": 9, "num_layers": 1, "hidden_dim": D, "attention": attention, **fields}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_scores_by_hand(kind: str) -> None:
    """D = 2, one state, three tokens, and numbers that can be followed on paper."""
    layer = RecurrentAttention(config_of(kind, hidden_dim=2))
    memory, hidden = np.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]]), np.array([[[1.0, -1.0]]])
    layer.key.kernel.assign([[0.0, 1.0], [1.0, 0.0]])  # exchanges the two components
    layer.combine.kernel.assign([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    keys = layer.keys(memory.astype("float32"))
    np.testing.assert_array_equal(keys, memory[..., ::-1])
    if kind == "additive":
        layer.query.kernel.assign([[2.0, 0.0], [0.0, 2.0]])
        layer.score.assign([[3.0], [1.0]])
        # tanh of [2, -2] + [0, 1] and of [2, -2] + [2, 0], with v = [3, 1]
        scores = [3 * np.tanh(2) + np.tanh(-1), 3 * np.tanh(4) + np.tanh(-2)]
    else:
        scores = [0 - 1, 2 - 0]  # [1, -1] · [0, 1] and [1, -1] · [2, 0]
    mask = np.array([[True, True, False]])
    attended, looked_at = layer(hidden.astype("float32"), memory.astype("float32"), keys, mask)
    first = np.exp(scores[0]) / np.exp(scores).sum()
    np.testing.assert_allclose(looked_at[0, 0], [first, 1 - first, 0], atol=1e-6)
    # The context is [first, 2 (1 - first)]; half of h's first component comes to its first.
    expected = np.tanh([first + 0.5, 2 * (1 - first)])
    np.testing.assert_allclose(attended[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_by_a_plain_loop(kind: str) -> None:
    model = harness.random_model(RecurrentSeq2Seq, config_of(kind))
    layer, random = model.attention, np.random.default_rng(0)
    hidden = random.normal(size=(B, T, D)).astype("float32")
    memory = random.normal(size=(B, S, D)).astype("float32")
    mask = np.arange(S) < np.array([[4], [2], [3]])
    attended, looked_at = layer(hidden, memory, layer.keys(memory), mask)
    weights = {weight.path.split("/")[-2]: np.asarray(weight) for weight in layer.weights}
    for b in range(B):
        for t in range(T):
            h, rows = hidden[b, t], memory[b][mask[b]]
            if kind == "additive":
                sums = np.tanh(h @ weights["query"] + rows @ weights["key"])
                scores = sums @ np.asarray(layer.score)[:, 0]
            else:
                scores = rows @ weights["key"] @ h
            shares = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(looked_at[b, t][mask[b]], shares, atol=1e-5)
            assert not np.any(looked_at[b, t][~mask[b]])
            both = np.concatenate([shares @ rows, h])
            expected = np.tanh(both @ weights["combine"])
            np.testing.assert_allclose(attended[b, t], expected, atol=1e-5)


# ---- input feeding


def feeding(cell: str, kind: str, dtype: str = "float64") -> tuple[RecurrentSeq2Seq, Any, Any, Any]:
    """A model of three layers; inputs, a state, and factors of dropout."""
    fields = {"cell": cell, "num_layers": 3, "embedding_dim": E, "input_feeding": True}
    if cell == "gru":
        fields["reset_after"] = kind == "additive"
    model: Any = RecurrentSeq2Seq(config_of(kind, **fields), dtype=dtype)
    harness.randomize(model)
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return tf.constant(random.normal(size=shape), dtype)

    state = {
        "layers": tuple(tuple(normal(B, D) for _ in range(model.num_states)) for _ in range(3)),
        "attentional": normal(B, D),
        "memory": normal(B, S, D),
        "keys": normal(B, S, D),
        "source_mask": tf.constant(np.arange(S) < np.array([[4], [2], [3]])),
    }
    dropped = tf.constant(random.integers(0, 2, (T, 2, B, D)) * 2.0, dtype)
    return model, normal(B, T, E), state, dropped


def by_cells(model: Any, inputs: Any, state: Any, dropped: Any, real: Any = None) -> Any:
    """What input feeding computes, by a plain loop over Keras's cells."""
    states, fed, outputs = list(state["layers"]), state["attentional"], []
    for t in range(T):
        hidden, new = tf.concat([inputs[:, t], fed], axis=-1), []
        for number, layer in enumerate(model.recurrent_layers):
            if number and dropped is not None:
                hidden = hidden * dropped[t, number - 1]
            hidden, after = layer.cell(hidden, list(states[number]))
            new.append(tuple(after))
        memory, keys, mask = (state[name] for name in ("memory", "keys", "source_mask"))
        attended = model.attention(hidden[:, None], memory, keys, mask)[0][:, 0]
        if real is not None:
            keep = real[:, t : t + 1]
            attended = tf.where(keep, attended, fed)
            new = tree.map_structure(lambda a, b: tf.where(keep, a, b), new, states)  # noqa: B023
        states, fed = new, attended
        outputs.append(fed)
    return tf.stack(outputs, axis=1), states


def with_gradients(model: Any, call: Callable[[Any], Any], inputs: Any, state: Any) -> list[Any]:
    """The outputs, and the gradients of a weighted sum of them."""
    weights = [v.value for layer in model.recurrent_layers for v in layer.weights]
    weights += [v.value for v in model.attention.weights if "key" not in v.path]
    parts = tree.flatten({name: state[name] for name in state if name != "source_mask"})
    factors = np.random.default_rng(3).normal(size=(B, T, D))
    with tf.GradientTape() as tape:
        tape.watch([inputs, *parts])
        outputs = call(inputs)
        total = tf.reduce_sum(outputs * tf.cast(factors, outputs.dtype))
    return [outputs, *tape.gradient(total, [inputs, *parts, *weights])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_gradients_of_feeding_are_those_of_autodiff(cell: str, kind: str) -> None:
    model, inputs, state, dropped = feeding(cell, kind)

    def plain(inputs: Any) -> Any:
        return by_cells(model, inputs, state, dropped)[0]

    def ours(inputs: Any) -> Any:
        return train_with_feeding(model.recurrent_layers, model.attention, inputs, state, dropped)

    expected = with_gradients(model, plain, inputs, state)
    got = with_gradients(model, ours, inputs, state)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10, rtol=0)
        assert np.abs(other).max() > 1e-4


def test_padding_of_a_target_changes_nothing() -> None:
    model, inputs, state, _ = feeding("lstm", "additive", "float32")
    real = tf.constant([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 0, 1, 1]]) > 0
    outputs, looked_at, after = read_with_feeding(
        model.recurrent_layers, model.attention, inputs, state, real
    )
    expected, states = by_cells(model, inputs, state, None, real)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert looked_at.shape == (B, T, S)
    np.testing.assert_allclose(after["attentional"], expected[:, -1], atol=1e-5)
    for ours, theirs in zip(tree.flatten(after["layers"]), tree.flatten(states), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
