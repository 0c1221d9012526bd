"""The loss curve of a run: numbers and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurve(keras.callbacks.Callback):
    """Keeps the training loss along the way.

    Keras reports the mean since the epoch began. A point here is the mean over the tokens of
    the last `every` steps alone, from the exact sums that a task of ours keeps.

    Args:
        every: steps a point.

    Example:

    >>> curve = LossCurve(every=10)         # lm.fit(texts, callbacks=[curve])
    >>> curve.steps, curve.losses
    ([], [])
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        self.every = every
        self.steps: list[int] = []
        """The last step of each point, counted from the first step of training."""
        self.losses: list[float] = []
        """Nats per token."""
        self._step = 0
        self._totals = (0.0, 0.0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The metrics' sums begin anew."""
        self._totals = (0.0, 0.0)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes a point every so many steps."""
        self._step += 1
        if self._step % self.every:
            return
        metric = next(metric for metric in self.model.metrics if hasattr(metric, "totals"))
        nats, tokens = metric.totals
        before_nats, before_tokens = self._totals
        self._totals = (nats, tokens)
        self.steps.append(self._step)
        self.losses.append((nats - before_nats) / max(tokens - before_tokens, 1e-9))

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draws the curve.

        Args:
            axes: matplotlib axes; default: new ones.

        Raises:
            ImportError: matplotlib is not installed (`pip install keras-lm[plots]`).
        """
        if axes is None:
            import matplotlib.pyplot as plt

            _, axes = plt.subplots(figsize=(6, 3), layout="constrained")
        axes.plot(self.steps, self.losses)
        axes.set(xlabel="step", ylabel="loss, nats per token", title="Training loss")
        axes.grid(alpha=0.3)
        return axes
