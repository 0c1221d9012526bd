"""Embeddings of a knowledge graph: scores and losses by their formulas."""

from __future__ import annotations

import json
from typing import Any

import harness
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_lm as klm
from keras_lm.data.triples import TripleExamples
from keras_lm.models import KnowledgeGraphEmbedding

E, R = 7, 2
CONFIG = klm.KnowledgeGraphConfig(num_entities=E, num_relations=R, dim=3, negatives=4)
METHODS = pytest.mark.parametrize("method", ["complex", "distmult"])
TRIPLES = np.array([[0, 0, 1], [0, 1, 2], [3, 2, 0], [0, 3, 6], [5, 0, 0]], np.int32)


def make(method: str = "complex", dtype: Any = None, **fields: Any) -> KnowledgeGraphEmbedding:
    model = KnowledgeGraphEmbedding(CONFIG.replace(method=method, **fields), dtype=dtype)
    random = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.7, weight.shape))
    return model


def as_numbers(model: KnowledgeGraphEmbedding) -> tuple[np.ndarray, np.ndarray]:
    """Entities and relations as they are meant: complex or real."""
    tables = [np.array(keras.ops.convert_to_numpy(w), "float64") for w in model.weights]
    if model.config.method == "distmult":
        return tables[0], tables[1]
    entities, relations = ([*np.split(table, 2, axis=1)] for table in tables)
    return entities[0] + 1j * entities[1], relations[0] + 1j * relations[1]


def scores_by_hand(model: KnowledgeGraphEmbedding, questions: np.ndarray) -> np.ndarray:
    """The paper's trilinear product, one triple after the other."""
    entities, relations = as_numbers(model)
    return np.array(
        [
            [np.sum(entities[h] * relations[r] * np.conj(tail)).real for tail in entities]
            for h, r in questions
        ]
    )


def batch(negatives: int | None, numbers: Any = (0, 1, 2, 3, 4)) -> dict[str, np.ndarray]:
    examples = TripleExamples(TRIPLES, E, negatives)
    return examples.rows(np.array(numbers), [1], np.random.default_rng(0))[0]


