"""Python inside of tf.data, in a process that can end at any moment.

An iterator that is alive when the interpreter exits, as after Ctrl-C in `fit`, goes on filling its
buffer in threads of TensorFlow. A thread that calls into an interpreter that is going down never
returns, and TensorFlow waits for it. So the exit waits first, until the buffers are full.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

_SECONDS_OF_QUIET = 0.1  # longer than from one call of a thread to its next
_SECONDS_AT_MOST = 2.0


class _Calls:
    """How many calls are running, and when the last one ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running, self._ended = 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            self._ended = time.monotonic()

    def wait_for_quiet(self) -> None:
        give_up = time.monotonic() + _SECONDS_AT_MOST
        while time.monotonic() < give_up:
            if not self._running and time.monotonic() - self._ended > _SECONDS_OF_QUIET:
                return
            time.sleep(_SECONDS_OF_QUIET / 10)


_calls = _Calls()
atexit.register(_calls.wait_for_quiet)


def python_call(
    function: Callable[..., Any], inputs: Sequence[tf.Tensor], specs: Sequence[tf.TensorSpec]
) -> list[tf.Tensor]:
    """`tf.numpy_function` with known shapes, for the functions that a data set maps.

    Args:
        function: NumPy arrays to a sequence of NumPy arrays.
        inputs: its arguments.
        specs: shape and dtype of each array that it returns.

    Example:

    >>> numbers = tf.data.Dataset.range(2)
    >>> spec = tf.TensorSpec([], tf.int64)
    >>> numbers = numbers.map(lambda n: python_call(lambda x: [x + 1], [n], [spec])[0])
    >>> numbers.element_spec.shape, [int(number) for number in numbers]
    (TensorShape([]), [1, 2])
    """

    def call(*arrays: Any) -> Any:
        with _calls:
            return function(*arrays)

    results = tf.numpy_function(call, inputs, [spec.dtype for spec in specs])
    for result, spec in zip(results, specs, strict=True):
        result.set_shape(spec.shape)
    return list(results)


def python_iterator(items: Iterator[Any]) -> Iterator[Any]:
    """The items, for `tf.data.Dataset.from_generator`."""
    while True:
        with _calls:
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
