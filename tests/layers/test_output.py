"""The chunked cross-entropy against TensorFlow's own, with its gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_lm.layers import linear_cross_entropy, output, token_log_probs
from keras_lm.models.base import LanguageModel

B, T, D, V = 3, 5, 4, 7


@pytest.fixture(params=[2**24, 2 * V, 4 * V, 1], ids=["whole", "by_2", "by_4", "by_1"])
def chunk_elements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """15 rows in one piece, in pieces of 2 and 4 (both leave a rest) and one by one."""
    monkeypatch.setattr(output, "CHUNK_ELEMENTS", request.param)
    return request.param


def data(dtype: str = "float32") -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(0)
    weights = random.random((B, T)).astype("float32")
    weights[0, 1] = weights[2] = 0.0
    return (
        tf.constant(random.normal(size=(B, T, D)), dtype),
        tf.constant(random.normal(size=(V, D)), "float32"),
        tf.constant(random.integers(0, V, (B, T)), "int32"),
        tf.constant(weights),
    )


def plain(hidden: tf.Tensor, kernel: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Nats [B, T], by TensorFlow."""
    logits = tf.einsum("btd,vd->btv", tf.cast(hidden, "float32"), kernel)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)


def gradients(function: Any, hidden: tf.Tensor, kernel: tf.Tensor) -> tuple[Any, Any, Any]:
    with tf.GradientTape() as tape:
        tape.watch([hidden, kernel])
        total = function(hidden, kernel)
    return (total, *tape.gradient(total, [hidden, kernel]))


@pytest.mark.usefixtures("chunk_elements")
def test_value_and_gradients() -> None:
    hidden, kernel, targets, weights = data()
    expected = gradients(
        lambda h, k: 3.0 * tf.reduce_sum(weights * plain(h, k, targets)), hidden, kernel
    )
    got = gradients(
        lambda h, k: 3.0 * linear_cross_entropy(h, k, targets, weights)[0], hidden, kernel
    )
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    assert np.abs(got[1][1]).max() > 0.01
    np.testing.assert_array_equal(got[1][2], 0.0)  # weight 0: no gradient
    nats = linear_cross_entropy(hidden, kernel, targets, weights)[1]
    np.testing.assert_allclose(nats, plain(hidden, kernel, targets), atol=1e-5)


@pytest.mark.usefixtures("chunk_elements")
def test_in_a_graph_of_unknown_shape() -> None:
    hidden, kernel, targets, weights = data()
    expected = gradients(lambda h, k: tf.reduce_sum(weights * plain(h, k, targets)), hidden, kernel)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, D]),
            tf.TensorSpec([V, D]),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None]),
        ]
    )
    def in_graph(hidden: Any, kernel: Any, targets: Any, weights: Any) -> Any:
        return gradients(
            lambda h, k: linear_cross_entropy(h, k, targets, weights)[0], hidden, kernel
        )

    got = in_graph(hidden, kernel, targets, weights)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_variable_gets_its_gradient() -> None:
    hidden, kernel, targets, weights = data()
    variable = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        total, *_ = linear_cross_entropy(hidden, variable, targets, weights)
    gradient = tape.gradient(total, variable)
    expected = gradients(
        lambda h, k: tf.reduce_sum(weights * plain(h, k, targets)), hidden, kernel
    )[2]
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.usefixtures("chunk_elements")
def test_bfloat16() -> None:
    """The products are bfloat16, the loss is float32, and so is the gradient of the variable."""
    hidden, kernel, targets, weights = data("bfloat16")
    expected = gradients(lambda h, k: tf.reduce_sum(weights * plain(h, k, targets)), hidden, kernel)
    got = gradients(lambda h, k: linear_cross_entropy(h, k, targets, weights)[0], hidden, kernel)
    assert [value.dtype for value in got] == [tf.float32, tf.bfloat16, tf.float32]
    for ours, theirs in zip(got, expected, strict=True):
        ours, theirs = tf.cast(ours, "float32"), tf.cast(theirs, "float32")
        np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(theirs).max())


def test_nats_have_no_gradient() -> None:
    hidden, kernel, targets, weights = data()
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        nats = linear_cross_entropy(hidden, kernel, targets, weights)[1]
    assert tape.gradient(nats, hidden) is None or not np.any(tape.gradient(nats, hidden))


def test_all_weights_zero() -> None:
    hidden, kernel, targets, weights = data()
    got = gradients(
        lambda h, k: linear_cross_entropy(h, k, targets, 0 * weights)[0], hidden, kernel
    )
    for value in got:
        np.testing.assert_array_equal(value, 0.0)


