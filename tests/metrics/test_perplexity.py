import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_lm.metrics import BitsPerByte, CrossEntropy, Perplexity


def all_metrics():
    return CrossEntropy(), Perplexity(), BitsPerByte()


def update(metric, nats, weights, num_bytes):
    if isinstance(metric, BitsPerByte):
        metric.update_nats(nats, weights, num_bytes)
    else:
        metric.update_nats(nats, weights)


def expected_results(nats, weights, num_bytes):
    """In float64: mean nats, perplexity, bits per byte."""
    total = np.sum(nats.astype("float64") * weights)
    mean = total / weights.sum()
    return mean, math.exp(mean), total / math.log(2) / num_bytes.sum()


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from([1e-4, 1.0, 30.0]),
)
@settings(max_examples=40, deadline=None)
def test_results_are_exact_however_the_rows_are_split(seed, cuts, scale):
    rng = np.random.default_rng(seed)
    nats = rng.exponential(scale, [60, 11]).astype("float32")
    weights = (rng.random([60, 11]) < 0.7).astype("float32")
    num_bytes = rng.integers(0, 5000, 60).astype("int32")
    cuts = sorted({0, 60, *cuts})
    metrics = all_metrics()
    for begin, end in itertools.pairwise(cuts):
        rows = slice(begin, end)
        for metric in metrics:
            update(metric, nats[rows], weights[rows], num_bytes[rows])
    for metric, expected in zip(metrics, expected_results(nats, weights, num_bytes), strict=True):
        tolerance = 3e-7 * (1 + math.log(expected) if isinstance(metric, Perplexity) else 1)
        assert float(metric.result()) == pytest.approx(expected, rel=abs(tolerance))


def large_sum(metric, jit_compile):
    """2^24 + 2^10 tokens of 1 nat, one at a time at the end, where float32 no longer counts."""

    @tf.function(jit_compile=jit_compile)
    def add(nats, weights, num_bytes, times):
        for _ in tf.range(times):
            update(metric, nats, weights, num_bytes)

    many = tf.ones([1024, 1024])
    add(many, many, tf.fill([1024], 1024), tf.constant(16))
    add(tf.fill([1, 1], 2.0), tf.ones([1, 1]), tf.constant([2]), tf.constant(2**10))
    return float(metric.result())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_counters_do_not_stop_at_two_to_the_24(jit_compile):
    nats, count = 2**24 + 2 * 2**10, 2**24 + 2**10
    assert np.float32(2**24) + np.float32(1) == 2**24  # what a plain counter would do
    expected = nats / count
    assert large_sum(CrossEntropy(), jit_compile) == pytest.approx(expected, rel=1e-7)
    bits = BitsPerByte()
    assert large_sum(bits, jit_compile) == pytest.approx(1 / math.log(2), rel=2e-7)


def test_the_pair_holds_what_a_float_does_not():
    metric = CrossEntropy()
    metric.update_nats(np.array([[2.0**24]], "float32"), np.ones([1, 1], "float32"))
    for _ in range(3):
        metric.update_nats(np.array([[1.0]], "float32"), np.zeros([1, 1], "float32") + 1)
    high, low = (float(v) for v in metric.variables[:2])
    assert high + low == 2**24 + 3


def test_bytes_of_long_documents_are_whole():
    metric = BitsPerByte()
    num_bytes = np.array([2**31 - 1, 2**24 + 1, 3], "int32")
    metric.update_nats(np.ones([3, 1]), np.ones([3, 1]), num_bytes)
    high, low = (float(v) for v in metric.variables[2:])
    assert high + low == num_bytes.sum(dtype="int64")


def test_padding_is_left_out_even_where_it_is_not_a_number():
    nats = np.array([[1.0, np.nan], [np.inf, 3.0]], "float32")
    weights = np.array([[1, 0], [0, 1]], "int32")
    for metric, expected in zip(
        all_metrics(), (2.0, math.exp(2), 4 / math.log(2) / 5), strict=True
    ):
        update(metric, nats, weights, np.array([5, 0]))
        assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_update_state_takes_logits():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=[3, 4, 7]).astype("float32")
    targets = rng.integers(0, 7, [3, 4])
    weights = (rng.random([3, 4]) < 0.5).astype("float32")
    token_bytes = np.array([0, 1, 1, 2, 3, 5, 8])
    log_probs = logits - np.log(np.exp(logits.astype("float64")).sum(-1, keepdims=True))
    nats = -np.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
    total, count = (nats * weights).sum(), weights.sum()
    num_bytes = (token_bytes[targets] * weights).sum()
    for metric, expected in [
        (CrossEntropy(), total / count),
        (Perplexity(), math.exp(total / count)),
        (BitsPerByte(token_bytes), total / math.log(2) / num_bytes),
    ]:
        metric.update_state(targets, logits, weights)
        assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
        metric.reset_state()
        # A weight for each row; targets as floats, which Keras makes of them under a strategy.
        metric.update_state(targets.astype("float64"), logits, np.array([1.0, 0.0, 0.0]))
        bits = nats[0].sum() / math.log(2) / token_bytes[targets[0]].sum()
        expected = {
            "cross_entropy": nats[0].mean(),
            "perplexity": math.exp(nats[0].mean()),
            "bits_per_byte": bits,
        }
        assert float(metric.result()) == pytest.approx(expected[metric.name], rel=1e-6)


