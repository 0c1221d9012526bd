"""F1 and Matthews correlation against scikit-learn, however the rows come in."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.metrics import F1, MatthewsCorrelation


def arrays(case):
    return [np.array(case[name]) for name in ("labels", "logits", "weights")]


def test_single_label_as_in_scikit_learn(golden):
    assert len(golden["single_label"]) == 4
    for case in golden["single_label"]:
        labels, logits, weights = arrays(case)
        classes = logits.shape[1]
        for average, expected in case["f1"].items():
            metric = F1(classes, average)
            metric.update_state(labels, logits, weights)
            assert float(metric.result()) == pytest.approx(expected, abs=1e-6), average
        metric = MatthewsCorrelation(classes)
        metric.update_state(labels, logits, weights)
        assert float(metric.result()) == pytest.approx(case["matthews"], abs=1e-6)


def test_multi_label_as_in_scikit_learn(golden):
    case = golden["multi_label"]
    for average, expected in case["f1"].items():
        metric = F1(5, average, multi_label=True)
        metric.update_state(np.array(case["labels"]), np.array(case["logits"]))
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6), average


def test_by_hand():
    #           0 0 0 1 1 2 (true); class 3 never occurs
    labels = np.array([0, 0, 0, 1, 1, 2])
    logits = np.eye(4)[[0, 0, 1, 1, 0, 0]]
    expected = {
        "macro": (4 / 7 + 1 / 2 + 0) / 3,
        "micro": 3 / 6,
        "weighted": (3 * 4 / 7 + 2 * 1 / 2) / 6,
    }
    for average, value in expected.items():
        metric = F1(4, average)
        metric.update_state(labels, logits)
        assert float(metric.result()) == pytest.approx(value, abs=1e-6)
    matthews = MatthewsCorrelation(4)
    matthews.update_state(labels, logits)
    # c·s − Σ p·t over √(s² − Σp²)·√(s² − Σt²)
    value = (3 * 6 - (4 * 3 + 2 * 2)) / np.sqrt((36 - 20) * (36 - 14))
    assert float(matthews.result()) == pytest.approx(value, abs=1e-6)


def test_the_same_label_always_has_no_correlation():
    metric = MatthewsCorrelation(3)
    assert float(metric.result()) == 0.0
    metric.update_state(np.array([0, 1, 2, 1]), np.eye(3)[[1, 1, 1, 1]])
    assert float(metric.result()) == 0.0
    metric.reset_state()
    metric.update_state(np.array([0, 1, 2]), np.eye(3))
    assert float(metric.result()) == pytest.approx(1.0, abs=1e-6)


def test_rare_classes_lose_no_digits():
    """Three in 2^23 rows: 1 - share² in float32 would keep no digit of the variance."""
    metric = MatthewsCorrelation()
    rest = tf.constant([[1.0, 0.0]])
    metric.update_state(np.array([0]), rest, np.array([2.0**23]))
    metric.update_state(np.array([1, 1, 0]), np.array([[0.0, 1], [1, 0], [0, 1]]))
    # tp 1, fp 1, fn 1, tn 2^23: close to 1/2
    tn = 2.0**23
    expected = (tn - 1) / np.sqrt(2 * 2 * (tn + 1) * (tn + 1))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 29))
def test_neither_batches_nor_axes_matter(seed, cut):
    random = np.random.default_rng(seed)
    labels, logits = random.integers(0, 3, 30), random.normal(size=[30, 3])
    weights = random.integers(0, 2, 30).astype("float32")
    for whole, parts in ((F1(3), F1(3)), (MatthewsCorrelation(3), MatthewsCorrelation(3))):
        rows = weights > 0
        whole.update_state(labels[rows], logits[rows])
        parts.update_state(labels[:cut, None], logits[:cut], weights[:cut, None])
        parts.update_state(
            labels[None, cut:], logits[None, cut:], weights[None, cut:]
        )  # as in tagging, [B, T]
        assert float(parts.result()) == pytest.approx(float(whole.result()), abs=1e-6)


@pytest.mark.parametrize("metric", [F1(3), MatthewsCorrelation(3)])
def test_jit(metric):
    labels, logits = np.array([0, 1, 2, 2]), np.eye(3, dtype="float32")[[0, 1, 1, 2]]
    tf.function(metric.update_state, jit_compile=True)(labels, logits)
    found = float(tf.function(metric.result, jit_compile=True)())
    assert found == pytest.approx({"f1": 7 / 9, "matthews_correlation": 7 / 10}[metric.name])


def test_in_compile_and_evaluate():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=[50, 4]).astype("float32"), random.integers(0, 3, 50)
    weights = random.integers(0, 2, 50).astype("float32")
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[F1(3), MatthewsCorrelation(3)],
    )
    results = model.evaluate(
        x, labels, sample_weight=weights, batch_size=16, verbose=0, return_dict=True
    )
    logits = model.predict(x, verbose=0)
    for metric in (F1(3), MatthewsCorrelation(3)):
        metric.update_state(labels, logits, weights)
        assert results[metric.name] == pytest.approx(float(metric.result()), abs=1e-6)
        assert results[metric.name] != 0


def test_serialization():
    for metric in (F1(2, "binary", name="a"), F1(3, multi_label=True), MatthewsCorrelation(4)):
        config = keras.saving.serialize_keras_object(metric)
        restored = keras.saving.deserialize_keras_object(config)
        assert restored.get_config() == metric.get_config()
        assert config["registered_name"] == f"keras_lm>{type(metric).__name__}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: F1(3, "mean"), "average is 'mean'; it must be one of"),
        (lambda: F1(3, "binary"), "'binary' is for two classes.* num_classes is 3"),
        (lambda: F1(2, "binary", multi_label=True), "'binary' is for two classes"),
        (lambda: F1(1), "num_classes is 1; it must be an int, at least 2"),
        (lambda: MatthewsCorrelation("3"), "num_classes is '3'"),
        (lambda: F1(3).update_state([0], np.zeros([1, 4])), "y_pred has 4 classes; num_classes is"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


JAX_CHECK = """
import json, sys, keras, numpy as np
assert keras.backend.backend() == "jax"
from keras_lm.metrics import *
y, logits, weights = np.array([[0, 1, 2, 2]]), np.eye(3)[[[0, 1, 1, 2]]], np.array([[1., 1, 1, 0]])
for metric in (F1(3), MatthewsCorrelation(3), EntityF1(["O", "B-x", "I-x"])):
    state = metric.stateless_update_state(metric.variables, y, logits, weights)
    print(metric.name, float(metric.stateless_result(state)))
for metric in (PearsonCorrelation(), SpearmanCorrelation(max_pairs=5)):
    state = metric.stateless_update_state(metric.variables, np.arange(4.), np.arange(4.) ** 3)
    print(metric.name, float(metric.stateless_result(state)))
"""


def test_the_jax_backend():
    done = subprocess.run(
        [sys.executable, "-c", JAX_CHECK],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    found = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert found == {
        "f1": pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-6),
        "matthews_correlation": pytest.approx((2 * 3 - 3) / np.sqrt((9 - 5) * (9 - 3)), abs=1e-6),
        # true: one x of two words; found: two of one word
        "entity_f1": 0.0,
        "pearson_correlation": pytest.approx(np.corrcoef(np.arange(4), np.arange(4) ** 3)[0, 1]),
        "spearman_correlation": pytest.approx(1.0),
    }
