"""Recurrent encoders: what they compute, and the contracts of a backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import harness_files
import keras
import numpy as np
import pytest

import keras_lm as klm
from keras_lm.models import RecurrentEncoder

BASE = klm.RecurrentEncoderConfig(
    vocab_size=11, num_layers=2, hidden_dim=16, max_length=16, dropout=0.2
)
RNN = BASE.replace(cell="rnn", activation="sigmoid", dropout=0.0)
GRU = BASE.replace(cell="gru", embedding_dim=6)
CONFIGS = {
    "rnn": RNN,
    "lstm": BASE.replace(max_length=None),
    "gru": GRU,
    "gru_reset_before": GRU.replace(reset_after=False, num_layers=1),
    "one_direction": GRU.replace(bidirectional=False),
}
EFFECTS = {
    "vocab_size": "shapes",
    "num_layers": "shapes",
    "hidden_dim": "shapes",
    "embedding_dim": "shapes",
    "cell": "shapes",
    "activation": "outputs",
    "reset_after": "shapes",
    "max_length": "nothing",
    "dropout": "training",
    "initializer_range": "initial",
    "bidirectional": "shapes",
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> RecurrentEncoder:
    return harness.random_model(RecurrentEncoder, CONFIGS[request.param])


def test_every_field_is_perturbed() -> None:
    assert harness.leaf_fields(BASE) == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    base = {"activation": RNN, "reset_after": GRU, "embedding_dim": GRU}.get(name, BASE)
    for changed in harness.perturbed(base, name):
        values = json.loads(json.dumps(changed.get_config()))
        assert klm.RecurrentEncoderConfig.from_config(values) == changed != base
    harness.check_field_has_effect(RecurrentEncoder, [base], name, EFFECTS[name])
    harness.check_serialization(RecurrentEncoder, harness.perturbed(base, name)[0], tmp_path)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 0}, "vocab_size must be positive; got 0"),
    ({"hidden_dim": 7}, "hidden_dim must be positive and even; got 7"),
    ({"hidden_dim": 0}, "hidden_dim must be positive and even; got 0"),
    ({"embedding_dim": -1}, "embedding_dim must be positive; got -1"),
    ({"cell": "elman"}, "cell must be one of 'rnn', 'lstm', 'gru'; got 'elman'"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
    ({"activation": "relu"}, "activation must be 'tanh' in the cell 'lstm'.*got 'relu'"),
    ({"reset_after": False}, "reset_after must be True in the cell 'lstm'.*got False"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        klm.RecurrentEncoderConfig(**{"vocab_size": 9, "num_layers": 1, "hidden_dim": 8, **fields})


def test_another_config_is_refused() -> None:
    config = klm.RecurrentConfig(vocab_size=9, num_layers=1, hidden_dim=8)
    with pytest.raises(ValueError, match=r"config must be a RecurrentEncoderConfig; got Recurrent"):
        RecurrentEncoder(config)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_computes_what_keras_does(cell: str) -> None:
    """Against Keras's own layers with the same weights, padded on the right."""
    config = {"rnn": RNN, "lstm": BASE, "gru": GRU}[cell]
    model = harness.random_model(RecurrentEncoder, config)
    layer = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    activation = {"activation": config.activation} if cell == "rnn" else {}
    ids = harness.random_ids(model)
    mask = np.arange(9) < np.array([[9], [4], [6]])
    hidden = model.token_embedding(ids)
    for ahead, back in zip(model.forward_layers, model.backward_layers, strict=True):
        both = keras.layers.Bidirectional(layer[cell](8, return_sequences=True, **activation))
        both.build(hidden.shape)
        both.set_weights([*ahead.get_weights(), *back.get_weights()])
        hidden = both(hidden, mask=mask)
    got = harness.logits_of(model, {"token_ids": ids, "padding_mask": mask.astype("int32")})
    np.testing.assert_allclose(got[mask], np.asarray(hidden)[mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru_reset_before"])
def test_every_token_is_read_from_both_sides(name: str) -> None:
    """The left half of a state hears of what comes before, the right half of what comes after."""
    model = harness.random_model(RecurrentEncoder, CONFIGS[name])
    ids = harness.random_ids(model)
    changed = ids.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    one = harness.random_model(RecurrentEncoder, model.config.replace(num_layers=1))
    moved = np.abs(harness.logits_of(one, changed) - harness.logits_of(one, ids)).max(0)
    assert (moved[4:, :8].max(1) > 1e-5).all()
    assert (moved[:5, 8:].max(1) > 1e-5).all()
    assert not moved[:4, :8].any()
    assert not moved[5:, 8:].any()


def test_one_direction_reads_from_the_left() -> None:
    config = klm.RecurrentEncoderConfig(
        vocab_size=11, num_layers=2, hidden_dim=7, bidirectional=False, cell="gru"
    )
    model = harness.random_model(RecurrentEncoder, config)
    ids = harness.random_ids(model)
    layers = [keras.layers.GRU(7, return_sequences=True) for _ in range(2)]
    hidden = model.token_embedding(ids)
    for layer, own in zip(layers, model.forward_layers, strict=True):
        layer.build(hidden.shape)
        layer.set_weights(own.get_weights())
        hidden = layer(hidden)
    np.testing.assert_allclose(harness.logits_of(model, ids), hidden, atol=1e-5)


def test_last_states() -> None:
    """Of both directions, h and c, after padding on either side."""
    model = harness.random_model(RecurrentEncoder, BASE)
    ids = harness.random_ids(model)
    padding_mask = np.array([[0, 0] + [1] * 7, [1] * 6 + [0] * 3, [1] * 9], "int32")
    hidden, last = model.read({"token_ids": ids, "padding_mask": padding_mask})
    assert [part.shape for part in last] == [(3, 32)] * 2
    for row, (first, end) in enumerate(((2, 8), (0, 5), (0, 8))):
        np.testing.assert_array_equal(last[1][row, :8], hidden[row, end, :8])
        np.testing.assert_array_equal(last[1][row, 8:16], hidden[row, first, 8:])


def test_padding_changes_nothing(model: RecurrentEncoder) -> None:
    harness.check_padding_changes_nothing(model)


def test_segments_are_apart(model: RecurrentEncoder) -> None:
    harness.check_segments_are_apart(model)


def test_jit() -> None:
    harness.check_jit(harness.random_model(RecurrentEncoder, GRU.replace(dropout=0.0)))


def test_mixed_precision() -> None:
    full = harness.random_model(RecurrentEncoder, BASE)
    mixed = harness.random_model(RecurrentEncoder, BASE, dtype="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    ids = harness.random_ids(mixed)
    hidden = mixed.hidden_states(ids)
    assert keras.backend.standardize_dtype(hidden.dtype) == "bfloat16"
    expected = harness.logits_of(full, ids)
    error = np.abs(np.asarray(hidden, "float32") - expected).max()
    assert 0 < error < 0.05 * np.abs(expected).max()


_PROGRAM = """
import json, sys
import keras, numpy as np
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
inputs = {name: np.array(value, "int32") for name, value in request["inputs"].items()}
answers = []
for kind, config_kind, fields in request["models"]:
    model = getattr(klm.models, kind)(getattr(klm, config_kind).from_config(fields))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    answers.append(np.asarray(model(inputs)).tolist())
print(json.dumps(answers))
"""


def test_jax_backend(tmp_path: Path) -> None:
    """The same states there, and those of the convolutional encoder."""
    pytest.importorskip("jax")
    convolutional = klm.ConvolutionalConfig(vocab_size=11, hidden_dim=6, widths=(2, 3))
    models = [
        harness.random_model(RecurrentEncoder, GRU),
        harness.random_model(klm.models.ConvolutionalEncoder, convolutional),
    ]
    inputs = {
        "token_ids": harness.random_ids(models[0], 2, 5).tolist(),
        "padding_mask": [[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]],
    }
    kinds = [[type(m).__name__, type(m.config).__name__, m.config.get_config()] for m in models]
    answers = harness_files.run_python(
        _PROGRAM,
        json.dumps({"models": kinds, "inputs": inputs}),
        cwd=tmp_path,
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
        PYTHONPATH=str(harness_files.ROOT),
    )
    arrays = {name: np.array(value, "int32") for name, value in inputs.items()}
    for model, states in zip(models, json.loads(answers), strict=True):
        np.testing.assert_allclose(states, harness.logits_of(model, arrays), atol=1e-5)
