"""Training runs that are interrupted and taken up, for the tests of `Resume`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_lm.data import TokenStore, batches, training_windows
from keras_lm.training.resume import Resume

VOCAB, LENGTH, BATCH, STEPS, EPOCHS = 24, 6, 2, 5, 3


class Interrupted(Exception):
    """Stands for the end of a process."""


class Interrupter(keras.callbacks.Callback):
    """Calls `end` after `"step:7"`, in `"validation:1"`, or at `"epoch-end:1"`, both of epoch 1."""

    def __init__(self, place: str, end: Callable[[], None]) -> None:
        super().__init__()
        kind, _, number = place.partition(":")
        self._place, self._end = (kind, int(number or -1)), end

    def _at(self, kind: str, number: int) -> None:
        if self._place == (kind, number):
            self._end()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("step", self._epoch * STEPS + batch + 1)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("validation", self._epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._at("epoch-end", epoch)


def windows(seed: int = 0, batch_size: int = BATCH, start: int = 0) -> Any:
    """Endless batches (token ids, next tokens, weights) of tokens that can be learnt a little."""
    tokens = np.random.default_rng(seed).integers(0, VOCAB // 2, 12 * LENGTH + 1)
    store = TokenStore(
        np.cumsum(tokens, dtype="int32") % VOCAB, np.array([0, len(tokens)]), np.array([9])
    )
    plan = training_windows(store, LENGTH)
    data = batches(store, plan, batch_size, shuffle=True, seed=seed, repeat=True, start=start)
    return data.map(lambda x, y, weight: (x["token_ids"], y, weight))


def net(dtype: Any = None) -> keras.Model:
    """A model with two dropouts that is built when it first sees data."""
    return keras.Sequential(
        [
            keras.layers.Embedding(VOCAB, 8, dtype=dtype),
            keras.layers.Dropout(0.3, dtype=dtype),
            keras.layers.Dense(8, "relu", dtype=dtype),
            keras.layers.Dropout(0.3, dtype=dtype),
            keras.layers.Dense(VOCAB, dtype=dtype),
        ]
    )


def compiled(
    model: keras.Model, optimizer: Any = "adam", metric: str = "accuracy", **kwargs: Any
) -> keras.Model:
    """With a metric that Keras makes in the first step."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, weighted_metrics=[metric], **kwargs)
    return model


def fit(model: keras.Model, callbacks: list[Any], **kwargs: Any) -> keras.callbacks.History:
    """The usual call, but for what the test gives."""
    return model.fit(
        **{
            "x": windows(),
            "steps_per_epoch": STEPS,
            "epochs": EPOCHS,
            "callbacks": callbacks,
            "shuffle": False,
            "verbose": 0,
            **kwargs,
        }
    )


def outcome(model: keras.Model, history: keras.callbacks.History) -> dict[str, np.ndarray]:
    """All that must be the same: every variable, and History."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    arrays = {
        f"variable {number}": keras.ops.convert_to_numpy(variable.value).astype("float64")
        for number, variable in enumerate(variables)
    }
    arrays |= {f"history {name}": np.array(v) for name, v in history.history.items()}
    return {**arrays, "epochs": np.array(history.epoch)}


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """The names of what is not the same, bit for bit."""
    names = sorted(one.keys() | other.keys())
    return [
        name
        for name in names
        if name not in one or name not in other or one[name].tobytes() != other[name].tobytes()
    ]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_while_writing(number: int) -> None:
    """Lets the process die when the file of the number-th checkpoint is half there."""
    from keras_lm.training import checkpoint_file

    written = iter(range(1, number + 1))

    def write(path: Path, checkpoint: Any, complete: Any = checkpoint_file._write) -> None:
        complete(path, checkpoint)
        if next(written) == number:
            os.truncate(path, path.stat().st_size // 2)
            _kill()

    checkpoint_file._write = write


def attempt(directory: str, result: str, place: str) -> None:
    """What a user's script does, in a process that may kill itself; the outcome goes to a file.

    Args:
        directory: of the checkpoints.
        result: path of an npz file.
        place: as for `Interrupter`, or `"write:3"`, half-way through the third checkpoint.
    """
    keras.utils.set_random_seed(0)
    kind, _, number = place.partition(":")
    if kind == "write":
        _kill_while_writing(int(number))
    model = compiled(net())
    callbacks = [Resume(directory, every=2), Interrupter(place, _kill)]
    history = fit(model, callbacks, validation_data=windows(seed=1).take(2))
    np.savez(result, **outcome(model, history))
