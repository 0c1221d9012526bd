"""Recurrent encoder–decoders: what they compute, and the contracts of a language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import harness_files
import harness_seq2seq
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.models import EncoderDecoder, RecurrentLM, RecurrentSeq2Seq

BASE = klm.RecurrentSeq2SeqConfig(
    vocab_size=11,
    source_vocab_size=13,
    num_layers=2,
    hidden_dim=8,
    embedding_dim=6,
    attention="additive",
    max_length=16,
    dropout=0.2,
)
SHARED = BASE.replace(source_vocab_size=11, share_embeddings=True)
GRU = SHARED.replace(cell="gru", encoder="gru", attention="multiplicative", bidirectional=False)
RNN = BASE.replace(cell="rnn", encoder="rnn", activation="sigmoid", dropout=0.0)
FED = SHARED.replace(input_feeding=True, encoder="gru", encoder_layers=1)
CONFIGS = {
    "lstm": BASE,
    "gru": GRU,
    "gru_reset_before": GRU.replace(reset_after=False, encoder_layers=3),
    "rnn_without_attention": RNN.replace(attention=None, activation="tanh"),
    "cnn_tied": SHARED.replace(encoder="cnn", embedding_dim=8, tie_embeddings=True),
    "fed": FED,
    "fed_gru": GRU.replace(input_feeding=True, embedding_dim=8, tie_embeddings=True),
    "fed_rnn": RNN.replace(input_feeding=True, num_layers=3),
}
EFFECTS = {
    "source_vocab_size": "shapes",
    "share_embeddings": "shapes",
    "encoder_layers": "shapes",
    "max_source_length": "nothing",
    "decoder_start_id": "nothing",
    "eos_id": "nothing",
    "pad_id": "outputs",
    "vocab_size": "shapes",
    "num_layers": "shapes",
    "hidden_dim": "shapes",
    "embedding_dim": "shapes",
    "cell": "shapes",
    "activation": "outputs",
    "reset_after": "shapes",
    "max_length": "nothing",
    "dropout": "training",
    "tie_embeddings": "shapes",
    "attention": "shapes",
    "initializer_range": "initial",
    "encoder": "shapes",
    "bidirectional": "shapes",
    "input_feeding": "shapes",
}
BASES = {
    "activation": RNN,
    "reset_after": GRU,
    "share_embeddings": SHARED,
    "tie_embeddings": BASE.replace(embedding_dim=8),
}


@pytest.fixture(params=[name for name in CONFIGS if name not in ("gru", "fed_rnn")])
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return harness.random_model(RecurrentSeq2Seq, CONFIGS[request.param])


def test_every_field_is_perturbed() -> None:
    assert harness.leaf_fields(BASE) == list(EFFECTS)


@pytest.mark.parametrize("name", list(EFFECTS))
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    base = BASES.get(name, BASE)
    for changed in harness.perturbed(base, name):
        values = json.loads(json.dumps(changed.get_config()))
        assert klm.RecurrentSeq2SeqConfig.from_config(values) == changed != base
    harness_seq2seq.check_field_has_effect(RecurrentSeq2Seq, [base], name, EFFECTS[name])
    if name in ("share_embeddings", "encoder", "input_feeding"):
        changed = harness.perturbed(base, name)[0]
        harness_seq2seq.check_serialization(RecurrentSeq2Seq, changed, tmp_path)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"attention": "dot"}, "attention must be one of 'additive', 'multiplicative'; got 'dot'"),
    ({"encoder": "transformer"}, "encoder must be one of 'rnn', 'lstm', 'gru', 'cnn'; got"),
    ({"hidden_dim": 7}, "hidden_dim must be even with a bidirectional encoder; got 7"),
    ({"input_feeding": True}, "input_feeding must be False without attention; got True"),
    ({"encoder_layers": 0}, "encoder_layers must be positive; got 0"),
    (
        {"share_embeddings": True, "source_vocab_size": 5},
        "share_embeddings must be False with source_vocab_size=5 and vocab_size=9; got True",
    ),
    ({"pad_id": 9}, "pad_id must be from 0 to 8, or None; got 9"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        klm.RecurrentSeq2SeqConfig(**{"vocab_size": 9, "num_layers": 1, "hidden_dim": 8, **fields})


def test_a_recurrent_config_gets_defaults() -> None:
    config = klm.RecurrentConfig(
        vocab_size=9, num_layers=2, hidden_dim=8, cell="gru", attention="additive"
    )
    model = RecurrentSeq2Seq(config)
    assert model.config.encoder == "gru"
    assert model.config.encoder_layers == 2
    assert model.config.bidirectional
    assert model.config.decoder_config() == config
    with pytest.raises(
        ValueError, match="config must be one of RecurrentConfig, RecurrentSeq2SeqConfig"
    ):
        RecurrentSeq2Seq(klm.RecurrentEncoderConfig(vocab_size=9, num_layers=1, hidden_dim=8))


def test_a_language_model_wants_its_own_config() -> None:
    with pytest.raises(ValueError, match="config must be a RecurrentConfig; got RecurrentSeq2Seq"):
        RecurrentLM(BASE)


# ---- the contracts


def test_cached_equals_uncached(model: EncoderDecoder) -> None:
    harness_seq2seq.check_cached_equals_uncached(model)


def test_state_moves_with_rows(model: EncoderDecoder) -> None:
    harness_seq2seq.check_state_moves_with_rows(model)


def test_no_future_leak(model: EncoderDecoder) -> None:
    harness_seq2seq.check_no_future_leak(model)


def test_every_source_token_is_heard(model: EncoderDecoder) -> None:
    harness_seq2seq.check_every_source_token_is_heard(model)


def test_source_padding_changes_nothing(model: EncoderDecoder) -> None:
    harness_seq2seq.check_source_padding_changes_nothing(model)


def test_log_probs(model: EncoderDecoder) -> None:
    harness_seq2seq.check_log_probs(model)


def test_every_weight_learns(model: EncoderDecoder) -> None:
    harness_seq2seq.check_every_weight_learns(model)


@pytest.mark.parametrize("name", ["lstm", "gru", "fed"])
def test_attention_maps(name: str) -> None:
    harness_seq2seq.check_attention_maps(harness.random_model(RecurrentSeq2Seq, CONFIGS[name]))


def test_without_attention_there_are_no_maps() -> None:
    model = RecurrentSeq2Seq(CONFIGS["rnn_without_attention"])
    with pytest.raises(ValueError, match="attention must not be None for attention_maps"):
        model.attention_maps(harness_seq2seq.random_inputs(model))
    state = harness_seq2seq.begin(model, harness_seq2seq.random_inputs(model))
    assert set(state) == {"layers", "source_mask"}


def test_bad_inputs() -> None:
    harness_seq2seq.check_bad_inputs(RecurrentSeq2Seq(BASE))


@pytest.mark.parametrize("name", ["gru", "fed_rnn"])
def test_jit(name: str) -> None:
    layers = 2 if name == "fed_rnn" else 1
    config = CONFIGS[name].replace(dropout=0.0, num_layers=layers, encoder_layers=1)
    harness_seq2seq.check_jit(harness.random_model(RecurrentSeq2Seq, config))


@pytest.mark.parametrize("name", ["cnn_tied", "fed_rnn"])
def test_second_call_traces_nothing(name: str) -> None:
    harness_seq2seq.check_second_call_traces_nothing(
        harness.random_model(RecurrentSeq2Seq, CONFIGS[name])
    )


@pytest.mark.parametrize("name", ["lstm", "cnn_tied", "fed_gru"])
def test_mixed_precision(name: str) -> None:
    harness_seq2seq.check_mixed_precision(RecurrentSeq2Seq, CONFIGS[name])
    mixed = harness.random_model(RecurrentSeq2Seq, CONFIGS[name], dtype="mixed_bfloat16")
    inputs = harness_seq2seq.random_inputs(mixed)
    state = harness_seq2seq.begin(mixed, inputs)
    _, state = mixed.step(inputs["decoder_token_ids"], state)
    own = {name: part for name, part in state.items() if name not in mixed.shared_state}
    assert {leaf.dtype for leaf in keras.tree.flatten(own)} == {tf.float32}


# ---- what it computes


@pytest.mark.parametrize("bidirectional", [False, True])
def test_computes_what_keras_does(bidirectional: bool) -> None:
    """Against Keras's own LSTM layers with the same weights, and a bridge by hand."""
    config = BASE.replace(bidirectional=bidirectional, attention=None, encoder_layers=1)
    model = harness.random_model(RecurrentSeq2Seq, config)
    inputs = harness_seq2seq.row_of(harness_seq2seq.random_inputs(model), 0)
    width = 4 if bidirectional else 8
    layer = keras.layers.LSTM(width, return_state=True)
    layer.build((None, None, 6))
    sides = [(model.encoder.forward_layers, 1), (model.encoder.backward_layers, -1)]
    ends = []
    for (side, *_), order in sides[: 1 + bidirectional]:
        layer.set_weights(side.get_weights())
        vectors = model.source_embedding(inputs["token_ids"][:, ::order])
        ends.append([np.asarray(part) for part in layer(vectors)[1:]])
    last = np.concatenate([part for parts in zip(*ends) for part in parts], axis=-1)
    hidden = model.token_embedding(inputs["decoder_token_ids"])
    for bridge, own in zip(model.bridges, model.recurrent_layers, strict=True):
        first = np.tanh(last @ np.asarray(bridge.kernel) + np.asarray(bridge.bias))
        decoder = keras.layers.LSTM(8, return_sequences=True)
        decoder.build(hidden.shape)
        decoder.set_weights(own.get_weights())
        hidden = decoder(hidden, initial_state=[first[:, :8], first[:, 8:]])
    expected = np.asarray(hidden) @ np.asarray(model.output_embedding.embeddings).T
    np.testing.assert_allclose(harness.logits_of(model, inputs), expected, atol=1e-5)


