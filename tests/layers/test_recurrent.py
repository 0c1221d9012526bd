"""The recurrent layer against Keras's own layers, the documents' equations and autodiff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.layers import Recurrent

B, T, E, D = 3, 7, 5, 4
CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "rnn_relu": {"cell": "rnn", "activation": "relu"},
    "rnn_sigmoid": {"cell": "rnn", "activation": "sigmoid"},
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "gru_reset_before": {"cell": "gru", "reset_after": False},
}


@pytest.fixture(params=list(CELLS))
def fields(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CELLS[request.param]


def make_layer(fields: dict[str, Any], dtype: str = "float32") -> Recurrent:
    """A layer whose weights, biases among them, are large enough to show."""
    config = klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=D, **fields)
    layer = Recurrent(config, dtype=dtype)
    layer.build((None, None, E))
    random = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(random.normal(0, 0.6, weight.shape))
    return layer


def data(layer: Recurrent, dtype: str = "float32") -> dict[str, Any]:
    """Inputs, a state, and masks with resets (one at the start) and padding on both sides."""
    random = np.random.default_rng(2)
    padding_mask = np.ones((B, T), "int32")
    padding_mask[0, 5:] = padding_mask[1, :2] = padding_mask[2, 3] = 0
    reset = np.zeros((B, T), bool)
    reset[0, 0] = reset[0, 3] = reset[2, 4] = True
    states = range(len(layer.initial_state(1)))
    return {
        "inputs": tf.constant(random.normal(size=(B, T, E)), dtype),
        "state": tuple(tf.constant(random.normal(size=(B, D)), dtype) for _ in states),
        "reset": reset,
        "padding_mask": padding_mask,
    }


def by_cell(
    layer: Recurrent, inputs: Any, state: Any, reset: Any = None, padding_mask: Any = None
) -> tuple[Any, Any]:
    """What the layer computes, by a plain loop over Keras's cell."""
    outputs = []
    for t in range(inputs.shape[1]):
        if reset is not None:
            state = [tf.where(reset[:, t : t + 1], tf.zeros_like(part), part) for part in state]
        _, new = layer.cell(inputs[:, t], list(state))
        if padding_mask is not None:
            real = padding_mask[:, t : t + 1] > 0
            new = [tf.where(real, part, old) for part, old in zip(new, state, strict=True)]
        state = new
        outputs.append(state[0])
    return tf.stack(outputs, axis=1), tuple(state)


def with_gradients(layer: Recurrent, call: Callable[..., Any], given: dict[str, Any]) -> list[Any]:
    """Outputs and last state, and the gradients of a sum of all of them, each weighted."""
    random = np.random.default_rng(3)
    variables = [weight.value for weight in layer.weights]
    with tf.GradientTape() as tape:
        tape.watch([given["inputs"], *given["state"]])
        outputs, state = call(**given)
        results = [outputs, *state]
        weighted = [
            tf.reduce_sum(tf.cast(r, "float64") * random.normal(size=r.shape)) for r in results
        ]
        total = tf.add_n(weighted)
    return results + tape.gradient(total, [given["inputs"], *given["state"], *variables])


@pytest.mark.parametrize(
    ("name", "mode"),
    [(name, mode) for name in CELLS for mode in ("eager", "eager, no masks", "graph")]
    + [("lstm", "xla"), ("gru", "xla")],
)
def test_gradients_are_those_of_autodiff(name: str, mode: str) -> None:
    layer = make_layer(CELLS[name], "float64")
    given = data(layer, "float64")
    if mode == "eager, no masks":
        del given["reset"], given["padding_mask"]
    expected = with_gradients(layer, lambda **kw: by_cell(layer, **kw), given)

    def run() -> list[Any]:
        return with_gradients(layer, layer, given)

    if mode in ("graph", "xla"):
        run = tf.function(run, jit_compile=mode == "xla", autograph=False)
    got = run()
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12, rtol=0)
        assert np.abs(theirs).max() > 1e-2


def test_no_gradient_flows_through_a_reset(fields: dict[str, Any]) -> None:
    layer = make_layer(fields)
    given = data(layer)
    given["reset"] = np.tile(np.arange(T) == 4, (B, 1))
    del given["padding_mask"]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([given["inputs"], *given["state"]])
        outputs, _ = layer(**given)
        after, before = tf.reduce_sum(outputs[:, 4:] ** 2), tf.reduce_sum(outputs[:, :4] ** 2)
    late = tape.gradient(after, [given["inputs"], *given["state"]])
    np.testing.assert_array_equal(late[0][:, :4], 0.0)
    assert np.abs(late[0][:, 4:]).max() > 1e-3
    for part in late[1:]:
        np.testing.assert_array_equal(part, 0.0)
    early = tape.gradient(before, [given["inputs"], *given["state"]])
    assert all(np.abs(part).max() > 1e-3 for part in early)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_before"])
