"""The contract of exact resume: a run in pieces ends with the bits of a run in one piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_lm.training import Resume


class StopsAtStep(keras.callbacks.Callback):
    """Ends a run after a step, as a user's Ctrl-C does; `step=None`: it never does.

    Args:
        step: counted through all epochs, from 1.
    """

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == self.step:
            raise KeyboardInterrupt


def check_interrupted_run(
    make: Callable[[], Any], fit: Callable[..., Any], directory: Path, step: int = 6
) -> None:
    """Weights and history are the same, bit for bit, with and without an interruption.

    Args:
        make: gives a fresh compiled task, the same each time.
        fit: trains a task with the `callbacks` that it is given, and returns Keras's `History`.
        directory: for checkpoints.
        step: the last one before the interruption, between two checkpoints.
    """

    def run(*callbacks: Any) -> tuple[list[np.ndarray], dict[str, list[float]]]:
        task = make()
        history = fit(task, callbacks=list(callbacks)).history
        return [keras.ops.convert_to_numpy(weight) for weight in task.weights], history

    every = step - 2 if step % (step - 2) else step - 1
    whole, whole_history = run()
    with pytest.raises(KeyboardInterrupt):
        run(Resume(directory, every=every, verbose=0), StopsAtStep(step))
    resumed, resumed_history = run(Resume(directory, every=every, verbose=0), StopsAtStep(None))
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed_history == whole_history