def test_layers_beside_one_another_are_counted_from_the_top() -> None:
    for encoder_layers, own in ((1, [0, 0, 0]), (2, [0, 0, 1]), (4, [1, 2, 3])):
        config = RNN.replace(num_layers=3, encoder_layers=encoder_layers, attention=None)
        model = harness.random_model(RecurrentSeq2Seq, config)
        inputs = harness_seq2seq.random_inputs(model)
        _, last = model.encoder.read(
            {"token_ids": inputs["token_ids"], "padding_mask": inputs["padding_mask"]}
        )
        state = harness_seq2seq.begin(model, inputs)
        for bridge, (first,), number in zip(model.bridges, state["layers"], own, strict=True):
            np.testing.assert_allclose(first, bridge(last[number]), atol=1e-6)


def test_convolutions_by_hand() -> None:
    """Two tokens and padding: gates, the residual, and a first state from the mean."""
    config = CONFIGS["cnn_tied"].replace(encoder_layers=1, dropout=0.0)
    model = harness.random_model(RecurrentSeq2Seq, config)
    encoder = model.encoder
    state = model.initial_state(
        1, 4, {"token_ids": np.array([[5, 7, 0]]), "padding_mask": [[1, 1, 0]]}
    )
    vectors = np.asarray(model.token_embedding.embeddings)[[5, 7]]
    angles = np.array([[0.0], [1.0]]) * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    vectors = vectors + np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    kernel, bias = encoder.enter.get_weights()
    hidden = vectors @ kernel + bias
    kernel, bias = encoder.convolutions[0].get_weights()
    around = np.pad(hidden, [(1, 1), (0, 0)])
    sums = np.stack([np.einsum("we,wef->f", around[t : t + 3], kernel) for t in (0, 1)]) + bias
    memory = (hidden + sums[:, :8] / (1 + np.exp(-sums[:, 8:]))) * 0.5**0.5
    np.testing.assert_allclose(state["memory"][0, :2], memory, atol=1e-5)
    assert not np.any(state["memory"][0, 2])
    kernel, bias = model.bridges[0].get_weights()
    first = np.tanh(memory.mean(0) @ kernel + bias)
    np.testing.assert_allclose(np.concatenate(state["layers"][0], -1)[0], first, atol=1e-5)


