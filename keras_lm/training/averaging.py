"""The mean of a run's last weights, which is often better than the last of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


class AverageCheckpoints(keras.callbacks.Callback):
    """Gives the model, at the end of training, the mean of its weights after the last epochs.

    Vaswani et al. 2017, section 6.1 (https://arxiv.org/abs/1706.03762), took the mean of the
    last 5 checkpoints of their base models. While it trains, a model is as without the callback;
    so are what `ModelCheckpoint` saves and what is validated.

    Trainable weights are averaged, in float32. What is not trainable stays as it is after the
    last epoch: frozen weights, seeds, and statistics such as those of batch normalization.

    `last` copies of the trainable weights are kept in the host's memory, and a checkpoint of
    `Resume` holds them too. A running mean of all steps, `use_ema=True` of any Keras optimizer,
    costs one copy and is the cheaper way to the same end.

    Args:
        last: the weights after so many epochs, or after all where there are fewer; default 5.

    Raises:
        ValueError: `last` is no int of 1 or more.

    Example:

    >>> model = keras.Sequential([keras.layers.Dense(1, use_bias=False)])
    >>> model.compile(keras.optimizers.SGD(1.0), loss=lambda y, prediction: prediction)
    >>> x = np.ones((1, 1), "float32")              # every step takes 1 from the weight
    >>> model.build((1, 1))
    >>> model.set_weights([np.array([[10.0]])])
    >>> _ = model.fit(x, x, epochs=4, callbacks=[AverageCheckpoints(last=3)], verbose=0)
    >>> model.get_weights()[0].tolist()             # 9, then the mean of 8, 7 and 6
    [[7.0]]
    """

    def __init__(self, last: int = 5) -> None:
        super().__init__()
        if not isinstance(last, int | np.integer) or isinstance(last, bool) or last < 1:
            raise ValueError(f"last is {last!r}; it must be an int, at least 1")
        self.last = int(last)
        # Lists of arrays are data that Resume remembers.
        self._kept: list[list[np.ndarray]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forgets the weights of another training."""
        self._kept = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps a copy of the weights."""
        weights = self.model.trainable_variables
        copies = [np.array(keras.ops.convert_to_numpy(weight)) for weight in weights]
        self._kept = [*self._kept, copies][-self.last :]

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the model the mean."""
        for weight, *copies in zip(self.model.trainable_variables, *self._kept, strict=True):
            if copies:
                weight.assign(np.mean(copies, axis=0, dtype=np.float32))
        self._kept = []
