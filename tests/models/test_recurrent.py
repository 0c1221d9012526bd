"""Recurrent language models, under every contract of a language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import harness
import harness_files
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.generation import generate_ids
from keras_lm.models import LanguageModel, RecurrentLM

BASE = klm.RecurrentConfig(
    vocab_size=11, num_layers=2, hidden_dim=8, cell="lstm", max_length=16, dropout=0.2
)
RNN = BASE.replace(cell="rnn", activation="sigmoid", dropout=0.0)
GRU = BASE.replace(cell="gru", embedding_dim=6)
CONFIGS = {
    "rnn": RNN,
    "lstm_tied": BASE.replace(tie_embeddings=True, max_length=None),
    "gru": GRU,
    "gru_reset_before": GRU.replace(reset_after=False),
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
    "tie_embeddings": "shapes",
    "attention": "refused",
    "initializer_range": "initial",
}


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return harness.random_model(RecurrentLM, CONFIGS[request.param])


def test_every_field_is_perturbed() -> None:
    assert harness.leaf_fields(BASE) == list(EFFECTS)


@pytest.mark.parametrize("name", [name for name in EFFECTS if EFFECTS[name] != "refused"])
def test_field_survives_and_has_its_effect(name: str, tmp_path: Path) -> None:
    bases = {"activation": RNN, "reset_after": GRU, "embedding_dim": GRU}
    base = bases.get(name, BASE)
    for changed in harness.perturbed(base, name):
        values = json.loads(json.dumps(changed.get_config()))
        assert klm.RecurrentConfig.from_config(values) == changed != base
    harness.check_field_has_effect(RecurrentLM, [base], name, EFFECTS[name])
    harness.check_serialization(RecurrentLM, harness.perturbed(base, name)[0], tmp_path)


def test_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="attention must be None in a RecurrentLM.*'additive'"):
        RecurrentLM(BASE.replace(attention="additive"))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 0}, "vocab_size must be positive; got 0"),
    ({"num_layers": 0}, "num_layers must be positive; got 0"),
    ({"hidden_dim": 8.0}, "hidden_dim must be of type int; got 8.0"),
    ({"embedding_dim": -1}, "embedding_dim must be positive; got -1"),
    ({"max_length": 0}, "max_length must be positive, or None for no limit; got 0"),
    ({"cell": "elman"}, "cell must be one of 'rnn', 'lstm', 'gru'; got 'elman'"),
    ({"dropout": 1.0}, r"dropout must be in \[0, 1\); got 1.0"),
    ({"initializer_range": 0}, "initializer_range must be >0; got 0.0"),
    ({"activation": "relu"}, "activation must be 'tanh' in the cell 'lstm'.*got 'relu'"),
    ({"reset_after": False}, "reset_after must be True in the cell 'lstm'.*got False"),
    (
        {"tie_embeddings": True, "embedding_dim": 4},
        "embedding_dim must be hidden_dim=8 with tie_embeddings; got 4",
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        klm.RecurrentConfig(**{"vocab_size": 9, "num_layers": 1, "hidden_dim": 8, **fields})


def test_cached_equals_uncached(model: LanguageModel) -> None:
    harness.check_cached_equals_uncached(model)


def test_no_future_leak(model: LanguageModel) -> None:
    harness.check_no_future_leak(model)


def test_segments_are_apart(model: LanguageModel) -> None:
    harness.check_segments_are_apart(model)


def test_padding_changes_nothing(model: LanguageModel) -> None:
    harness.check_padding_changes_nothing(model)


def test_log_probs(model: LanguageModel) -> None:
    harness.check_log_probs(model)


@pytest.mark.parametrize("name", ["lstm_tied", "gru"])
def test_mixed_precision(name: str) -> None:
    harness.check_mixed_precision(RecurrentLM, CONFIGS[name])
    mixed = harness.random_model(RecurrentLM, CONFIGS[name], dtype="mixed_bfloat16")
    _, state = mixed.step(harness.random_ids(mixed), mixed.initial_state(3, 9))
    assert {leaf.dtype for leaf in keras.tree.flatten(state)} == {tf.float32}


def test_jit() -> None:
    harness.check_jit(harness.random_model(RecurrentLM, GRU.replace(dropout=0.0)))


def test_generation_traces_once() -> None:
    harness.check_generation_traces_once(harness.random_model(RecurrentLM, BASE))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_fit(cell: str) -> None:
    changes = {"hidden_dim": 16, "embedding_dim": 16, "dropout": 0.0}
    harness.check_fit(RecurrentLM, BASE.replace(cell=cell, **changes))


def test_every_weight_learns(model: LanguageModel) -> None:
    ids = harness.random_ids(model)
    with tf.GradientTape() as tape:
        hidden = model.hidden_states(ids, training=True)
        total, _ = model.hidden_cross_entropy(hidden, ids, np.ones(ids.shape, "float32"))
    gradients = tape.gradient(total, [weight.value for weight in model.weights])
    for weight, gradient in zip(model.weights, gradients, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-4, weight.path


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_int8() -> None:
    """Keras quantizes the embeddings; the loss then goes through the output layer itself."""
    model = harness.random_model(RecurrentLM, BASE)
    ids = harness.random_ids(model)
    expected = harness.logits_of(model, ids)
    model.quantize("int8")
    assert model.output_kernel() is None
    error = np.abs(harness.logits_of(model, ids) - expected).max()
    assert 0 < error < 0.05 * np.abs(expected).max()
    harness.check_log_probs(model)


# ---- the state that batches leave to one another


def windows(model: LanguageModel, continues: int = 1) -> list[dict[str, Any]]:
    """A text of 9 tokens a row, as three batches of 3."""
    ids = harness.random_ids(model)
    return [
        {
            "token_ids": ids[:, start : start + 3],
            "continues": np.full(3, continues if start else 0, "int32"),
        }
        for start in (0, 3, 6)
    ]


def test_a_text_in_windows_reads_as_one(model: LanguageModel) -> None:
    keras.utils.set_random_seed(1)
    model.dropout.rate = 0.0
    model.carry_state(3)
    whole = harness.logits_of(model, harness.random_ids(model))
    for _ in range(2):  # a second time: `continues` 0 begins anew
        parts = [harness.logits_of(model, batch, training=True) for batch in windows(model)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)
    apart = [harness.logits_of(model, batch, training=True) for batch in windows(model, 0)]
    assert np.abs(np.concatenate(apart, axis=1) - whole).max() > 1e-3


def test_each_row_continues_by_itself() -> None:
    model = harness.random_model(RecurrentLM, BASE.replace(dropout=0.0))
    model.carry_state(3)
    first, second, _ = windows(model)
    model(first, training=True)
    second["continues"] = np.array([1, 0, 1], "int32")
    got = harness.logits_of(model, second, training=True)
    both = np.concatenate([first["token_ids"], second["token_ids"]], axis=1)
    expected = harness.logits_of(model, both)[:, 3:]
    np.testing.assert_allclose(got[[0, 2]], expected[[0, 2]], atol=1e-5)
    alone = harness.logits_of(model, second["token_ids"])
    np.testing.assert_allclose(got[1], alone[1], atol=1e-5)
    assert np.abs(got[0] - alone[0]).max() > 1e-3


def test_lanes_of_documents_read_as_the_documents_do() -> None:
    """What `lane_batches` gives and the model carries, against each document by itself."""
    model = harness.random_model(RecurrentLM, GRU.replace(dropout=0.0))
    lengths = [9, 2, 4, 6]
    documents = [harness.random_ids(model, 1, length, seed=length) for length in lengths]
    store = klm.data.TokenStore(
        np.concatenate(documents, axis=1)[0],
        np.cumsum([0, *lengths]),
        np.ones(len(lengths), np.int64),
    )
    model.carry_state(1)
    rows = []
    for x, _, weights in klm.data.lane_batches(store, klm.data.lane_windows(store, 3, 1)):
        rows.append(harness.logits_of(model, x, training=True)[weights.numpy() > 0])
    alone = [harness.logits_of(model, ids)[0, :-1] for ids in documents]
    np.testing.assert_allclose(np.concatenate(rows), np.concatenate(alone), atol=1e-5)


def test_only_training_leaves_a_state() -> None:
    model = harness.random_model(RecurrentLM, BASE)
    model.carry_state(3)
    model(windows(model)[0], training=False)
    assert not any(np.any(variable) for variable in model.carried.variables)
    model(windows(model)[0], training=True)
    assert all(np.any(variable) for variable in model.carried.variables)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_truncated_backpropagation_by_keras_fit(jit_compile: bool) -> None:
    """A training step's gradient is that of its own window, from the state that came before."""
    model = harness.random_model(RecurrentLM, BASE.replace(dropout=0.0))
    model.carry_state(3)
    task = klm.tasks.CausalLM(model, sequence_length=3)
    task.compile(keras.optimizers.SGD(0.5), jit_compile=jit_compile)
    first, second, _ = windows(model)
    targets = np.ones((3, 3), "int32")
    task.train_on_batch(first, targets)
    # Tensors, as the variables hold those only until the next step.
    state = [tf.convert_to_tensor(part.value) for part in model.carried.variables]
    before = model.get_weights()
    with tf.GradientTape() as tape:
        nested = keras.tree.pack_sequence_as(model.initial_state(3), state)
        hidden, _ = model._read(second["token_ids"], nested)
        weights = np.full((3, 3), 1 / 9, "float32")
        total, _ = model.hidden_cross_entropy(hidden, targets, weights)
    gradients = tape.gradient(total, [weight.value for weight in model.weights])
    task.train_on_batch(second, targets)
    for was, weight, gradient in zip(before, model.get_weights(), gradients, strict=True):
        expected = was - 0.5 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, model.get_weights()))