# ---- one-hot rows


@pytest.mark.parametrize("pad_id", [None, 3])
def test_one_hot_rows_are_ids(pad_id: int | None) -> None:
    """The documents' form: one-hot floats, and rows of zeros where a source has ended."""
    model = harness.random_model(RecurrentSeq2Seq, BASE.replace(pad_id=pad_id))
    inputs = harness_seq2seq.random_inputs(model)
    mask = inputs.pop("padding_mask")
    if pad_id is not None:
        mask = mask * (inputs["token_ids"] != pad_id)
    one_hot = {
        "token_ids": np.eye(13, dtype="float32")[inputs["token_ids"]] * mask[..., None],
        "decoder_token_ids": np.eye(11, dtype="float32")[inputs["decoder_token_ids"]],
    }
    expected = harness.logits_of(model, {**inputs, "padding_mask": mask})
    np.testing.assert_array_equal(harness.logits_of(model, one_hot), expected)
    shorter = mask * (np.arange(6) < 3)
    one_hot["padding_mask"] = np.ones_like(mask)
    np.testing.assert_array_equal(harness.logits_of(model, one_hot), expected)
    one_hot["padding_mask"] = shorter
    expected = harness.logits_of(model, {**inputs, "padding_mask": shorter})
    np.testing.assert_array_equal(harness.logits_of(model, one_hot), expected)