def test_in_compile_and_evaluate_with_sample_weights_and_mask():
    """A short last batch and padding shift Keras's own loss, but not these."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 6, [10, 5])
    ids[::2, 3:] = 0  # padding
    weights = (ids > 0).astype("float32")
    model = keras.Sequential([keras.layers.Embedding(6, 4, mask_zero=True), keras.layers.Dense(6)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, weighted_metrics=[CrossEntropy(), BitsPerByte([0, 1, 1, 2, 2, 3])])
    logits = model.predict(ids, verbose=0).astype("float64")
    nats = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, ids[..., None], -1)[..., 0]
    total = (nats * weights).sum()
    num_bytes = np.array([0, 1, 1, 2, 2, 3])[ids].sum()
    for sample_weight in (weights, None):  # None: the mask of the embedding alone
        results = model.evaluate(
            ids, ids, sample_weight=sample_weight, batch_size=4, verbose=0, return_dict=True
        )
        assert results["cross_entropy"] == pytest.approx(total / weights.sum(), rel=1e-6)
        assert results["bits_per_byte"] == pytest.approx(total / math.log(2) / num_bytes, rel=1e-6)


def test_reset_and_empty():
    for metric, empty in zip(all_metrics(), (0.0, 1.0, 0.0), strict=True):
        assert float(metric.result()) == empty
        update(metric, np.ones([1, 2]), np.ones([1, 2]), np.array([1]))
        assert float(metric.result()) != empty
        metric.reset_state()
        assert float(metric.result()) == empty


def test_metrics_are_serializable():
    for metric in (CrossEntropy("a"), Perplexity("b"), BitsPerByte([0, 4], "c"), BitsPerByte()):
        config = keras.saving.serialize_keras_object(metric)
        restored = keras.saving.deserialize_keras_object(config)
        assert type(restored) is type(metric)
        assert restored.get_config() == metric.get_config()
        assert config["registered_name"] == f"keras_lm>{type(metric).__name__}"


def test_low_precision_inputs_are_summed_in_float32():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        metric = CrossEntropy()
        assert {v.dtype for v in metric.variables} == {"float32"}
        nats = tf.cast(tf.ones([1, 1001]), tf.bfloat16)  # bfloat16 holds no 1001
        metric.update_nats(nats, nats)
        assert [float(v) for v in metric.variables] == [1001.0, 0.0, 1001.0, 0.0]
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_bits_per_byte_names_what_is_wrong():
    with pytest.raises(ValueError, match="token_bytes is None; update_state needs"):
        BitsPerByte().update_state(np.zeros([1, 2], int), np.zeros([1, 2, 3]))
    with pytest.raises(ValueError, match="token_bytes has 2 entries, but y_pred has logits for 3"):
        BitsPerByte([1, 1]).update_state(np.zeros([1, 2], int), np.zeros([1, 2, 3]))
    for table in ([[1]], [-1], [0.5]):
        with pytest.raises(ValueError, match="token_bytes is"):
            BitsPerByte(table)


JAX_CHECK = """
import keras, jax, numpy as np
assert keras.backend.backend() == "jax"
from keras_lm.metrics import BitsPerByte, CrossEntropy
for metric, extra in ((CrossEntropy(), ()), (BitsPerByte(), (np.ones([1], "int32"),))):
    big, one = np.full([1, 1], 2.0**24, "float32"), np.ones([1, 1], "float32")
    metric.update_nats(big, one, *extra)

    @jax.jit
    def add(variables):
        def body(_, variables):
            with keras.StatelessScope(list(zip(metric.variables, variables))) as scope:
                metric.update_nats(one, one, *extra)
            return [scope.get_current_value(v) for v in metric.variables]
        return jax.lax.fori_loop(0, 5001, body, variables)

    high, low, other_high, other_low = map(float, add([v.value for v in metric.variables]))
    assert high + low == 2**24 + 5001, (high, low)
    assert other_high + other_low == 5002
metric = CrossEntropy()
state = metric.stateless_update_state(metric.variables, np.array([[1, 0]]), np.zeros([1, 2, 5]))
assert abs(float(metric.stateless_result(state)) - np.log(5)) < 1e-6
"""


def test_the_jax_backend():
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", JAX_CHECK],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=root,
        check=True,
    )
