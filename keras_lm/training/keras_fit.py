"""What Keras's `fit` holds and tells no callback: the one place that reaches into it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import keras


class RunningFit:
    """The `fit` that is calling `on_train_begin` of its callbacks.

    Raises:
        ValueError: no `fit` of Keras is.
    """

    def __init__(self) -> None:
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code.co_name == "on_train_begin" and frame.f_back is not None:
                owner, outside = frame.f_locals.get("self"), frame.f_back.f_locals
                if isinstance(owner, keras.callbacks.CallbackList) and "epoch_iterator" in outside:
                    break
            frame = frame.f_back
        else:
            raise ValueError(
                "Resume works in the fit of a Keras model alone, and in none of "
                f"Keras {keras.__version__} was it called"
            )
        self._list, self._epoch_iterator = owner, outside["epoch_iterator"]
        self.initial_epoch: int = outside["initial_epoch"]
        self.dataset: Any = getattr(self._epoch_iterator.data_adapter, "_dataset", None)

    @property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        """The callbacks, in the order in which they are called; Keras's own are among them."""
        callbacks: list[keras.callbacks.Callback] = self._list.callbacks
        return callbacks

    def append(self, callback: keras.callbacks.Callback) -> None:
        """Lets a callback be called after all others, from this very `on_train_begin` on."""
        callback.set_model(self._list._model)
        callback.set_params(self._list.params)
        self._list.callbacks.append(callback)  # the list is being walked
        self._list._async_train = False  # Keras calls in a thread where it saw no batch hooks

    def skip(self, executions: int) -> None:
        """Leaves out so much of the first epoch: no batch is read, no callback called."""
        iterator, whole = self._epoch_iterator, self._epoch_iterator._enumerate_iterator

        def rest() -> Iterator[Any]:
            iterator._enumerate_iterator = whole
            return itertools.islice(whole(), executions, None)

        iterator._enumerate_iterator = rest


def start_at_epoch(model: keras.Model, epoch: int | None) -> int | None:
    """Makes the `fit` that is about to begin start at an epoch; returns what was set before."""
    before: int | None = model._initial_epoch
    model._initial_epoch = epoch
    return before


def report_once(model: keras.Model, logs: dict[str, Any]) -> None:
    """Gives an epoch in which all steps are left out the logs of its last step."""
    results = model._get_metrics_result_or_logs

    def report(_: dict[str, Any]) -> dict[str, Any]:
        del model._get_metrics_result_or_logs
        reported: dict[str, Any] = results(logs)
        return reported

    model._get_metrics_result_or_logs = report