@pytest.mark.parametrize("name", harness.leaf_fields(CONFIG))
def test_every_field_comes_back_and_counts(name: str) -> None:
    for changed in harness.perturbed(CONFIG, name):
        assert type(CONFIG).from_config(json.loads(json.dumps(changed.get_config()))) == changed
        one, other = make(), KnowledgeGraphEmbedding(changed)
        shapes = [tuple(weight.shape) for weight in other.weights]
        if shapes == [tuple(weight.shape) for weight in one.weights]:
            other.set_weights(one.get_weights())
            x = batch(None if other.config.compares_all else changed.negatives)
            assert not np.allclose(one.cost(batch(4)), other.cost(x), rtol=1e-4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": 0}, "dim must be positive; got 0"),
        ({"dim": 1.5}, "dim must be of type int"),
        ({"num_entities": 0}, "num_entities must be positive"),
        ({"num_relations": -1}, "num_relations must be positive"),
        ({"negatives": 0}, "negatives must be positive"),
        ({"regularization": -0.1}, "regularization must be 0 or more"),
        ({"method": "transe"}, "method must be one of 'complex', 'distmult'; got 'transe'"),
    ],
)
def test_bad_fields(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CONFIG.replace(**fields)


def test_it_wants_its_own_config() -> None:
    with pytest.raises(ValueError, match="config must be a KnowledgeGraphConfig"):
        KnowledgeGraphEmbedding(klm.GloVeConfig())  # type: ignore[arg-type]


@METHODS
def test_scores_are_the_trilinear_product(method: str) -> None:
    model, questions = make(method), TRIPLES[:, :2]
    found = keras.ops.convert_to_numpy(model.scores(*questions.T))
    assert found.shape == (len(questions), E)
    np.testing.assert_allclose(found, scores_by_hand(model, questions), rtol=0, atol=1e-5)
    called = model({"heads": questions[:, 0], "relations": questions[:, 1]})
    np.testing.assert_array_equal(called, found)


def test_complex_tells_head_from_tail_and_distmult_does_not() -> None:
    everyone = np.arange(E)
    for method, alike in (("complex", False), ("distmult", True)):
        scores = np.asarray(make(method).scores(everyone, np.zeros(E, int)))
        assert np.allclose(scores, scores.T, atol=1e-5) is alike


@METHODS
def test_cost_against_all_entities(method: str) -> None:
    model = make(method, negatives=E, regularization=0.5)
    x = batch(None, [0, 1, 4, -1])
    nats, penalty = np.asarray(model.cost(x))
    triples = TRIPLES[[0, 1, 4]]
    scores = scores_by_hand(model, triples[:, :2])
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert nats == pytest.approx(-logs[np.arange(3), triples[:, 2]].sum(), rel=1e-5)
    entities, relations = as_numbers(model)
    rows = [entities[triples[:, 0]], relations[triples[:, 1]], entities[triples[:, 2]]]
    cubes = sum(np.sum(np.abs(part) ** 3) for part in rows)
    assert penalty == pytest.approx(0.5 * cubes, rel=1e-5)


@METHODS
def test_cost_against_random_entities(method: str) -> None:
    """Each of N random ones stands for E / N entities; one that is the tail itself is left out."""
    model, x = make(method), batch(4)
    noise = x["entity_rows"][x["negatives"]]
    assert set(noise) & set(TRIPLES[:, 2])  # or nothing would have to be left out
    scores = scores_by_hand(model, TRIPLES[:, :2])
    nats = 0.0
    for row, (_, _, tail) in zip(scores, TRIPLES, strict=True):
        others = sum(np.exp(row[n]) * E / 4 for n in noise if n != tail)
        nats += np.log(np.exp(row[tail]) + others) - row[tail]
    assert np.asarray(model.cost(x))[0] == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("negatives", [4, E])
def test_a_row_that_is_read_often_is_updated_by_the_sum_of_its_gradients(negatives: int) -> None:
    """AdaGrad squares the gradient of a row: one sum, although entity 0 stands in each triple."""
    model = make(negatives=negatives)
    x = {k: tf.constant(v) for k, v in batch(None if negatives == E else 4).items()}
    with tf.GradientTape() as tape:
        cost = tf.reduce_sum(model.cost(x))
    variables = [v.value for v in model.trainable_variables]
    gradients = tape.gradient(cost, variables)
    dense = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
    before = [variable.numpy() for variable in variables]
    optimizer = keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.5, epsilon=1e-20)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    for old, gradient, weight in zip(before, dense, model.trainable_variables, strict=True):
        expected = old - 0.1 * gradient / np.sqrt(0.5 + gradient**2)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), expected, atol=1e-6)


@METHODS
def test_gradients_are_finite_at_zero_and_compiled(method: str) -> None:
    model = make(method)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    x = {k: tf.constant(v) for k, v in batch(4).items()}

    @tf.function(jit_compile=True)
    def gradients() -> Any:
        with tf.GradientTape() as tape:
            cost = tf.reduce_sum(model.cost(x))
        return tape.gradient(cost, [v.value for v in model.trainable_variables])

    for gradient in gradients():
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@METHODS
def test_half_precision_is_near(method: str) -> None:
    full, half = make(method), make(method, dtype="mixed_bfloat16")
    x = batch(4)
    np.testing.assert_allclose(full.cost(x), half.cost(x), rtol=0.02)
    scores = half.scores(TRIPLES[:, 0], TRIPLES[:, 1])
    assert scores.dtype == tf.float32
    np.testing.assert_allclose(scores, full.scores(TRIPLES[:, 0], TRIPLES[:, 1]), atol=0.1)


def test_it_is_saved(tmp_path: Any) -> None:
    model = make()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    np.testing.assert_array_equal(again.table(), model.table())
    klm.checkpoints.save_model(model, tmp_path / "model")
    loaded = klm.checkpoints.load_model(tmp_path / "model")
    assert loaded.config == model.config
    np.testing.assert_array_equal(loaded.table(), model.table())
