"""Correlations against SciPy, over batches, weights and the limit of what is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.metrics import PearsonCorrelation, SpearmanCorrelation


def test_as_in_scipy(golden):
    assert len(golden["correlations"]) == 3
    for case in golden["correlations"]:
        true, found = np.array(case["true"]), np.array(case["found"])
        for metric, name in (
            (PearsonCorrelation(), "pearson"),
            (SpearmanCorrelation(), "spearman"),
        ):
            metric.update_state(true[:3], found[:3])
            metric.update_state(true[3:, None], found[3:, None])  # [B, 1]
            assert float(metric.result()) == pytest.approx(case[name], abs=2e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.booleans())
@settings(max_examples=20)
def test_weights(seed, cut, ties):
    random = np.random.default_rng(seed)
    x = random.integers(0, 6, 41).astype("float32")
    y = (x + random.normal(0, 3, 41)).astype("float32").round(0 if ties else 3)
    weights = (random.random(41) < 0.6).astype("float32")
    y[weights == 0] = np.nan  # padding
    for make in (PearsonCorrelation, SpearmanCorrelation):
        whole, parts = make(), make()
        whole.update_state(x[weights > 0], y[weights > 0])
        parts.update_state(x[:cut], y[:cut], weights[:cut])
        parts.update_state(x[cut:], y[cut:], weights[cut:])
        assert float(parts.result()) == pytest.approx(float(whole.result()), abs=1e-5)


@pytest.mark.parametrize("make", [PearsonCorrelation, SpearmanCorrelation])
def test_jit(make):
    metric = make()
    tf.function(metric.update_state, jit_compile=True)(np.arange(4.0), np.array([0.0, 2, 1, 3]))
    assert float(tf.function(metric.result, jit_compile=True)()) == pytest.approx(0.8)


def test_pearson_weighs():
    metric, repeated = PearsonCorrelation(), PearsonCorrelation()
    x, y, times = np.array([1.0, 2, 4]), np.array([1.0, 5, 2]), np.array([2, 1, 3])
    metric.update_state(x, y, times)
    repeated.update_state(np.repeat(x, times), np.repeat(y, times))
    assert float(metric.result()) == pytest.approx(float(repeated.result()), abs=1e-6)
    assert float(metric.result()) != pytest.approx(np.corrcoef(x, y)[0, 1], abs=0.01)


def test_of_more_pairs_than_are_kept_the_last_count():
    random = np.random.default_rng(0)
    x, y = random.random(25), random.random(25)
    metric, expected = SpearmanCorrelation(max_pairs=10), SpearmanCorrelation()
    for rows in (slice(0, 4), slice(4, 19), slice(19, 25)):  # the second alone has more than 10
        metric.update_state(x[rows], y[rows])
    expected.update_state(x[-10:], y[-10:])
    assert float(metric.result()) == pytest.approx(float(expected.result()), abs=1e-6)
    metric.reset_state()
    metric.update_state(x[:3], y[:3])
    expected.reset_state()
    expected.update_state(x[:3], y[:3])
    assert float(metric.result()) == pytest.approx(float(expected.result()), abs=1e-6)


@pytest.mark.parametrize("make", [PearsonCorrelation, SpearmanCorrelation])
def test_nothing_to_correlate(make):
    metric = make()
    assert float(metric.result()) == 0.0
    metric.update_state(np.ones(4), np.arange(4.0))
    assert float(metric.result()) == 0.0


def test_many_equal_numbers_and_infinities_have_ranks():
    metric = SpearmanCorrelation()
    metric.update_state(np.array([1, 2, 3, 4.0]), np.array([-np.inf, 0, 7, np.inf]))
    assert float(metric.result()) == pytest.approx(1.0)


def test_in_compile_and_evaluate():
    random = np.random.default_rng(0)
    x, y = random.normal(size=[50, 4]).astype("float32"), random.random(50)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(loss="mse", weighted_metrics=[PearsonCorrelation(), SpearmanCorrelation()])
    results = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    found = model.predict(x, verbose=0)[:, 0]
    assert results["pearson_correlation"] == pytest.approx(np.corrcoef(found, y)[0, 1], abs=1e-5)
    ranks = [np.argsort(np.argsort(values)) for values in (found, y)]
    assert results["spearman_correlation"] == pytest.approx(np.corrcoef(*ranks)[0, 1], abs=1e-5)


def test_serialization_and_bad_input():
    for metric in (PearsonCorrelation("r"), SpearmanCorrelation(7, "s")):
        config = keras.saving.serialize_keras_object(metric)
        restored = keras.saving.deserialize_keras_object(config)
        assert restored.get_config() == metric.get_config()
    with pytest.raises(ValueError, match="max_pairs is 0; it must be an int, at least 1"):
        SpearmanCorrelation(0)