@pytest.mark.usefixtures("chunk_elements")
def test_token_log_probs() -> None:
    hidden, kernel, targets, _ = data()
    rows_seen = []

    def logits_of(rows: Any) -> Any:
        rows_seen.append(rows.shape[0])
        return ops.matmul(rows, ops.transpose(kernel))

    log_probs = token_log_probs(hidden, targets, logits_of, V)
    np.testing.assert_allclose(log_probs, -plain(hidden, kernel, targets), atol=1e-5)
    assert log_probs.dtype == tf.float32
    assert max(rows_seen) <= max(output.CHUNK_ELEMENTS // V, 1)


def test_large_logits_do_not_overflow() -> None:
    hidden, kernel, targets, weights = data()
    total, nats, _ = linear_cross_entropy(1000 * hidden, kernel, targets, weights)
    assert np.isfinite(total)
    np.testing.assert_allclose(nats, plain(1000 * hidden, kernel, targets), rtol=1e-5, atol=1e-2)


# ---- label smoothing


def plain_smoothed(logits: tf.Tensor, targets: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Keras's loss of one-hot targets, [B, T]."""
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=epsilon, reduction=None
    )
    return loss(tf.one_hot(targets, V), logits)


@pytest.mark.usefixtures("chunk_elements")
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("epsilon", [0.1, 0.75])
def test_smoothed_value_and_gradients(epsilon: float, has_bias: bool) -> None:
    hidden, kernel, targets, weights = data()
    bias = tf.constant(np.random.default_rng(1).normal(size=V), "float32") if has_bias else None
    given = [hidden, kernel, *([bias] if has_bias else [])]

    def ours() -> Any:
        return linear_cross_entropy(
            hidden, kernel, targets, weights, bias, label_smoothing=epsilon
        )[0]

    def theirs() -> Any:
        logits = tf.einsum("btd,vd->btv", hidden, kernel) + (bias if has_bias else 0.0)
        return tf.reduce_sum(weights * plain_smoothed(logits, targets, epsilon))

    found = []
    for function in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = 3.0 * function()
        found.append([total, *tape.gradient(total, given)])
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_array_equal(found[0][1][2], 0.0)  # weight 0: no gradient
    _, nats, hits = linear_cross_entropy(
        hidden, kernel, targets, weights, bias, label_smoothing=epsilon
    )
    plain_nats, plain_hits = linear_cross_entropy(hidden, kernel, targets, weights, bias)[1:]
    np.testing.assert_array_equal(nats, plain_nats)  # what is reported is not smoothed
    np.testing.assert_array_equal(hits, plain_hits)


def test_smoothed_as_in_torch() -> None:
    """torch.nn.CrossEntropyLoss(label_smoothing=0.1), 2.13.0, of two rows of logits."""
    logits = tf.constant([[[1.0, -2.0, 0.5, 3.0], [0.25, 0.0, -1.5, 2.0]]])
    expected = [4.9398, 0.4734]
    expected_gradient = [[0.0856, -0.9195, 0.0421, 0.7919], [0.1047, 0.0760, -0.0025, -0.1783]]
    for row in (0, 1):
        hidden = logits[:, row : row + 1]
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            total = linear_cross_entropy(
                hidden,
                tf.eye(4),
                tf.constant([[[1], [3]][row]]),
                tf.ones((1, 1)),
                label_smoothing=0.1,
            )[0]
        assert float(total) == pytest.approx(expected[row], abs=1e-4)
        gradient = tape.gradient(total, hidden)[0, 0]
        np.testing.assert_allclose(gradient, expected_gradient[row], atol=1e-4)


@pytest.mark.usefixtures("chunk_elements")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_smoothed_bfloat16_in_a_graph(jit_compile: bool) -> None:
    hidden, kernel, targets, weights = data("bfloat16")

    @tf.function(jit_compile=jit_compile)
    def in_graph(hidden: Any, kernel: Any) -> Any:
        return gradients(
            lambda h, k: linear_cross_entropy(h, k, targets, weights, label_smoothing=0.3)[0],
            hidden,
            kernel,
        )

    got = in_graph(hidden, kernel)
    expected = gradients(
        lambda h, k: tf.reduce_sum(
            weights
            * plain_smoothed(tf.einsum("btd,vd->btv", tf.cast(h, "float32"), k), targets, 0.3)
        ),
        hidden,
        kernel,
    )
    assert [value.dtype for value in got] == [tf.float32, tf.bfloat16, tf.float32]
    for ours, theirs in zip(got, expected, strict=True):
        ours, theirs = tf.cast(ours, "float32"), tf.cast(theirs, "float32")
        np.testing.assert_allclose(ours, theirs, atol=0.03 * np.abs(theirs).max())


@pytest.mark.usefixtures("chunk_elements")
def test_token_log_probs_with_the_mean() -> None:
    hidden, kernel, targets, _ = data()
    log_probs, mean = token_log_probs(
        hidden, targets, lambda rows: ops.matmul(rows, ops.transpose(kernel)), V, with_mean=True
    )
    expected = tf.nn.log_softmax(tf.einsum("btd,vd->btv", hidden, kernel))
    np.testing.assert_allclose(mean, tf.reduce_mean(expected, axis=-1), atol=1e-5)
    np.testing.assert_allclose(log_probs, -plain(hidden, kernel, targets), atol=1e-5)
    assert mean.shape == (B, T)


@pytest.mark.parametrize("has_kernel", [True, False])
def test_a_model_smooths_with_and_without_an_output_kernel(
    has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantized model has none, and takes the way through its logits."""
    model = LanguageModel()
    hidden, kernel, targets, weights = data()
    model.config = SimpleNamespace(vocab_size=V)
    monkeypatch.setattr(model, "logits", lambda rows: ops.matmul(rows, ops.transpose(kernel)))
    if has_kernel:
        monkeypatch.setattr(model, "output_kernel", lambda: kernel)
    expected = gradients(
        lambda h, k: tf.reduce_sum(
            weights * plain_smoothed(tf.einsum("btd,vd->btv", h, kernel), targets, 0.2)
        ),
        hidden,
        kernel,
    )[:2]
    got = gradients(
        lambda h, k: model.hidden_cross_entropy(h, targets, weights, label_smoothing=0.2)[0],
        hidden,
        kernel,
    )[:2]
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
    nats = model.hidden_cross_entropy(hidden, targets, weights, label_smoothing=0.2)[1]
    np.testing.assert_allclose(nats, plain(hidden, kernel, targets), atol=1e-5)
