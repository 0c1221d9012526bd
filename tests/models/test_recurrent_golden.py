"""Parity with recorded models of torch's nn.RNN, nn.LSTM and nn.GRU, in logits and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.models import RecurrentLM

GOLDEN = Path(__file__).parents[1] / "golden"
# Where Keras's gates stand among torch's: both have i, f, g, o; r, z, n there is z, r, n here.
GATES = {"rnn": [0], "lstm": [0, 1, 2, 3], "gru": [1, 0, 2]}


def as_ours(tensors: Mapping[str, Any], group: str, cell: str) -> list[np.ndarray]:
    """torch's arrays as the weights of a `RecurrentLM`, in its order."""

    def gates(name: str, layer: int) -> np.ndarray:
        parts = np.split(tensors[f"{group}/recurrent.{name}_l{layer}"], len(GATES[cell]))
        return np.concatenate([parts[gate] for gate in GATES[cell]])

    arrays = [tensors[f"{group}/embedding.weight"]]
    for layer in range(2):
        arrays += [gates("weight_ih", layer).T, gates("weight_hh", layer).T]
        biases = np.stack([gates("bias_ih", layer), gates("bias_hh", layer)])
        if cell == "gru":  # the second one stands inside of the reset gate
            arrays.append(biases)
        elif group == "weights":
            arrays.append(biases.sum(axis=0))
        else:  # a sum has the gradient of each of its terms
            np.testing.assert_allclose(biases[0], biases[1], atol=1e-6)
            arrays.append(biases[0])
    return [*arrays, tensors[f"{group}/output.weight"]]


@pytest.mark.parametrize("cell", list(GATES))
def test_logits_and_gradients_are_those_of_torch(cell: str) -> None:
    with np.load(GOLDEN / f"{cell}.npz") as file:
        golden = dict(file)
    vocab_size, embedding_dim = golden["weights/embedding.weight"].shape
    config = klm.RecurrentConfig(
        vocab_size=vocab_size,
        num_layers=2,
        hidden_dim=golden["weights/output.weight"].shape[1],
        embedding_dim=embedding_dim,
        cell=cell,
    )
    model = RecurrentLM(config)
    model.set_weights(as_ours(golden, "weights", cell))
    ids, targets = golden["token_ids"], golden["targets"]
    np.testing.assert_allclose(harness.logits_of(model, ids), golden["logits"], atol=1e-5, rtol=0)
    with tf.GradientTape() as tape:
        hidden = model.hidden_states(ids, training=True)
        weights = np.full(ids.shape, 1 / ids.size, "float32")
        loss, _ = model.hidden_cross_entropy(hidden, targets, weights)
    np.testing.assert_allclose(loss, golden["loss"], atol=1e-5)
    gradients = tape.gradient(loss, [weight.value for weight in model.weights])
    for ours, theirs in zip(gradients, as_ours(golden, "gradients", cell), strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(ours), theirs, atol=1e-5, rtol=0)
        assert np.abs(theirs).max() > 1e-3