def test_outputs_are_those_of_keras_layers(name: str) -> None:
    layer = make_layer(CELLS[name])
    given = data(layer)
    kind = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    arguments = {"reset_after": CELLS[name].get("reset_after", True)} if "gru" in name else {}
    theirs = kind[CELLS[name]["cell"]](D, return_sequences=True, return_state=True, **arguments)
    theirs.build((B, T, E))
    theirs.set_weights(layer.get_weights())
    expected = theirs(given["inputs"], initial_state=list(given["state"]))
    outputs, state = layer(given["inputs"], state=given["state"])
    for ours, other in zip([outputs, *state], expected, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-6, rtol=0)
    np.testing.assert_allclose(layer(given["inputs"])[0], theirs(given["inputs"])[0], atol=1e-6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def joined(layer: Recurrent, gate: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """One gate as the documents write it: W · [h; x] + b."""
    kernel, recurrent, bias = (part.astype("float64") for part in layer.get_weights())
    columns = slice(gate * D, (gate + 1) * D)
    matrix = np.concatenate([recurrent[:, columns], kernel[:, columns]]).T
    return lambda h, x: matrix @ np.concatenate([h, x]) + bias[columns]


def rnn_by_the_documents(layer: Recurrent, x: np.ndarray) -> np.ndarray:
    entering, h, outputs = joined(layer, 0), np.zeros(D), []
    for now in x:
        h = sigmoid(entering(h, now))
        outputs.append(h)
    return np.stack(outputs)


def lstm_by_the_documents(layer: Recurrent, x: np.ndarray) -> np.ndarray:
    gates = [joined(layer, gate) for gate in range(4)]
    h, c, outputs = np.zeros(D), np.zeros(D), []
    for now in x:
        i, f, g, o = (gate(h, now) for gate in gates)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs)


def gru_by_the_documents(layer: Recurrent, x: np.ndarray) -> np.ndarray:
    update, reset, new = (joined(layer, gate) for gate in range(3))
    h, outputs = np.zeros(D), []
    for now in x:
        z, r = 1 - sigmoid(update(h, now)), sigmoid(reset(h, now))  # Keras's z keeps the old
        h = (1 - z) * h + z * np.tanh(new(r * h, now))
        outputs.append(h)
    return np.stack(outputs)


@pytest.mark.parametrize(
    ("name", "by_the_documents"),
    [
        ("rnn_sigmoid", rnn_by_the_documents),
        ("lstm", lstm_by_the_documents),
        ("gru_reset_before", gru_by_the_documents),
    ],
)
def test_equations_of_the_documents(
    name: str, by_the_documents: Callable[[Recurrent, np.ndarray], np.ndarray]
) -> None:
    """Sections 3.1.1 to 3.1.3 and 4.3 to 4.5 of the first document, written out."""
    layer = make_layer(CELLS[name])
    inputs = data(layer)["inputs"]
    for row, x in zip(layer(inputs)[0], inputs.numpy(), strict=True):
        np.testing.assert_allclose(row, by_the_documents(layer, x), atol=1e-6, rtol=0)


def test_padding_leaves_the_state_and_a_reset_clears_it(fields: dict[str, Any]) -> None:
    layer = make_layer(fields)
    given = data(layer)
    nothing = np.zeros((B, T), "int32")
    outputs, state = layer(given["inputs"], state=given["state"], padding_mask=nothing)
    for ours, first in zip(state, given["state"], strict=True):
        np.testing.assert_array_equal(ours, first)
    np.testing.assert_array_equal(outputs[:, -1], given["state"][0])
    at_once = np.tile(np.arange(T) == 0, (B, 1))
    cleared, _ = layer(given["inputs"], state=given["state"], reset=at_once)
    np.testing.assert_array_equal(cleared, layer(given["inputs"])[0])
    kept, _ = layer(given["inputs"], state=given["state"])
    assert np.abs(cleared - kept).max() > 1e-2


def test_shapes_that_are_known_only_when_it_runs(fields: dict[str, Any]) -> None:
    layer = make_layer(fields)
    given = data(layer)
    spec, mask_spec = tf.TensorSpec([None, None, E]), tf.TensorSpec([None, None], tf.int32)

    @tf.function(input_signature=[spec, mask_spec], autograph=False)
    def function(inputs: Any, padding_mask: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, _ = layer(inputs, padding_mask=padding_mask)
        return outputs, tape.gradient(outputs, inputs)

    for rows, times in ((B, T), (2, 1)):
        inputs = given["inputs"][:rows, :times]
        padding_mask = tf.constant(given["padding_mask"][:rows, :times])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            expected, _ = layer(inputs, padding_mask=padding_mask)
        outputs, gradient = function(inputs, padding_mask)
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
        np.testing.assert_allclose(gradient, tape.gradient(expected, inputs), atol=1e-6)


def test_bfloat16(fields: dict[str, Any]) -> None:
    """Products are bfloat16; states are float32, and so are the gradients of the weights."""
    full, mixed = make_layer(fields), make_layer(fields, "mixed_bfloat16")
    given = data(full)
    expected = with_gradients(full, full, given)
    got = with_gradients(mixed, mixed, given)
    assert got[0].dtype == tf.bfloat16
    assert {tensor.dtype for tensor in got[1:]} == {tf.float32}
    for ours, theirs in zip(got, expected, strict=True):
        error = np.abs(tf.cast(ours, "float32") - theirs).max()
        assert 0 < error < 0.04 * np.abs(theirs).max()


def test_config_survives(fields: dict[str, Any]) -> None:
    layer = make_layer(fields)
    again = Recurrent.from_config(layer.get_config())
    assert again.config == layer.config
    again.build((None, None, E))
    again.set_weights(layer.get_weights())
    inputs = data(layer)["inputs"]
    np.testing.assert_array_equal(again(inputs)[0], layer(inputs)[0])


def test_initial_weights_are_those_of_keras() -> None:
    config = klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=64)
    layer = Recurrent(config)
    layer.build((None, None, 32))
    kernel, recurrent, bias = layer.get_weights()
    limit = np.sqrt(6 / (32 + 4 * 64))
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
    assert bias.tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128
