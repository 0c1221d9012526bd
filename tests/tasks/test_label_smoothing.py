"""Label smoothing in a task's training step: what is learned by, and what is reported."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from keras_lm.tasks import CausalLM
from keras_lm.training import NextTokenLoss

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.integers(0, 300, (2, 4, 6)).astype("int32")
WEIGHTS = np.ones((4, 6), "float32")
WEIGHTS[3] = 0  # a row that only fills the batch
WEIGHTS[0, 4:] = 0


class _KerasOwn(keras.losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.losses.categorical_crossentropy(
            ops.one_hot(y_true, 300), y_pred, from_logits=True, label_smoothing=0.2
        )


def one_step(
    task: CausalLM, start: list[np.ndarray], loss: Any, metrics: Any = None
) -> tuple[list[np.ndarray], dict[str, float]]:
    """The weights after a step of SGD from `start`, and what the step reports."""
    task.set_weights(start)
    task.compile(keras.optimizers.SGD(1.0), loss=loss, metrics=metrics)
    logs = task.train_on_batch(X, Y, sample_weight=WEIGHTS, return_dict=True)
    return [ops.convert_to_numpy(weight).copy() for weight in task.model.weights], logs


def test_a_step_is_keras_own(fresh: CausalLM) -> None:
    """In chunks, with full logits, and as Keras's loss of one-hot targets."""

    fresh.compile()
    start = fresh.get_weights()
    chunked, logs = one_step(fresh, start, NextTokenLoss(label_smoothing=0.2))
    full, full_logs = one_step(
        fresh, start, NextTokenLoss(label_smoothing=0.2), ["sparse_categorical_accuracy"]
    )
    plain, plain_logs = one_step(fresh, start, NextTokenLoss())
    assert "sparse_categorical_accuracy" in full_logs
    expected, _ = one_step(fresh, start, _KerasOwn(reduction="mean_with_sample_weight"))
    for ours, logits, theirs in zip(chunked, full, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
        np.testing.assert_allclose(logits, theirs, atol=2e-6)
    assert max(np.abs(a - b).max() for a, b in zip(chunked, plain, strict=True)) > 1e-3
    # What is reported is not smoothed.
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert logs[name] == pytest.approx(plain_logs[name], rel=1e-6)
        assert full_logs[name] == pytest.approx(plain_logs[name], rel=1e-5)
