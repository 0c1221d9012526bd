"""The mean of the weights after the last epochs, worked out apart and taken up after a kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from training.resume_runs import (
    EPOCHS,
    STEPS,
    Interrupted,
    Interrupter,
    compiled,
    differences,
    fit,
    net,
    outcome,
)

from keras_lm.training import AverageCheckpoints, Resume


class Snapshots(keras.callbacks.Callback):
    """The trainable weights after every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        weights = self.model.trainable_variables
        self.epochs.append([np.array(keras.ops.convert_to_numpy(weight)) for weight in weights])


def weights_of(model: keras.Model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]


@pytest.mark.parametrize("last", [1, 2, 9])
def test_the_mean_of_the_last_epochs(last: int) -> None:
    """Of one, of two of three, and of all three where nine are asked for."""
    model, snapshots = compiled(net()), Snapshots()
    fit(model, [AverageCheckpoints(last), snapshots])
    assert len(snapshots.epochs) == EPOCHS == 3
    kept = snapshots.epochs[-last:]
    for number, weight in enumerate(weights_of(model)):
        mean = np.mean([epoch[number].astype("float64") for epoch in kept], axis=0)
        np.testing.assert_allclose(weight, mean, rtol=1e-6, atol=1e-8)
    apart = [np.abs(a - b).max() for a, b in zip(weights_of(model), kept[-1], strict=True)]
    assert max(apart) == 0.0 if last == 1 else max(apart) > 1e-4


def test_training_goes_on_as_without_it() -> None:
    histories = []
    for callbacks in ([], [AverageCheckpoints(2)]):
        keras.utils.set_random_seed(0)
        histories.append(fit(compiled(net()), callbacks).history)
    assert histories[0] == histories[1]


def test_what_is_not_trainable_stays_as_it_is() -> None:
    frozen = keras.layers.Dense(3, trainable=False)
    norm = keras.layers.BatchNormalization(momentum=0.5)
    model = keras.Sequential([frozen, norm, keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    model.build((None, 2))
    start = [keras.ops.convert_to_numpy(weight) for weight in frozen.weights]
    last: list[np.ndarray] = []
    after = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: last.append(
            np.array(keras.ops.convert_to_numpy(norm.moving_mean))
        )
    )
    model.fit(x, x[:, :1], epochs=3, callbacks=[AverageCheckpoints(3), after], verbose=0)
    for weight, before in zip(frozen.weights, start, strict=True):
        np.testing.assert_array_equal(weight, before)
    np.testing.assert_array_equal(norm.moving_mean, last[-1])
    assert not np.array_equal(last[-1], last[-2])


def test_half_precision_is_summed_in_float32() -> None:
    """256 and 258, next to each other in bfloat16, eight times: its own sums would be coarse."""
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, dtype="bfloat16")])
    model.build((None, 1))
    average = AverageCheckpoints(8)
    average.set_model(model)
    average.on_train_begin()
    for number in (256, 256, 256, 256, 258, 258, 258, 258 + 16):
        model.set_weights([np.full((1, 1), number)])
        average.on_epoch_end(0)
    average.on_train_end()
    assert float(model.trainable_variables[0].numpy()[0, 0]) == 260.0  # 259 = tie, to even


def test_another_training_begins_anew() -> None:
    def end() -> None:
        raise Interrupted

    model, average = compiled(net()), AverageCheckpoints(9)
    with pytest.raises(Interrupted):
        fit(model, [average, Interrupter("epoch-end:1", end)])
    snapshots = Snapshots()
    fit(model, [average, snapshots], epochs=2)
    for number, weight in enumerate(weights_of(model)):
        mean = np.mean([epoch[number] for epoch in snapshots.epochs], axis=0)
        np.testing.assert_allclose(weight, mean, rtol=1e-6, atol=1e-7)


def test_a_run_that_is_taken_up_has_the_same_mean(tmp_path: Path) -> None:
    """Killed in the second epoch, after the last one, and started again when it is over."""

    def train(directory: Path | None) -> dict[str, np.ndarray]:
        keras.utils.set_random_seed(0)
        model = compiled(net())
        resume = [Resume(directory, every=2, keep=99, verbose=0)] if directory else []
        return outcome(model, fit(model, [*resume, AverageCheckpoints(2)]))

    expected = train(None)
    complete = tmp_path / "complete"
    assert differences(expected, train(complete)) == []
    for step in (STEPS + 1, 2 * STEPS + 2, EPOCHS * STEPS):
        directory = tmp_path / str(step)
        directory.mkdir()
        for path in complete.iterdir():
            if int(path.stem.split("-")[1]) <= step:
                shutil.copy(path, directory)
        assert differences(expected, train(directory)) == [], step


@pytest.mark.parametrize("last", [0, -1, 2.0, True, None])
def test_a_bad_number_is_named(last: Any) -> None:
    with pytest.raises(ValueError, match="last is .*; it must be an int, at least 1"):
        AverageCheckpoints(last)