def test_carried_state_is_no_weight(tmp_path: Path) -> None:
    model = harness.random_model(RecurrentLM, BASE)
    weights, variables = len(model.weights), len(model.variables)
    model.carry_state(3)
    model.carry_state(3)
    assert (len(model.weights), len(model.variables)) == (weights, variables + 4)
    model(windows(model)[0], training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    ids = harness.random_ids(model)
    np.testing.assert_array_equal(harness.logits_of(loaded, ids), harness.logits_of(model, ids))
    model.drop_carried_state()
    assert len(loaded.variables) == len(model.variables) == variables
    model.carry_state(2)
    assert [variable.shape[0] for variable in model.carried.variables] == [2] * 4


def test_bad_use_of_carried_state() -> None:
    model = harness.random_model(RecurrentLM, BASE)
    batch = windows(model)[0]
    with pytest.raises(ValueError, match=r"'continues'; call model.carry_state\(batch_size\)"):
        model(batch, training=True)
    for wrong in (0, 2.0, True, None):
        with pytest.raises(ValueError, match=f"batch_size must be a positive int; got {wrong!r}"):
            model.carry_state(wrong)
    model.carry_state(2)
    with pytest.raises(ValueError, match="inputs have 3 rows; the model carries the state of 2"):
        model(batch, training=True)
    model.carry_state(3)
    model(batch, training=True)


# ---- another backend

_PROGRAM = """
import json, sys
import keras, numpy as np
import keras_lm as klm
assert keras.backend.backend() == "jax"
request = json.loads(sys.argv[1])
inputs = {name: np.array(value, "int32") for name, value in request["inputs"].items()}
answers = {"logits": []}
for fields in request["configs"]:
    model = klm.models.RecurrentLM(klm.RecurrentConfig.from_config(fields))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    logits = model({k: v for k, v in inputs.items() if k != "continues"})
    answers["logits"].append(np.asarray(logits).tolist())
ids = klm.generation.generate_ids(model, request["prompt"], max_new_tokens=4)
answers["ids"] = ids.tolist()
model.carry_state(len(inputs["token_ids"]))
task = klm.tasks.CausalLM(model, sequence_length=5)
task.compile(keras.optimizers.SGD(0.5))
targets = inputs["token_ids"]
answers["losses"] = [float(task.train_on_batch(inputs, targets)[0]) for _ in range(3)]
answers["weights"] = [np.asarray(weight).tolist() for weight in model.weights]
print(json.dumps(answers))
"""


def test_jax_backend(tmp_path: Path) -> None:
    """The same logits, continuation and training steps, with carried state."""
    pytest.importorskip("jax")
    configs = [config.replace(dropout=0.0) for config in (RNN, GRU, BASE)]
    inputs = {
        "token_ids": harness.random_ids(RecurrentLM(BASE), 2, 5).tolist(),
        "segment_ids": [[1, 1, 2, 2, 2], [1, 1, 1, 1, 2]],
        "padding_mask": [[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]],
        "continues": [1, 0],
    }
    prompt = [[1, 2, 3]]
    request = {
        "configs": [config.get_config() for config in configs],
        "inputs": inputs,
        "prompt": prompt,
    }
    answers = json.loads(
        harness_files.run_python(
            _PROGRAM,
            json.dumps(request),
            cwd=tmp_path,
            KERAS_BACKEND="jax",
            JAX_PLATFORMS="cpu",
            PYTHONPATH=str(harness_files.ROOT),
        )
    )
    arrays = {name: np.array(value, "int32") for name, value in inputs.items()}
    read = {name: value for name, value in arrays.items() if name != "continues"}
    for config, logits in zip(configs, answers["logits"], strict=True):
        model = harness.random_model(RecurrentLM, config)
        np.testing.assert_allclose(logits, harness.logits_of(model, read), atol=1e-5)
    assert answers["ids"] == generate_ids(model, prompt, max_new_tokens=4).tolist()
    model.carry_state(2)
    task = klm.tasks.CausalLM(model, sequence_length=5)
    task.compile(keras.optimizers.SGD(0.5))
    losses = [float(task.train_on_batch(arrays, arrays["token_ids"])[0]) for _ in range(3)]
    np.testing.assert_allclose(answers["losses"], losses, rtol=1e-4)
    for ours, theirs in zip(model.get_weights(), answers["weights"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