def test_fit_learns_to_reverse() -> None:
    """Keras's own `fit` with one-hot targets, as the documents have it."""
    config = SHARED.replace(num_layers=1, hidden_dim=24, dropout=0.0)
    model = RecurrentSeq2Seq(config)
    sources = np.random.default_rng(0).integers(2, 8, (128, 4)).astype("int32")
    targets = sources[:, ::-1]
    starts = np.pad(targets[:, :-1], [(0, 0), (1, 0)], constant_values=1)
    model.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    inputs = {"token_ids": sources, "decoder_token_ids": starts}
    history = model.fit(inputs, np.eye(11)[targets], batch_size=64, epochs=20, verbose=0).history
    assert history["accuracy"][-1] > 0.9


# ---- another backend

_PROGRAM = """
import json, sys
import keras, numpy as np
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
inputs = {name: np.array(value, "int32") for name, value in request["inputs"].items()}
answers = []
for fields in request["configs"]:
    model = klm.models.RecurrentSeq2Seq(klm.RecurrentSeq2SeqConfig.from_config(fields))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    logits, losses = model.predict_on_batch(inputs).tolist(), []
    targets = inputs["decoder_token_ids"][:, ::-1]
    if model.config.input_feeding:
        losses = [float(model.train_on_batch(inputs, targets)) for _ in range(3)]
    answers.append([logits, losses])
print(json.dumps(answers))
"""


def test_jax_backend(tmp_path: Path) -> None:
    """The same logits there, and the same training steps with input feeding."""
    pytest.importorskip("jax")
    configs = [CONFIGS[name].replace(dropout=0.0) for name in ("cnn_tied", "fed")]
    inputs = harness_seq2seq.random_inputs(RecurrentSeq2Seq(configs[0]))
    request = {
        "configs": [config.get_config() for config in configs],
        "inputs": {name: value.tolist() for name, value in inputs.items()},
    }
    answers = harness_files.run_python(
        _PROGRAM,
        json.dumps(request),
        cwd=tmp_path,
        KERAS_BACKEND="jax",
        JAX_PLATFORMS="cpu",
        PYTHONPATH=str(harness_files.ROOT),
    )
    pairs = json.loads(answers)
    for config, (logits, _) in zip(configs, pairs, strict=True):
        model = harness.random_model(RecurrentSeq2Seq, config)
        np.testing.assert_allclose(logits, harness.logits_of(model, inputs), atol=1e-5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    targets = inputs["decoder_token_ids"][:, ::-1]
    expected = [float(model.train_on_batch(inputs, targets)) for _ in range(3)]
    np.testing.assert_allclose(pairs[-1][1], expected, rtol=1e-4)
    assert expected[2] < expected[0]
