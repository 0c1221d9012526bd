"""The loss as Keras calls it, the default optimizer, and the loss curve."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest

from keras_lm.metrics import CrossEntropy
from keras_lm.training import LossCurve, MaskedTokenLoss, NextTokenLoss, default_optimizer
from keras_lm.training.losses import scaled_for_replicas

TARGETS = np.array([[1, 0, 2], [2, 2, 0]], "int32")
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
NATS = np.log(np.exp(LOGITS).sum(-1)) - np.take_along_axis(LOGITS, TARGETS[..., None], -1)[..., 0]


def test_mean_nats() -> None:
    assert float(NextTokenLoss()(TARGETS, LOGITS)) == pytest.approx(NATS.mean(), rel=1e-5)


def test_padding_makes_a_loss_no_smaller() -> None:
    weights = np.array([[1, 1, 0], [1, 0, 0]], "float32")
    loss = float(NextTokenLoss()(TARGETS, LOGITS, sample_weight=weights))
    assert loss == pytest.approx((NATS * weights).sum() / 3, rel=1e-5)


def test_half_precision_logits_are_taken_to_float32() -> None:
    logits = keras.ops.cast(LOGITS, "bfloat16")
    loss = NextTokenLoss()(TARGETS, logits)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    exact = NextTokenLoss()(TARGETS, keras.ops.cast(logits, "float32"))
    assert float(loss) == pytest.approx(float(exact), rel=1e-6)


def test_serialization() -> None:
    loss = keras.losses.deserialize(keras.losses.serialize(NextTokenLoss(0.1, name="x")))
    assert isinstance(loss, NextTokenLoss)
    assert (loss.name, loss.label_smoothing) == ("x", 0.1)
    masked = keras.losses.deserialize(keras.losses.serialize(MaskedTokenLoss()))
    assert isinstance(masked, MaskedTokenLoss)
    assert float(masked(TARGETS, LOGITS)) == pytest.approx(NATS.mean(), rel=1e-5)


def test_smoothed_as_in_keras() -> None:
    expected = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.15, reduction=None
    )(np.eye(4)[TARGETS], LOGITS)
    loss = NextTokenLoss(label_smoothing=0.15)
    np.testing.assert_allclose(loss.call(TARGETS, LOGITS), expected, rtol=1e-5)
    np.testing.assert_allclose(loss.nats(TARGETS, LOGITS), NATS, rtol=1e-5)
    weights = np.array([[1, 1, 0], [1, 0, 0]], "float32")
    mean = (keras.ops.convert_to_numpy(expected) * weights).sum() / 3
    assert float(loss(TARGETS, LOGITS, sample_weight=weights)) == pytest.approx(mean, rel=1e-5)


def test_no_smoothing_changes_no_bit() -> None:
    loss, plain = NextTokenLoss(0.0), MaskedTokenLoss()
    np.testing.assert_array_equal(loss.call(TARGETS, LOGITS), plain.call(TARGETS, LOGITS))


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), "0.1", None, True])
def test_label_smoothing_out_of_range_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="label_smoothing is .*from 0 to below 1"):
        NextTokenLoss(label_smoothing=value)


def test_one_replica_scales_nothing() -> None:
    assert float(scaled_for_replicas(np.float32(2.5))) == 2.5


@pytest.mark.parametrize("saved", [False, True])
def test_only_matrices_decay(saved: bool) -> None:
    """With gradients of 0, AdamW moves a weight by its decay alone."""
    layer = keras.layers.Dense(2, bias_initializer="ones")
    layer.build((None, 3))
    norms = [keras.layers.LayerNormalization(), keras.layers.RMSNormalization()]
    for norm in norms:
        norm.build((None, 3))
    variables = [v for part in (layer, *norms) for v in part.trainable_variables]
    before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
    optimizer = default_optimizer(1e-2)
    if saved:  # Keras's own AdamW forgets what does not decay
        optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros_like(v) for v in variables])
    moved = {
        variable.path.split("/")[-1]: not np.array_equal(variable, old)
        for variable, old in zip(variables, before, strict=True)
    }
    assert moved == {"kernel": True, "bias": False, "gamma": False, "beta": False, "scale": False}
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    np.testing.assert_allclose(kernel, before[0] * (1 - 1e-2 * 0.1), rtol=1e-5)


def test_gradients_are_clipped_and_schedules_taken() -> None:
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    optimizer = default_optimizer(schedule)
    assert optimizer.global_clipnorm == 1.0
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert (again.weight_decay, again.beta_2) == (0.1, 0.95)


class Steps:
    """What the callback sees of a task: a metric that sums up since the epoch began."""

    def __init__(self, every: int) -> None:
        self.metric = CrossEntropy(name="loss")
        self.curve = LossCurve(every)
        self.curve.set_model(SimpleNamespace(metrics=[keras.metrics.Mean(), self.metric]))

    def epoch(self, losses: list[float]) -> None:
        self.metric.reset_state()
        self.curve.on_epoch_begin(0)
        for batch, loss in enumerate(losses):
            self.metric.update_nats(np.full((1, 2), loss), np.ones((1, 2)))
            self.curve.on_train_batch_end(batch)


def test_a_point_is_the_mean_of_its_own_steps() -> None:
    steps = Steps(every=2)
    steps.epoch([8.0, 6.0, 4.0, 2.0])
    steps.epoch([1.0, 3.0])
    assert steps.curve.steps == [2, 4, 6]
    np.testing.assert_allclose(steps.curve.losses, [7.0, 3.0, 2.0], rtol=1e-6)


def test_a_point_that_spans_two_epochs() -> None:
    """Three steps a point, four an epoch: the second point begins in the first epoch."""
    steps = Steps(every=3)
    steps.epoch([9.0, 9.0, 9.0, 1.0])
    steps.epoch([2.0, 4.0, 5.0, 5.0])
    assert steps.curve.steps == [3, 6]
    assert steps.curve.losses[0] == pytest.approx(9.0)
    assert 2.0 < steps.curve.losses[1] < 3.5


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    curve: Any = LossCurve(every=1)
    curve.steps, curve.losses = [1, 2, 3], [3.0, 2.0, 1.5]
    axes = curve.plot()
    assert axes.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.5]
    assert curve.plot(axes) is axes
    axes.figure.savefig(tmp_path / "curve.png")
    import matplotlib.pyplot as plt

    plt.close(axes.figure)
    assert (tmp_path / "curve.png").stat().st_size > 1000
